"""Where the rows of a study are while it runs: in memory, or in files where they leave too little for its lanes."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple, TypeVar

from fastgd.common.errors import InputError, TooLargeError
from fastgd.common.system import memory_to_be_freed
from fastgd.datasets import Data
from fastgd.datasets.load import STAYS, origin_in_files
from fastgd.plan.estimates.memory import budget_beside, release
from fastgd.plan.plan import Plan
from fastgd.plan.planner import make_plan
from fastgd.plan.shards import Shard, require_told_source
from fastgd.runs.clock import Clock
from fastgd.runs.data.loading import IN_FILES, Loader
from fastgd.study.config import Problem, Study

Place = TypeVar("Place")
Result = TypeVar("Result")


def in_memory_or_files(
    make: Callable[[Place], Result],
    memory: Place,
    files: Place | None,
    let_go: Callable[[], None] = lambda: None,
) -> Result:
    """Return what is made with rows in memory, or, where that is too small, without copies of them.

    Parameters
    ----------
    make : callable
        Given where rows are; raises TooLargeError, or MemoryError, where they do not fit.
    memory, files
        Where they are; files None: there is nothing that could be left in files.
    let_go : callable
        Lets go of the rows in memory.

    Raises
    ------
    InputError
        It does not fit without copies either.
    """
    try:
        return make(memory)
    except (TooLargeError, MemoryError) as error:
        if files is None:
            raise
        refused = str(error)  # alone: the error has the rows
    let_go()
    release()
    try:
        return make(files)
    except TooLargeError:
        raise
    except InputError as error:
        raise InputError(f"{refused}; and in files: {error}") from None


class Prepared(NamedTuple):
    """A study that is about to run.

    Attributes
    ----------
    study : Study
        With the places of rows (`source`) from which its data were loaded.
    data : sequence of Data
    whole, plan : Plan
        Of all of it, and of the part that is to run, in units that fit into the memory.
    """

    study: Study
    data: Sequence[Data]
    whole: Plan
    plan: Plan


def prepare_study(
    study: Study,
    loader: Loader,
    *,
    trial: str | None = None,
    shard: Shard | None = None,
    memory: int | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
) -> Prepared:
    """Load a study's data, and plan the part of it that is to run, in units that fit into the memory beside its rows.

    Where they do not, rows of which the study does not say where they are stay in their files, which changes no bits.

    Parameters
    ----------
    study : Study
    loader : Loader
    trial, shard, memory, threads
        As for `run`.
    clock : Clock, optional
        Counts the time.

    Raises
    ------
    InputError
        They do not fit beside rows in files either.
    """

    def prepared(own: Study) -> Prepared:
        with nullcontext() if clock is None else clock.stage("load"):
            data = loader.load(own) if own is study else _noted(study, loader.load(own))
        whole = make_plan(own, data)
        part = part_of(whole, study, data, trial, shard)

        def fitting() -> Plan:
            try:
                with budget_beside(data, memory):
                    return part.within_limits(threads)
            except TooLargeError as error:
                raise TooLargeError(f"{error}{_or_in_files(own, data)}") from None

        spare = loader.unshared_bytes(data)
        with memory_to_be_freed(spare):  # as long as it may not fit, rows are held as they were read
            fitted = fitting()
        loader.let_go()
        return Prepared(own, data, whole, fitting() if spare else fitted)  # by what is free indeed

    return in_memory_or_files(prepared, study, _with_rows_in_files(study), lambda: loader.let_go(keep=True))


def part_of(plan: Plan, study: Study, data: Sequence[Data], trial: str | None, shard: Shard | None) -> Plan:
    """Return the part of a study's plan that is to run: all of it, one trial, or a shard."""
    if shard is not None:
        require_told_source(study, data)
        return plan.shard(shard, whole_problems=study.halving is not None)
    return plan if trial is None else plan.only(trial)


def _with_rows_in_files(study: Study) -> Study | None:
    """Return a study of which no rows are in memory that it leaves to fastgd, but for those that are made there.

    Arrays are there all the same, and need no copies. None: there are no such rows.
    """
    problems = [
        problem.model_copy(update={"source": origin_in_files(problem.path, problem.format) if problem.path else "map"})
        if isinstance(problem, Problem) and problem.source == "auto" and not _is_made(problem)
        else problem
        for problem in study.problem
    ]
    return study.model_copy(update={"problem": problems}) if problems != study.problem else None


def _noted(study: Study, data: Sequence[Data]) -> list[Data]:
    """Return data with a note on rows that stay in files though the study does not say so."""
    own = [
        problem.source == "auto" and rows.origin != "memory"
        for rows, (_, problem) in zip(data, study.splits, strict=True)
    ]
    why = "in memory, they would leave too little for the study"
    return [
        replace(rows, notes=(*rows.notes, f"{STAYS % rows.origin}: {why}")) if noted else rows
        for rows, noted in zip(data, own, strict=True)
    ]


def _or_in_files(study: Study, data: Sequence[Data]) -> str:
    """Return what would take less memory, too, where rows are there because their study says so."""
    splits = zip(data, study.splits, strict=True)
    names = [rows.dataset for rows, (_, problem) in splits if problem.source == "memory" and not _is_made(problem)]
    return f", and so would {IN_FILES} for the rows of {', '.join(dict.fromkeys(names))}" if names else ""


def _is_made(problem: Problem) -> bool:
    """Whether a problem's rows are made in memory."""
    return problem.dataset is not None or problem.synthetic is not None
