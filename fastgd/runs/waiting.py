"""Waits for another process that writes to the folder of a run's results, until it has ended or was killed.

Locks are looked at from time to time, and not waited in: those of object stores, and of file systems without locks, are
files, and whoever waits holds nothing that a third process could meet.
"""

import time
from pathlib import Path

from fastgd.common.errors import InputError, InUseError
from fastgd.common.numbers import seconds
from fastgd.common.remote import is_remote
from fastgd.runs.clock import Clock
from fastgd.runs.reporting.events import Waiting
from fastgd.runs.reporting.reports import OnEvent
from fastgd.store.contents import Contents
from fastgd.store.folder import require_free

DISK_SECONDS, STORE_SECONDS = 1.0, 5.0  # between two looks at a lock; in a store, each is a request or two
COUNT_SECONDS, COUNT_TIMES = 10.0, 100  # between two counts of trials: so long, and so many times as long as one took


def wait_until_free(path: Path, clock: Clock, limit: float | None, emit: OnEvent) -> None:
    """Wait until no other process writes to a folder of results.

    Parameters
    ----------
    path : Path
    clock : Clock
        Of the run that waits; `limit` counts on it from here on, if there is anything to wait for.
    limit : float, optional
        `max_seconds` of the study.
    emit : callable
        Receives `Waiting`.

    Raises
    ------
    InputError
        `max_seconds` was over before.
    """
    begin, every = time.monotonic(), STORE_SECONDS if is_remote(path) else DISK_SECONDS
    stored = _Stored(path)
    with clock.paused():
        while (held := _held(path)) is not None:
            clock.start(limit)
            waited = time.monotonic() - begin
            if clock.over:
                raise InputError(
                    f"another process still writes to {path} after {seconds(waited)}, and {clock.reason}: "
                    "nothing was written here; the same command waits again"
                )
            emit(Waiting(str(path), held.writer, held.killed, waited, stored.count()))
            time.sleep(max(0.0, min(every, clock.left)))


def _held(path: Path) -> InUseError | None:
    try:
        require_free(path)
    except InUseError as error:
        return error
    return None


class _Stored:
    """How many trials a folder holds, counted so seldom that it costs next to nothing."""

    def __init__(self, path: Path) -> None:
        self._path, self._due = path, 0.0
        self._last: int | None = None

    def count(self) -> int | None:
        """Return the number, or None where it is not known."""
        begin = time.monotonic()
        if begin >= self._due and not is_remote(self._path):
            try:
                self._last = sum(Contents.read(self._path).parts.values())
            except (InputError, OSError):  # of which the run itself tells
                self._last = None
            end = time.monotonic()
            self._due = end + max(COUNT_SECONDS, COUNT_TIMES * (end - begin))
        return self._last
