"""Writes a study to be killed at a chosen point; run as a program, it does so at one point after the other.

The program forks a child for each point, so that the imports are paid for once.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from store_samples import block, open_folder, trials

import fastgd.store
from fastgd.store.merging import merge

CHECKPOINTS = 3
COHORTS = {name: [f"{name}{i}" for i in range(2)] for name in "abcd"}
STORE = str(Path(fastgd.store.__file__).parent)


def first_run(folder: Path, log: Path | None = None) -> None:
    """A study of two cohorts, of which the second runs out of time."""
    with open_folder(folder) as results:
        for name in "ab":
            _commit(results, name, log, status="timeout" if name == "b" else "completed")
        results.finish(results.committed())


def second_run(folder: Path, log: Path | None = None) -> None:
    """The study extended by two cohorts, a hyper-parameter and a metric, and without its first trial.

    It commits what is missing, the first cohorts included, as a resumed run does, and what was not finished once more.
    """
    with open_folder(folder, hyper=("lr", "beta"), metrics=("r2",), study_hash="6") as results:
        for name in COHORTS:
            if (results.committed() - results.unfinished()).isdisjoint(COHORTS[name]):
                _commit(results, name, log, **({"r2": 0.5} if name in "cd" else {}))
        results.finish(results.committed() - {"a0"})


def _commit(results, name: str, log: Path | None, status: str = "completed", **metrics) -> None:
    ids = COHORTS[name]
    with results.writer() as cohort:
        for checkpoint in range(CHECKPOINTS):
            cohort.append("curves", block(ids, checkpoint, **metrics))
            if name == "b" and checkpoint == 0:
                cohort.rotate()
        cohort.parameters(ids, np.ones((2, 3)))
        cohort.commit(trials(2, trial_id=ids, status=status, steps=16 * (CHECKPOINTS - 1)))
    if status == "timeout":
        results.left_unfinished(ids)
    if log:
        with log.open("a") as file:
            file.write(f"{name}\n")


def sources(folder: Path) -> list[Path]:
    """Two folders of one study to merge: the second has ended what ran out of time in the first."""
    paths = [folder / name for name in ("one", "two")]
    for path, names in zip(paths, ("ab", "bcd"), strict=True):
        if not path.exists():
            with open_folder(path) as results:
                for name in names:
                    _commit(results, name, None, status="timeout" if path.name + name == "oneb" else "completed")
                results.finish(results.committed())
    return paths


def _kill_at(point: int, where: str, folder: Path) -> None:
    """Arrange for this process to be killed before the point-th change to a file, or line of the store."""
    passed = 0
    os.fsync = lambda descriptor: None  # a kill, unlike a power cut, loses nothing that was written

    def count() -> None:
        nonlocal passed
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def audit(event: str, arguments: tuple) -> None:
        writes = event in ("os.rename", "os.remove", "os.mkdir") or (event == "open" and "w" in str(arguments[1]))
        if writes and str(arguments[0]).startswith(str(folder)):
            count()

    def trace(frame, event, _):
        if not frame.f_code.co_filename.startswith(STORE):
            return None
        if event == "line":
            count()
        return trace

    if where == "files":
        sys.addaudithook(audit)
    else:
        sys.settrace(trace)


def main() -> None:
    """Kill a child at each stride-th point until one lives through both runs, or merges two folders."""
    base, where, stride = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    merged = sources(base / "sources") if sys.argv[4:] == ["merge"] else []
    point = 0
    while True:
        folder = base / f"{where}-{point:05d}"
        child = os.fork()
        if not child:
            _kill_at(point, where, folder)
            if merged:
                merge(folder, merged)
            else:
                first_run(folder, folder.with_suffix(".log"))
                second_run(folder, folder.with_suffix(".log"))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"the child at point {point} failed")
        point += stride


if __name__ == "__main__":
    main()
