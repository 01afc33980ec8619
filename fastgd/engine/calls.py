"""Calls of kernels from Python: a kernel with its arguments, and how much work a call may take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba

from fastgd.core.threads import CALL_SECONDS, Threads


@dataclass(frozen=True)
class KernelCall:
    """A kernel with its arguments, to be called, or compiled for them.

    `counters`: those of `core.barrier`, where it meets another call.
    """

    kernel: Any
    arguments: tuple[Any, ...]
    counters: Any = None

    def __call__(self) -> None:
        """Call the kernel."""
        self.kernel(*self.arguments)

    def compile(self) -> None:
        """Compile the kernel for these arguments, or load it from the cache."""
        self.kernel.compile(tuple(numba.typeof(argument) for argument in self.arguments))


@dataclass(frozen=True)
class InTurn:
    """Calls of kernels that one thread makes, one after another."""

    calls: Sequence["KernelCall | InTurn"]

    @property
    def counters(self) -> Any:
        """Those of a call that meets another one."""
        return next((call.counters for call in self.calls if call.counters is not None), None)

    def __call__(self) -> None:
        """Make them."""
        for call in self.calls:
            call()


def side_by_side(calls: Sequence[KernelCall | InTurn], others: Sequence[KernelCall]) -> list[InTurn]:
    """Return the calls, of which as many threads make one of no more others each.

    The others wait for memory where calls compute, so every second thread makes its other first. Calls that meet begin
    together.
    """
    turns = []
    for i, call in enumerate(calls):
        other = others[i : i + 1]
        turns.append(InTurn([*other, call] if i % 2 == 0 or call.counters is not None else [call, *other]))
    return turns


class Pace:
    """Runs calls on threads, and learns from each how much work the next may take: calls last `CALL_SECONDS`."""

    def __init__(self, threads: Threads) -> None:
        self.threads = threads
        self.rate = 2e9  # multiply-adds a second, until the first call is timed

    def fitting(self, work: float) -> int:
        """Return how many units of so many multiply-adds a call may take; at least 1."""
        return max(1, int(CALL_SECONDS * self.rate / work))

    def run(self, calls: Sequence[Callable[[], None]], work: float) -> None:
        """Make the calls side by side, which do so many multiply-adds together."""
        start = time.perf_counter()
        self.threads.run(calls)
        self.rate = work / max(time.perf_counter() - start, 1e-6)
