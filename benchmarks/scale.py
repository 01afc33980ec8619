"""Workers that are slow or fail, and one coordinator: `python -m benchmarks.scale [--measure]`.

A simulation with discrete events, beside the model of `fastgd/plan/estimates/scaling.py`, which it equals where no
worker is slow and none fails. Its table shows how much of the workers' time goes into units that are so long, and from
which length on the coordinator is no limit. `--measure` runs tiny units on this machine, and with Dask if that is
installed, and says how many of them a processor commits a second: by its clock, which other processes do not disturb.
"""

import argparse
import heapq
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastgd
from fastgd import Study
from fastgd.plan.estimates.scaling import COMMIT_SECONDS, Task, end_of


@dataclass(frozen=True)
class Conditions:
    """How workers differ from those of the model.

    Attributes
    ----------
    slow : float
        The share of workers that take `times` as long for every unit.
    times : float
    failures : float
        How often a worker fails, in an hour of its time. Its unit begins anew, on the next worker that is free.
    away : float
        Seconds until it is back.
    seed : int
        Of the chances.
    """

    slow: float = 0.0
    times: float = 3.0
    failures: float = 0.0
    away: float = 60.0
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it: the seconds until all was committed, those of the coordinator, and the units that were lost."""

    seconds: float
    coordinating: float
    lost: int


def simulate(tasks: Sequence[Task], workers: int, conditions: Conditions | None = None, start: float = 0.0) -> Outcome:
    """Run tasks on workers that begin after `start`, the largest first; results wait for the coordinator in a line."""
    conditions = conditions or Conditions()
    random = np.random.default_rng(conditions.seed)
    factors = np.where(random.random(workers) < conditions.slow, conditions.times, 1.0)
    mean = 3600 / conditions.failures if conditions.failures else np.inf
    waiting = deque(sorted(tasks, key=lambda task: -task.seconds))
    idle: deque[int] = deque()
    line: deque[Task] = deque()
    events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
    now, numbered, coordinating, lost, committing = 0.0, 0, 0.0, 0, False

    def at(when: float, action: Callable[..., None], *given: Any) -> None:
        nonlocal numbered
        numbered += 1
        heapq.heappush(events, (when, numbered, action, given))

    def free(worker: int) -> None:
        if not waiting:
            idle.append(worker)
            return
        task = waiting.popleft()
        needed, lives = task.seconds * factors[worker], random.exponential(mean) if mean < np.inf else np.inf
        at(now + min(needed, lives), ended if needed <= lives else failed, worker, task)

    def ended(worker: int, task: Task) -> None:
        line.append(task)
        commit()
        free(worker)

    def failed(worker: int, task: Task) -> None:
        nonlocal lost
        lost += 1
        waiting.appendleft(task)
        if idle:
            free(idle.popleft())
        at(now + conditions.away, free, worker)

    def commit() -> None:
        nonlocal committing, coordinating
        if line and not committing:
            committing, seconds = True, line.popleft().commit
            coordinating += seconds
            at(now + seconds, committed)

    def committed() -> None:
        nonlocal committing
        committing = False
        commit()

    for worker in range(workers):
        at(start, free, worker)
    done = 0.0
    while events:
        now, _, action, given = heapq.heappop(events)
        action(*given)
        if action is committed:
            done = now
    return Outcome(done, coordinating, lost)


# --- what the table shows ---------------------------------------------------------------------------------------------

WORKERS, LENGTHS = (10, 100, 1_000), (0.1, 1.0, 10.0, 100.0, 1_000.0)
UNITS_A_WORKER, SPREAD = 20, 0.5  # on average; and of the logarithm of their lengths
HARD = Conditions(slow=0.05, times=3.0, failures=0.1)


def units(number: int, length: float, commit: float = COMMIT_SECONDS, spread: float = SPREAD) -> list[Task]:
    """Return units of a mean length whose logarithms are normal."""
    lengths = np.random.default_rng(number).lognormal(-(spread**2) / 2, spread, number) * length
    return [Task(float(each), commit) for each in lengths]


def table(workers: Sequence[int], lengths: Sequence[float], each: int = UNITS_A_WORKER) -> list[str]:
    """Return a row for each number of workers and length of units: which share of the workers' time goes into units."""
    rows = ["workers  unit, s    units  model, s  in units  coordinator | slow and failing, s  in units  lost units"]
    for count in workers:
        for length in lengths:
            tasks = units(each * count, length)
            work, model, hard = sum(task.seconds for task in tasks), end_of(tasks, count), simulate(tasks, count, HARD)
            busy = sum(task.commit for task in tasks) / model
            rows.append(
                f"{count:7,} {length:8g} {len(tasks):8,} {model:9.3g} {work / count / model:9.0%} {busy:12.0%} |"
                f" {hard.seconds:19.3g} {work / count / hard.seconds:9.0%} {hard.lost:11,}"
            )
    return rows


def least_length(workers: int, commit: float = COMMIT_SECONDS) -> float:
    """Return the seconds of units at which the coordinator is as busy as the workers are."""
    return workers * commit


# --- measured ---------------------------------------------------------------------------------------------------------


def tiny(seeds: int) -> Study:
    """Return a study of as many units as seeds, each of one trial and some milliseconds."""
    problem, optimizer = {"loss": "logistic", "synthetic": {"n": 64, "d": 2}}, {"name": "sgd", "lr": 0.1}
    return Study(name="tiny", epochs=1, batch_size=32, problem=problem, optimizer=optimizer, seed=[*range(seeds)])


def seconds_a_unit(few: int, many: int, **options: Any) -> float:
    """Return what a tiny unit takes of this process, from beginning to end of a run, and committed in a folder."""

    def spent(seeds: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            fastgd.run(tiny(seeds), f"{folder}/run", progress=False, **options)
            return time.process_time() - began

    spent(few)  # so that kernels are there
    return (spent(many) - spent(few)) / (many - few)


def _measure() -> None:
    each = seconds_a_unit(20, 220)
    print(f"here, computed and committed: {1 / each:,.0f} tiny units a second, {1000 * each:.1f} ms each")
    executor_of = getattr(fastgd, "DaskExecutor", None)
    if executor_of is None:
        print("Dask is not installed")
        return
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        executor = executor_of(client)
        spent = [client.run(time.process_time)]
        each = seconds_a_unit(20, 220, executor=executor)
        spent.append(client.run(time.process_time))
    workers = (sum(spent[1].values()) - sum(spent[0].values())) / 260
    print(f"Dask's coordinator and scheduler: {1 / each:,.0f} tiny units a second, {1000 * each:.1f} ms each")
    print(f"a worker of Dask: {1000 * workers:.1f} ms for each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", action="store_true", help="how many tiny units are committed a second here")
    if parser.parse_args().measure:
        _measure()
        return
    sys.stdout.write("\n".join(table(WORKERS, LENGTHS)) + "\n")
    for count in WORKERS:
        print(f"{count:,} workers: the coordinator is no limit to units longer than {least_length(count):.3g} s")


if __name__ == "__main__":
    main()
