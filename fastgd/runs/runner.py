"""Runs a study: loads its data, plans, opens the results' folder, and hands what is missing there to the executor."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastgd.analysis import Results
from fastgd.analysis import load as load_results
from fastgd.common.errors import InputError, InUseError
from fastgd.common.folders import expanded
from fastgd.common.numbers import size_of
from fastgd.common.remote import is_remote
from fastgd.common.system import memory_budget
from fastgd.core.cache import own_source_hash
from fastgd.core.compile import require_compiler
from fastgd.core.threads import Threads
from fastgd.core.vectors import register_bits
from fastgd.datasets import Data
from fastgd.datasets.arrays import Arrays
from fastgd.engine.machine import cpu_model
from fastgd.plan.budgets.race import Stand
from fastgd.plan.cohorts import split_labels
from fastgd.plan.estimates.memory import release, within_memory
from fastgd.plan.estimates.memory import require as require_memory
from fastgd.plan.plan import Plan
from fastgd.plan.shards import Shard, left_to_merged
from fastgd.plan.standing import standing
from fastgd.plan.turns import missing
from fastgd.plan.units.cohort import MOST_COHORT_BYTES
from fastgd.plan.units.recording import LOSS_EVALUATIONS, columns_of
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.clock import Clock
from fastgd.runs.data.loading import Loader, with_weights
from fastgd.runs.data.placing import Prepared, prepare_study
from fastgd.runs.executor import Executor, LocalExecutor
from fastgd.runs.final_parameters import store_parameters
from fastgd.runs.optima import drop_stale_optima, store_optima
from fastgd.runs.race import run_race
from fastgd.runs.reporting.events import Finished, Planned, Warning_
from fastgd.runs.reporting.reports import OnEvent, reported
from fastgd.runs.waiting import wait_until_free
from fastgd.store.contents import Contents
from fastgd.store.disk.files import writing
from fastgd.store.folder import Folder, refuse_foreign
from fastgd.store.manifest import Manifest
from fastgd.store.schema import COORDINATES, Columns
from fastgd.store.snapshots import Snapshots
from fastgd.store.states import StateInfo, drop_superseded, infos_of, steps_of
from fastgd.study.config import Study, require_study

# Columns of names that are in no trial's id: a user may change the first two, and another first split the third.
NAME_COLUMNS = ("problem", "dataset", "configuration")


class _Options(NamedTuple):
    """How a study is run, and in which folder; the fields are parameters of `run`.

    given : bool
        Whether its data, or their folds, are not what the study names.
    """

    path: Path
    fresh: bool
    threads: int | None
    trial: str | None
    shard: Shard | None
    allow_mixed: bool
    memory: int | None
    elsewhere: "Elsewhere | None"
    given: bool

    @property
    def entire(self) -> bool:
        """Whether all of the study is run."""
        return self.trial is None and self.shard is None


class Elsewhere(Protocol):
    """What runs units in other processes."""

    def executor_of(
        self, study: Study, data: Sequence[Data], *, given: bool, threads: int | None, allow_mixed: bool
    ) -> Callable[..., Executor]:
        """Return what makes an `Executor`, given its parameters."""
        ...

    def keeping_data(self) -> AbstractContextManager[None]:
        """Keep the data of the runs in a block where units run, until it ends."""
        ...


@np.errstate(over="ignore", invalid="ignore")  # trials that diverge are data
def run(
    study: Study,
    out: str | Path | None = None,
    *,
    data: Arrays | None = None,
    weights: Any = None,
    folds: Sequence[Any] | None = None,
    fresh: bool = False,
    join: bool = False,
    threads: int | None = None,
    trial: str | None = None,
    shard: tuple[int, int] | str | None = None,
    allow_mixed: bool = False,
    memory: str | float | None = None,
    executor: Elsewhere | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> Results:
    """Run every trial of a study that its folder does not hold yet, or holds as `timeout` or `failed`.

    Parameters
    ----------
    study : Study
    out : path, optional
        The folder of the results: by default `results/<name>`, for one trial `results/<name>.<trial>`, and for a shard
        `results/<name>.shard-03-of-16`.
    data : (X, y) or (X, y, weights), optional
        Arrays or tables, (n, d) and (n,), or (n, targets), in place of the problems' datasets.
    weights : array_like, or a column of a table (n,), optional
        What their rows weigh, where `data` does not hold it: finite numbers >= 0, of which only the ratios count.
    folds : sequence of (train, test), optional
        The indices of the rows of each fold, as scikit-learn's splitters yield them, where a problem has
        `validation = { folds = k, kind = "given" }`.
    fresh : bool
        Move an old folder aside and start anew.
    join : bool
        Where another process writes to the folder, wait until it has ended or was killed, and go on with what it left.
        `max_seconds` counts from the beginning of the wait. Without it, the run is refused.
    threads : int, optional
        By default all processors that the process may use. The number changes no bits.
    trial : str, optional
        Run this trial alone; its bits are those that it has in the whole study.
    shard : (int, int) or str, optional
        Run one part of the study: (3, 16) or "3/16" is the third of sixteen. Which trials these are depends on the
        study alone, and their bits are those of the whole study; `fastgd.merge` joins the folders.
    allow_mixed : bool
        Extend results that another fastgd, Numba or CPU model computed, and use workers that differ so.
    memory : str or float, optional
        What the run may take of memory, such as "2GB", pages of mapped files apart; by default what the process may
        use, and where rows are streamed half of it. Cohorts are cut into parts that fit, and rows of which the study
        does not say where they are stay in their files where they do not fit beside these, which changes no bits.
    executor : DaskExecutor, optional
        What runs the trials elsewhere, such as `fastgd.DaskExecutor(client)`; by default they run here.
    progress : bool
        Show on standard error how far the run is, where that is a terminal, or in a notebook.
    on_event : callable, optional
        Receives what `fastgd.runs.reporting.events` describes.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        The data do not fit the study, the folder holds something else, or another process writes to it.
    KeyboardInterrupt
        The run was interrupted; finished cohorts are stored, and the same call goes on from there.
    """
    require_study(study)
    require_compiler()
    if study.landscapes and data is not None:
        raise InputError("the problems are landscapes, and arrays were given; leave one of them out")
    if fresh and join:
        raise InputError("fresh starts anew, and join goes on with what another process leaves: give one of them")
    most, part = None if memory is None else size_of(memory, "memory"), one_part(trial, shard)
    path, given = folder_of(study, out, trial, part), data is not None or folds is not None
    options = _Options(path, fresh, threads, trial, part, allow_mixed, most, executor, given)
    if is_remote(options.path):
        options.path.exists()  # a store that cannot be reached is told before data are read
    with reported(on_event, progress) as emit, within_memory(options.path), memory_budget(most):
        clock, wait = Clock("plan"), None
        if join:
            if refused := refusal(path, study, allow_mixed):  # for which nobody should have waited
                raise InputError(refused)
            wait = partial(wait_until_free, path, clock, study.max_seconds, emit)
            wait()  # with nothing in memory, which the other process may need
        require_memory(threads)
        loader = Loader(emit, with_weights(data, weights), folds)
        how: dict[str, Any] = {"trial": trial, "shard": part, "memory": most, "threads": threads}
        prepared = prepare_study(study, loader, **how, clock=clock)
        _run(study, prepared, clock, options, emit, wait)
        release()
        results = load_results(options.path)
        emit(Finished(results))
    return results


def _run(
    study: Study,
    prepared: Prepared,
    clock: Clock,
    options: _Options,
    emit: OnEvent,
    wait: Callable[[], None] | None,
) -> None:
    """Run what a folder lacks of a study; `wait`: for other processes that write there, which else is refused."""
    data, whole, plan, trial = prepared.data, prepared.whole, prepared.plan, options.trial
    _announce(plan, study, options, emit)
    clock.enter("store")
    snapshots = Snapshots(options.path.absolute(), versions())
    make = _executor_of(prepared.study, data, options)
    with (
        Threads(options.threads) as pool,
        _opened(partial(_open, study, whole, data, options, pool.count, snapshots), wait) as folder,
        closing(make(folder, clock, pool, emit, plan.count, snapshots)) as executor,
    ):
        folder.drop_failed(plan.trial_ids)
        clock.start(study.max_seconds)
        clock.snapshot_seconds = study.snapshot_seconds
        stand = _run_missing(study, plan, data, executor, raced=trial is None)
        clock.enter("store")
        in_study, names = _in_study(whole)
        if stand.retired:
            names |= {"status": dict.fromkeys(stand.retired, "retired"), "reason": dict(stand.retired)}
        best_of_all = options.shard is not None and study.record.parameters == "best"  # not known of one shard
        if study.record.parameters != "none" and not (study.landscapes or best_of_all):
            folder.settle(in_study, names)  # so that the ranking is that of the study as it is now
            store_parameters(plan, data, study.record.parameters, executor)
        executor.drop_stale_snapshots()
        if not study.landscapes:
            drop_superseded(snapshots.finished, Contents.read(folder.path).reached, stand.waiting)
        if options.entire or (trial is not None and study.landscapes):
            executor.run_surfaces(plan.surfaces, data)
        drop_stale_optima(folder.path, study, data)
        if options.entire and study.reference is not None and study.reference.optimum:
            clock.enter("evaluate")
            store_optima(folder.path, study, data, emit)
        clock.enter("store")
        folder.finish(in_study, names=names, timings=clock.read)


def _executor_of(study: Study, data: Sequence[Data], options: _Options) -> Callable[..., Executor]:
    if options.elsewhere is None:
        return LocalExecutor
    require_executor(options.elsewhere)
    return options.elsewhere.executor_of(
        study, data, given=options.given, threads=options.threads, allow_mixed=options.allow_mixed
    )


def require_executor(executor: Elsewhere) -> None:
    """Raise InputError where something else was given."""
    if not hasattr(executor, "executor_of"):
        raise InputError(f"executor = {executor!r}: give a fastgd.DaskExecutor, or leave it out")


def keeping_data(executor: Elsewhere | None) -> AbstractContextManager[None]:
    """Have the processes of an executor keep the data of the runs in a block, all over the same, until it ends."""
    if executor is None:
        return nullcontext()
    require_executor(executor)
    return executor.keeping_data()


def _run_missing(study: Study, plan: Plan, data: Sequence[Data], executor: Executor, *, raced: bool) -> Stand:
    """Run what a folder lacks of a plan; return how its races stand then, `raced`: where it has some."""
    stored, states = Contents.read(executor.folder.path), infos_of(executor.snapshots.finished)
    left = missing(plan.units, stored.done, states, stored.reached if states else {})
    with executor.ahead_of(left):
        if study.halving and raced:
            return run_race(study, plan, data, executor)
        executor.run(left, data)
        return Stand({}, {})


def _in_study(plan: Plan) -> tuple[Any, dict[str, dict[str, str]]]:
    """Return the trials of a study, on landscapes with the number of their starts, and what they are called now."""
    table, ids = plan.table, plan.table["trial_id"].tolist()
    names = {name: dict(zip(ids, table[name], strict=True)) for name in NAME_COLUMNS if name in table}
    if not plan.on_landscapes:
        return ids, names
    return {name: len(unit.starts) for unit in plan.units if isinstance(unit, SwarmUnit) for name in unit.ids}, names


def saved_states(path: Path) -> tuple[list[StateInfo], dict[str, int]]:
    """Return from what this program can go on in a results folder.

    The states of finished trials there, and the steps that units on their way have taken, by their names.
    """
    snapshots = Snapshots(path.absolute(), versions())
    return infos_of(snapshots.finished), steps_of(snapshots)


def _announce(plan: Plan, study: Study, options: _Options, emit: OnEvent) -> None:
    """Report a plan, and what its user should know of it and of the results that a folder holds already."""
    found = None if options.fresh else standing(options.path, study, plan, *saved_states(options.path))
    summary = plan.summary(options.threads, found.left if found else None)
    emit(Planned(summary))
    later = left_to_merged(study) if options.shard else ()
    for note in (*summary.notes, *(found.notes if found else ()), *later):
        emit(Warning_(note))


def one_part(trial: str | None, shard: Any) -> Shard | None:
    """Return the shard that is meant, if any; a trial alone is none of one."""
    if shard is not None and trial is not None:
        raise InputError("trial runs one trial alone, and shard a part of the study: give one of them")
    return None if shard is None else Shard.read(shard)


def folder_of(study: Study, out: str | Path | None, trial: str | None = None, shard: Shard | None = None) -> Path:
    """Return the folder of a study's results, or a part's: the one that is named, or its own in `results`."""
    if out is not None:
        return expanded(out)
    part = trial.replace(":", ".") if trial is not None else shard.name if shard is not None else ""
    return Path("results") / (f"{study.name}.{part}" if part else study.name)


def _opened(open_folder: Callable[[], Folder], wait: Callable[[], None] | None) -> Folder:
    """Open a folder, where one is to `wait` also if another process has come before since."""
    while True:
        try:
            return open_folder()
        except InUseError:
            if wait is None:
                raise
            wait()


def _open(
    study: Study, plan: Plan, data: Sequence[Data], options: _Options, threads: int, snapshots: Snapshots
) -> Folder:
    """Open the folder of a study's results."""
    fingerprints = {problem.label: f"landscape {problem.landscape}" for problem in study.landscapes}
    notes = plan.notes
    if not study.landscapes:
        fingerprints = {name: rows.fingerprint for name, rows in zip(split_labels(study, data), data, strict=True)}
        notes = (*notes, f"cohorts of at most {MOST_COHORT_BYTES:,} bytes")
    metrics = [] if study.landscapes else columns_of(study.record.metrics)
    dimensions = [problem.dimension for problem in study.landscapes]
    columns = Columns(
        hyper=tuple(name for unit in plan.units for name in unit.numbers),
        schedule=tuple(str(name) for name in plan.table if str(name).startswith("schedule.")),
        metrics=(*metrics, *(LOSS_EVALUATIONS for unit in plan.units if unit.search)),
        coordinates=min(COORDINATES, max(dimensions)) if dimensions else None,
        slots=tuple(name for unit in plan.units if study.landscapes for name in unit.spec.rule.slot_names),
    )
    return Folder.open(
        options.path,
        manifest=_manifest(study, fingerprints, notes, threads, options.shard, plan.count),
        study_toml=study.to_toml(),
        columns=columns,
        fresh=options.fresh,
        allow_mixed=options.allow_mixed,
        keep=lambda _: snapshots.rows(),
    )


@cache
def _version(package: str) -> str:
    """Return the version of an installed package; to find it takes milliseconds."""
    return importlib.metadata.version(package)


def versions() -> dict[str, str]:
    """Return what must be the same for saved states to go on, and units to run elsewhere, with the same bits."""
    packages = {name: _version(name) for name in ("numba", "llvmlite", "numpy")}
    return packages | {"kernels": own_source_hash(), "cpu": cpu_model(), "simd": str(register_bits()[0])}


def refusal(path: Path, study: Study, allow_mixed: bool) -> str:
    """Say why a run of a study would be refused in a folder; empty: it would not, if the data are the same."""
    try:
        if (path / "manifest.json").exists():
            previous = Manifest.read(path)
            _manifest(study, previous.fingerprints).extending(previous, path, allow_mixed)
        else:
            with writing(path):
                refuse_foreign(path)
    except InputError as error:
        return str(error)
    return ""


def _manifest(
    study: Study,
    fingerprints: Mapping[str, str],
    notes: Sequence[str] = (),
    threads: int = 1,
    shard: Shard | None = None,
    trials: int = 0,
) -> Manifest:
    packages = ("numba", "llvmlite", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn")
    return Manifest(
        name=study.name,
        study_hash=hashlib.sha256(study.to_toml().encode()).hexdigest(),
        fingerprints=dict(fingerprints),
        fastgd=_version("fastgd"),
        packages={name: _version(name) for name in packages},
        python=platform.python_version(),
        cpu=cpu_model(),
        threads=threads,
        simd_bits=register_bits()[0],
        threading_layer="threads",
        started=datetime.now(UTC).isoformat(),
        notes=tuple(dict.fromkeys(notes)),
        shards=[] if shard is None else [str(shard)],
        trials=trials,
    )
