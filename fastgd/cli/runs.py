"""`fastgd run`, `demo` and `warmup`: they run, plan or compile studies, and print what comes of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fastgd.analysis import Results, load
from fastgd.cli import pictures, signals
from fastgd.cli.answers import rankings
from fastgd.cli.output import pages
from fastgd.cli.output.consoles import show
from fastgd.cli.studies import read, read_without_plugins
from fastgd.common.errors import InputError
from fastgd.common.numbers import count
from fastgd.runs.reporting.display import Reporter, errors
from fastgd.runs.reporting.events import Compiling
from fastgd.store.snapshots import FOLDER as SNAPSHOTS
from fastgd.study.config import Study

if TYPE_CHECKING:
    from fastgd.plan.plan import Plan

DEMO_PLOTS = ("curves", "sensitivity", "heatmap")


@dataclass(frozen=True)
class Options:
    """What `fastgd.run` takes besides the study and its folder."""

    fresh: bool = False
    threads: int | None = None
    trial: str | None = None
    allow_mixed: bool = False


def run(study: Study, out: Path | None, options: Options) -> Results:
    """Run a study into a folder, showing progress, and print what it found."""
    from fastgd.runs import runner

    folder = runner.folder_of(study, out, options.trial)
    reporter = Reporter()
    try:
        with reporter:
            results = runner.run(study, folder, **asdict(options), progress=False, on_event=reporter)
        if not reporter.cohorts:
            errors().print(f"nothing to run: every trial is in {folder} (--fresh starts anew)", soft_wrap=True)
        rankings.summary(results)
    except KeyboardInterrupt:
        errors().print(_kept(folder, reporter), soft_wrap=True)
        raise typer.Exit(signals.code()) from None
    return results


def _kept(folder: Path, reporter: Reporter) -> str:
    """Return a sentence on what is kept after an interruption."""
    try:
        unfinished = load(folder).trials["status"].eq("timeout")
        kept, waiting = int((~unfinished).sum()), int(unfinished.sum())
    except InputError:
        kept, waiting = 0, 0
    of = f" of {reporter.progress.trials:,}" if reporter.progress else ""
    others = "runs the others" + (", from where they were" if any((folder / SNAPSHOTS).glob("*.npz")) else "")
    more = f", and {waiting:,} that have not ended" if waiting else ""
    others = "goes on from there" if waiting else others
    return f"interrupted: {kept:,}{of} trials are kept in {folder}{more}; the same command (without --fresh) {others}"


def dry_run(
    path: Path, assignments: Sequence[str], out: Path | None, options: Options, *, plugins: bool = False
) -> None:
    """Print the plan of a study or of one trial, and which results its folder has already; nothing is computed.

    The user's own modules are imported only with `plugins`; else the plan is that of the part that needs none.
    """
    study, imports = (read(path, assignments, plugins=True), []) if plugins else read_without_plugins(path, assignments)
    if imports:
        left = "the plan is that of the study without them" if study else "there is no plan without them"
        show(*imports, f"{left}: --dry-run --plugins imports them, and plans all of it", *([""] if study else []))
    if study is not None:
        _print_plan(study, out, options)


def _print_plan(study: Study, out: Path | None, options: Options) -> None:
    from fastgd.cli.plans import describe
    from fastgd.plan.estimates import memory
    from fastgd.plan.standing import standing
    from fastgd.runs.runner import folder_of, refusal, saved_states

    memory.require(options.threads)
    with Reporter() as reporter:
        plan = _plan(study, reporter)
    if options.trial is not None:
        plan = plan.only(options.trial)
    plan = plan.within_limits(options.threads)
    folder = folder_of(study, out, options.trial)
    refused = "" if options.fresh else refusal(folder, study, options.allow_mixed)
    found = None if options.fresh or refused else standing(folder, study, plan, saved_states(folder))
    summary = plan.summary(options.threads, found.left.cost(options.threads) if found else None)
    lines = [f"a run would be refused: {refused}"] if refused else found.lines if found else ()
    show(*describe(study.name, summary, lines))


def demo(out: Path) -> None:
    """Run the built-in study and draw it."""
    with as_file(files("fastgd") / "data" / "demo.toml") as path:
        study = Study.from_toml(path)
    results = run(study, out, Options())
    for kind in DEMO_PLOTS:
        pictures.draw(results, kind, out / f"{kind}.png")
    pages.report_of_demo(out)


def warmup(study: Study | None) -> None:
    """Compile what a study needs, or every built-in optimizer."""
    from fastgd.engine.warmup import all_specs, compile_kernels
    from fastgd.plan.estimates import memory
    from fastgd.runs.warmup import compile_units

    memory.require()
    with Reporter() as reporter:

        def note(what: str) -> None:
            reporter(Compiling(what))

        kernels = compile_kernels(all_specs(), note) if study is None else compile_units(_plan(study, reporter), note)
    show(f"{count(kernels, 'kernel')} compiled and cached")


def _plan(study: Study, reporter: Reporter) -> "Plan":
    """Load a study's data, if it has any, and plan it."""
    from fastgd.plan.planner import make_plan
    from fastgd.runs.runner import load_data

    return make_plan(study, load_data(study, None, reporter))
