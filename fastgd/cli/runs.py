"""`fastgd run`, `demo` and `warmup`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path

import typer

from fastgd._errors import InputError
from fastgd.analysis import Results, load
from fastgd.cli import rankings
from fastgd.cli.consoles import errors, show
from fastgd.cli.progress import Reporter
from fastgd.study.config import Study

DEMO_PLOTS = ("curves", "sensitivity", "heatmap")


@dataclass(frozen=True)
class Options:
    """What `fastgd.run` takes besides the study and its folder."""

    fresh: bool = False
    threads: int | None = None
    trial: str | None = None
    allow_mixed: bool = False


def read(path: Path, assignments: Sequence[str]) -> Study:
    """Return the study of a file, with the replacements of the command line."""
    return Study.from_toml(path, set=assignments)


def run(study: Study, out: Path, options: Options) -> Results:
    """Run a study into a folder, showing progress, and print what it found."""
    from fastgd.study import runner

    reporter = Reporter()
    try:
        with reporter:
            results = runner.run(study, out, **asdict(options), on_event=reporter)
    except KeyboardInterrupt:
        errors().print(_kept(out, reporter), soft_wrap=True)
        raise typer.Exit(130) from None
    rankings.summary(results)
    return results


def dry_run(study: Study) -> None:
    """Print the plan of a study; its data is loaded, nothing is computed or written."""
    from fastgd.cli.plans import describe
    from fastgd.study import runner

    with Reporter() as reporter:
        summary = runner.plan(study, on_event=reporter).summary()
    show(*describe(study.name, summary))


def _kept(out: Path, reporter: Reporter) -> str:
    """Say what an interruption left."""
    try:
        kept = len(load(out).trials)
    except InputError:
        kept = 0
    of = f" of {reporter.progress.trials:,}" if reporter.progress else ""
    return f"interrupted: {kept:,}{of} trials are kept in {out}; the same command (without --fresh) runs the others"


def demo(out: Path) -> None:
    """Run the built-in study and draw it."""
    with as_file(files("fastgd") / "data" / "demo.toml") as path:
        study = Study.from_toml(path)
    results = run(study, out, Options())
    for kind in DEMO_PLOTS:
        rankings.draw(results, kind, out / f"{kind}.png")


def warmup(path: Path | None) -> None:
    """Compile what a study needs, or every built-in optimizer."""
    from fastgd import engine

    study = None if path is None else Study.from_toml(path)
    with Reporter() as reporter:
        engine.warmup(study, on_event=reporter)
