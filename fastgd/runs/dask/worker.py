"""What a worker of a cluster does: it runs the unit of a task, one at a time, and answers with what was found."""

import pickle
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial

import numpy as np
from distributed import Worker, get_worker

from fastgd.common.errors import InputError
from fastgd.core.cache import source_hash
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.plan.plan import Unit
from fastgd.plan.units.surfaces import SurfaceUnit
from fastgd.runs.clock import Clock, TimeIsOver
from fastgd.runs.dask.collecting import CollectingSink, Paused
from fastgd.runs.dask.messages import Answer, DataKey, End, States, Task, Terms
from fastgd.runs.data.loading import load_data
from fastgd.runs.executor import parameters_only
from fastgd.runs.interruption import Interruption
from fastgd.runs.runner import versions
from fastgd.runs.units.unit_run import run_unit

MOST_DATA = 2  # of how many studies a worker keeps the data that it has loaded
OTHER_BITS = "it has {}: the same study may give other bits there; --allow-mixed uses it all the same"
REPORT_SECONDS = 0.5  # between two reports of how far a unit is

_one_at_a_time = threading.Lock()  # a unit has all threads of its worker
_stopped: set[str] = set()  # runs whose units are to end, with their states
_loaded: OrderedDict[DataKey, list[Data]] = OrderedDict()


class Refused(Exception):  # noqa: N818
    """A worker cannot run units of a study."""


class Recall(Interruption):
    """Whether a task is to end: its run is stopped, or nobody waits for its answer any more.

    Parameters
    ----------
    run, key : str
    worker : Worker
        Knows which tasks are wanted: also those of a coordinator that is gone are not.
    """

    def __init__(self, run: str, key: str, worker: Worker) -> None:
        super().__init__()
        self._run, self._key, self._worker = run, key, worker

    def __bool__(self) -> bool:
        return self._run in _stopped or self.is_unwanted

    @property
    def is_unwanted(self) -> bool:
        """Whether nobody waits for the answer."""
        own = self._worker.state.tasks.get(self._key)
        return own is None or own.state == "cancelled"

    def deliver(self) -> None:
        """End the unit."""
        raise Paused

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Run the block: there are no signals to wait for."""
        yield


def stop(run: str) -> None:
    """End the units of a run; they are answered as they are."""
    _stopped.add(run)


def release(run: str, data: Iterable[DataKey]) -> None:
    """Let go of what is kept for a run that is over, and of data."""
    _stopped.discard(run)
    for key in data:
        _loaded.pop(key, None)


@np.errstate(over="ignore", invalid="ignore")  # trials that diverge are data
def run_task(task: Task, given: Sequence[Data] | None, states: States) -> Answer:
    """Run the unit of a task, once others have ended here.

    Parameters
    ----------
    task : Task
    given : sequence of Data, optional
        Of each problem; None: this worker loads them, or there are none.
    states : States
        What the unit goes on from.
    """
    worker, terms = get_worker(), task.terms
    recall, differences = Recall(terms.run, task.key, worker), differences_of(own_versions(), terms)
    sys.path += [folder for folder in terms.path if folder not in sys.path]  # where a user's modules may be
    with _one_at_a_time:
        if recall:
            return Answer("paused")
        worker.log_event(terms.run, {"key": task.key, "begun": True})
        try:
            if differences and not terms.allow_mixed:  # another worker has come under the address of one before
                raise Refused(OTHER_BITS.format(differences))
            data = _data_of(terms) if given is None else given
            return _answer(task, data, states, recall, differences)
        except Refused as error:
            return Answer("refused", text=str(error))
        except Exception as error:  # whatever a unit raises is its answer
            text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            return Answer("failed", text=text)


def _answer(task: Task, data: Sequence[Data], states: States, recall: Recall, differences: str) -> Answer:
    """Run a unit to its end, or until it is to end."""
    terms, worker = task.terms, get_worker()
    unit: Unit | SurfaceUnit = pickle.loads(task.unit)
    clock = Clock("load")
    clock.interruption, clock.snapshot_seconds = recall, task.snapshot_seconds
    clock.limit, clock.deadline, clock.waits = task.limit, time.perf_counter() + task.seconds, task.waits
    clock.report = _Reports(task, worker, clock)
    clock.announce = partial(_announce, task, worker)
    sink = CollectingSink(terms.columns, not isinstance(unit, SurfaceUnit) and parameters_only(unit), states)
    own = data[unit.problem] if data else None
    end: End = "done"
    try:
        with Threads(terms.threads or worker.state.nthreads) as threads:
            run_unit(unit, own, sink, clock, threads)
    except Paused:
        end = "paused"
    except TimeIsOver:
        end = "over"
    return Answer(
        end,
        sink.found,
        differences=differences,
        seconds=clock.read(),
        resumed=clock.resumed,
        done=clock.done,
        diverged=clock.diverged,
        lowest=clock.lowest,
    )


class _Reports:
    """Tells the coordinator now and then how far a unit is."""

    def __init__(self, task: Task, worker: Worker, clock: Clock) -> None:
        self._task, self._worker, self._clock, self._last = task, worker, clock, 0.0

    def __call__(self, step: int, alive: int) -> None:
        now, clock = time.perf_counter(), self._clock
        if now - self._last >= REPORT_SECONDS:
            self._last = now
            told = {"step": step, "alive": alive, "resumed": clock.resumed, "train": clock.seconds["train"]}
            told |= {"done": clock.done, "diverged": clock.diverged}
            self._worker.log_event(self._task.terms.run, {"key": self._task.key, **told})


def _announce(task: Task, worker: Worker, kernels: str) -> None:
    worker.log_event(task.terms.run, {"key": task.key, "compiling": kernels})


# --- what a worker has ------------------------------------------------------------------------------------------------


@lru_cache(1)
def own_versions() -> dict[str, str]:
    """Return what must be the same for the same bits: also the rest of fastgd's text, which makes trials of steps."""
    return versions() | {"fastgd": source_hash(folders=(".",))}


def differences_of(own: Mapping[str, str], terms: Terms) -> str:
    """Return in words in what a worker with its own versions differs from the coordinator, so that bits may differ."""
    return ", ".join(
        f"{name} {own.get(name, 'none')} (not {wanted})"
        for name, wanted in terms.versions.items()
        if own.get(name) != wanted
    )


def _data_of(terms: Terms) -> Sequence[Data]:
    """Return the data that a study names, which are loaded once; Refused where they are not the coordinator's."""
    if terms.study is None:
        return []
    if terms.data not in _loaded:
        try:
            data = load_data(terms.study, None, lambda _: None)
        except (InputError, OSError, MemoryError) as error:
            raise Refused(f"it cannot load the study's data: {error}") from error
        if tuple(rows.fingerprint for rows in data) != terms.fingerprints:
            raise Refused("the data that it finds under the study's names are not those that were planned with")
        while len(_loaded) >= MOST_DATA:
            _loaded.popitem(last=False)
        _loaded[terms.data] = data
    _loaded.move_to_end(terms.data)
    return _loaded[terms.data]
