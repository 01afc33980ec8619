"""Threads that run kernels side by side: kernels release the interpreter's lock.

A `prange` would do the same at twice the compile time (its wrapper is optimised a second time with everything it
calls), and its threading layers abort on a fork or when entered twice. Calls last tens of milliseconds; starting one
costs microseconds.

The first kernel used `prange`. Its wrapper is optimised a second time with everything that it calls: 6.7 s of compile
time in place of 3.6 s for one rule. Its threading layers abort when entered from two threads, or kill a forked child.
Kernels here release the interpreter's lock instead and run in a pool of Python threads (`core/threads.py`); calls last
tens of milliseconds, so starting them costs nothing that can be measured. There is one for each processor that the
process may use: `common/system.py` asks for its affinity, and for the quotas of its control group and of all groups
around that.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from typing import Any

from fastgd.common.errors import InputError
from fastgd.common.system import processors
from fastgd.core.address_calls import raise_failed

CALL_SECONDS = 0.05  # of a kernel call: short enough for Ctrl-C and progress, long compared with its start


def call(kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], Any]:
    """Return the call, to be made later."""
    return lambda: kernel(*arguments)


def available_threads() -> int:
    """Return the number of processors that this process may use."""
    return processors()


class Threads:
    """A pool of threads. A forked child, which has none of them, starts its own.

    Parameters
    ----------
    count : int, optional
        The number of threads; by default all processors that the process may use.

    Raises
    ------
    InputError
        The number is not positive.
    """

    def __init__(self, count: int | None = None) -> None:
        if count is not None and count < 1:
            raise InputError(f"threads = {count}: give 1 or more, or leave it out to use all processors")
        self.count = count or available_threads()
        self._start()

    def _start(self) -> None:
        self._process, self._placement = os.getpid(), _Placement()
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="fastgd", initializer=self._placement.add_this_thread
        )

    def run(self, calls: Sequence[Callable[[], Any]]) -> None:
        """Run the calls side by side and wait for all of them; the first error is raised.

        The caller makes the first itself: to wake a thread takes some 100 microseconds.
        """
        if self._process != os.getpid():
            self._start()
        futures: list[Future[None]] = []
        if len(calls) > 1:
            self._placement.keep_apart()
        try:
            futures.extend(self._pool.submit(_or_call_off, call, calls) for call in calls[1:])
            for first in calls[:1]:
                first()
        except BaseException:
            _call_off(calls)
            raise
        finally:
            wait(futures)
        for future in futures:
            future.result()
        raise_failed()

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


class _Placement:
    """Where the threads of a pool run: on any processor but that of their caller, which works too.

    A virtual machine lends processors that rest to others. Linux then wakes a thread on the processor of who woke it,
    and takes up to 20 ms to move it away: as long as that, two threads take turns.
    """

    def __init__(self) -> None:
        self._threads: list[int] = []
        self._known: tuple[int, set[int], int] | None = None

    def add_this_thread(self) -> None:
        self._threads.append(threading.get_native_id())

    def keep_apart(self) -> None:
        """Keep the threads off the processor on which this one is now, unless they are already."""
        here = _this_processor()
        if here is None:
            return
        allowed = os.sched_getaffinity(0)
        if self._known == (now := (here, allowed, len(self._threads))):
            return
        self._known = now
        with suppress(OSError):  # a thread that has ended, or a sandbox
            for thread in self._threads:
                os.sched_setaffinity(thread, allowed - {here} or allowed)


def _this_processor() -> int | None:
    """Return the number of the processor that this thread runs on; None where the system does not tell."""
    ask = _sched_getcpu()
    return None if ask is None or (found := ask()) < 0 else int(found)


@lru_cache(1)
def _sched_getcpu() -> Any:
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


def _or_call_off(call: Callable[[], Any], calls: Sequence[Callable[[], Any]]) -> None:
    try:
        call()
    except BaseException:
        _call_off(calls)
        raise


def _call_off(calls: Sequence[Callable[[], Any]]) -> None:
    """Tell calls that meet (`core/barrier.py`) that one of them does not come."""
    for each in calls:
        counters = getattr(each, "counters", None)
        if counters is not None:
            counters[0] = 1
