"""Compiles the kernels of later units in a second process, while the first ones are compiled and run.

A cold run spends half of its time in the compiler, on one thread. The helper takes the methods that the cache lacks, in
the order in which they will run, but for the first, which the run itself begins with. Both share the cache and its
locks: what the other one compiles just now, the helper leaves for later, and the run waits for.

It is a plain `python -c` that is sent units on its standard input, so nothing of the parent's `__main__` runs in it. It
ends when the run does, also where that is killed: then its input is closed. Whatever goes wrong there goes wrong
silently; the run finds the same and says what it is. Units whose rules or losses cannot be imported there are compiled
by the run.

Its priority is little below the run's. Much less would not make training faster, since what it leaves has to be
compiled all the same, and where other work fills the machine the run would wait for a process that gets no turn.
"""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

from fastgd.common.system import LAST, memory_limits, processors
from fastgd.core import cache
from fastgd.core.threads import Threads
from fastgd.plan.estimates import memory
from fastgd.plan.estimates.compiled import is_compiled
from fastgd.plan.plan import Unit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.warmup import compile_unit

SWITCH = "FASTGD_COMPILE_AHEAD"  # "0" in the environment: there is no helper
HELPER_BYTES = 600e6  # of memory that the helper may take
BUSY_SECONDS = 0.05  # before the helper looks again at what another process compiles
START = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from fastgd.runs.ahead import work; work()"


@contextmanager
def compiled_ahead(units: Sequence[Unit], threads: int) -> Iterator[None]:
    """Compile in a second process, while this block runs, what units call that come after the first.

    Parameters
    ----------
    units : sequence of CohortUnit, or of SwarmUnit
        In the order in which they are begun.
    threads : int
        With one thread there is no second process.
    """
    helper = None
    if (found := _worth_it(units)) and threads > 1 and _allowed(units):
        with suppress(OSError):  # the system has no room for another process
            helper = _Helper(found)
    try:
        yield
    finally:
        if helper:
            helper.end()


def _worth_it(units: Sequence[Unit]) -> list[Unit]:
    """Return a unit of each method that is not compiled, but of the first unit's."""
    first = {unit.method: unit for unit in reversed(units)}
    own = units[0].method if units else ""
    return [unit for method, unit in reversed(first.items()) if method != own and not is_compiled(method)]


def _allowed(units: Sequence[Unit]) -> bool:
    """Whether there is a cache to share, a processor, a Python that can be started, and memory."""
    python = not getattr(sys, "frozen", False) and "python" in os.path.basename(sys.executable or "").lower()
    if not (cache.CACHE and python and os.environ.get(SWITCH) != "0" and processors() > 1):
        return False
    needed = HELPER_BYTES + max(map(memory.of, units))
    return all(limit.left > needed for limit in memory_limits())


class _Helper:
    """The second process, as its parent sees it."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        cache.wait_silently(self._process.pid)
        # by a thread: it may be more than a pipe takes before the helper reads
        self._sender = Thread(target=self._send, args=(_message(units),), daemon=True)
        self._sender.start()

    def _send(self, message: bytes) -> None:
        pipe: Any = self._process.stdin
        with suppress(OSError):  # it has ended
            pipe.write(message)
            pipe.flush()

    def end(self) -> None:
        """End the process; what it had half done is dropped."""
        self._process.kill()
        self._process.wait()
        self._sender.join()
        pipe: Any = self._process.stdin
        with suppress(OSError):
            pipe.close()
        cache.drop_unfinished(self._process.pid)


def _message(units: Sequence[Unit]) -> bytes:
    """Return what the helper reads: where modules are found, and units, each by itself."""
    sent = []
    for unit in units:
        with suppress(Exception):  # what cannot be pickled, such as what `__main__` defines, stays with the run
            sent.append(pickle.dumps(unit.cut(1)[0] if isinstance(unit, SwarmUnit) else unit))
    return pickle.dumps([str(folder) for folder in sys.path]) + pickle.dumps(sent)


# --- in the helper ----------------------------------------------------------------------------------------------------


def work() -> None:
    """Compile the units that are sent on standard input, and end; see `START`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent ends this process
    left = deque(pickle.load(sys.stdin.buffer))
    Thread(target=_end_with_input, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(LAST)
    with Threads(1) as threads, cache.never_waiting():
        while left:
            sent = left.popleft()
            try:
                _compile(sent, threads)
            except cache.Busy:
                left.append(sent)
                time.sleep(BUSY_SECONDS)
            except Exception:  # the run meets it too, if it needs this unit
                continue


def _end_with_input() -> None:
    """End this process when its input is closed: the parent is no more."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)


def _compile(sent: bytes, threads: Threads) -> None:
    unit = pickle.loads(sent)
    if not is_compiled(unit.method):
        compile_unit(unit, threads)
