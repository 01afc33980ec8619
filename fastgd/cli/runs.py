"""`fastgd run`, `demo` and `warmup`: they run, plan or compile studies, and print what comes of it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from math import inf
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
from fastgd.common.folders import expanded
from fastgd.common.numbers import count, rate_of
from fastgd.common.system import memory_budget
from fastgd.runs.reporting.display import Reporter, errors
from fastgd.runs.reporting.events import Compiling
from fastgd.store.snapshots import FOLDER as SNAPSHOTS
from fastgd.study.config import Study

if TYPE_CHECKING:
    from fastgd.plan.estimates.scaling import Workers
    from fastgd.plan.plan import Plan
    from fastgd.runs.dask.executor import DaskExecutor

DEMO_PLOTS = ("curves", "sensitivity", "heatmap")


@dataclass(frozen=True)
class Options:
    """What `fastgd.run` takes besides the study and its folder; `dask`: of which cluster it takes the executor."""

    fresh: bool = False
    join: bool = False
    threads: int | None = None
    trial: str | None = None
    shard: str | None = None
    allow_mixed: bool = False
    memory: int | None = None
    dask: str | None = None


def run(study: Study, out: Path | None, options: Options) -> Results:
    """Run a study into a folder, showing progress, and print what it found."""
    from fastgd.runs import runner

    folder = runner.folder_of(study, out, options.trial, runner.one_part(options.trial, options.shard))
    reporter, how = Reporter(), asdict(options)
    try:
        with executor_of(how.pop("dask")) as executor, reporter:
            results = runner.run(study, folder, **how, executor=executor, progress=False, on_event=reporter)
        if options.shard is not None and not len(results.trials):
            errors().print(f"nothing to run: shard {options.shard} has none of the study's trials", soft_wrap=True)
            return results
        if not reporter.cohorts:
            errors().print(f"nothing to run: every trial is in {folder} (--fresh starts anew)", soft_wrap=True)
        rankings.summary(results)
    except KeyboardInterrupt:
        errors().print(_kept(folder, reporter), soft_wrap=True)
        raise typer.Exit(signals.code()) from None
    return results


def executor_of(dask: str | None) -> AbstractContextManager["DaskExecutor | None"]:
    """Return the executor of the cluster that is named, as long as a block runs; None: of this process."""
    if dask is None:
        return nullcontext()
    from fastgd.runs.dask.addresses import connected

    return connected(dask)


def _kept(folder: Path, reporter: Reporter) -> str:
    """Return a sentence on what is kept after an interruption."""
    if reporter.waits:
        return f"interrupted: nothing was begun, since another process wrote to {folder}; it was left alone"
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
    path: Path,
    assignments: Sequence[str],
    out: Path | None,
    options: Options,
    *,
    plugins: bool = False,
    workers: "Workers | None" = None,
) -> None:
    """Print the plan of a study or of one trial, and which results its folder has already; nothing is computed.

    The user's own modules are imported only with `plugins`; else the plan is that of the part that needs none. With
    `workers`, it says what all of it would take there, too.
    """
    study, imports = (read(path, assignments, plugins=True), []) if plugins else read_without_plugins(path, assignments)
    if imports:
        left = "the plan is that of the study without them" if study else "there is no plan without them"
        show(*imports, f"{left}: --dry-run --plugins imports them, and plans all of it", *([""] if study else []))
    if study is not None:
        _print_plan(study, out, options, workers)


def _print_plan(study: Study, out: Path | None, options: Options, workers: "Workers | None") -> None:
    from fastgd.cli.plans import describe
    from fastgd.plan.estimates import memory
    from fastgd.plan.shards import left_to_merged
    from fastgd.plan.standing import standing
    from fastgd.runs.data.loading import Loader
    from fastgd.runs.data.placing import prepare_study
    from fastgd.runs.runner import folder_of, one_part, refusal, saved_states

    shard = one_part(options.trial, options.shard)
    with memory_budget(options.memory):
        memory.require(options.threads)
        with Reporter() as reporter:
            prepared = prepare_study(
                study,
                Loader(reporter),
                trial=options.trial,
                shard=shard,
                memory=options.memory,
                threads=options.threads,
            )
    whole, plan = prepared.whole, prepared.plan
    folder = folder_of(study, out, options.trial, shard)
    refused = "" if options.fresh else refusal(folder, study, options.allow_mixed)
    found = None if options.fresh or refused else standing(folder, study, plan, *saved_states(folder))
    summary = plan.summary(options.threads, found.left if found else None)
    lines = [f"a run would be refused: {refused}"] if refused else list(found.lines if found else ())
    if shard is not None:
        work = sum(unit.flops for unit in plan.units) / sum(unit.flops for unit in whole.units)
        share = f"shard {shard}: {plan.count:,} of the study's {whole.count:,} trials, {work:.1%} of its operations"
        lines = [share, *left_to_merged(study), *lines]
    there = plan.on(workers).in_words() if workers else ()
    show(*describe(study.name, summary, [*there, *lines]))


def workers_of(
    workers: int | None, threads: int | None, read: str | None, most: int | None, *, dry_run: bool
) -> "Workers | None":
    """Return the machines that options name, or None where they name none.

    Raises
    ------
    InputError
        The options do not go together.
    """
    if workers is None:
        if read is not None:
            raise InputError("--read goes with --workers: it is how fast each of them reads the data")
        return None
    if not dry_run:
        raise InputError("--workers goes with --dry-run: it says what the study would take there, and runs nothing")
    from fastgd.core.threads import available_threads
    from fastgd.plan.estimates.scaling import READ_BYTES, Workers

    rate = READ_BYTES if read is None else rate_of(read, "--read")
    return Workers(workers, threads or available_threads(), rate, inf if most is None else most)


def merge(out: Path, shards: Sequence[Path], *, allow_mixed: bool) -> None:
    """Join folders of results, and print what the merged one holds."""
    from fastgd.runs.stored.merging import merge as merge_results

    with Reporter() as reporter:
        results = merge_results(out, shards, allow_mixed=allow_mixed, progress=False, on_event=reporter)
    if len(results.trials):
        rankings.summary(results)


def demo(out: Path) -> None:
    """Run the built-in study and draw it."""
    out = expanded(out)
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
    from fastgd.runs.data.loading import load_data

    return make_plan(study, load_data(study, None, reporter))
