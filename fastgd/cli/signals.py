"""What ends a command early: Ctrl-C, SIGTERM and SIGHUP alike, so that what is done is kept and a message says so.

The first of them raises KeyboardInterrupt between two bytecodes of the main thread, as Ctrl-C always does. The second
one ends the process at once, with the exit code of the first: a thread of its own waits for it, since the main thread
may be in a kernel or in the compiler for seconds. Both let go of the interpreter's lock; code that does not (some
parsers of data files) is waited for.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

E = TypeVar("E")
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_received: list[int] = []


@contextmanager
def handled() -> Iterator[None]:
    """End the block as described above; a signal that is ignored, as SIGHUP is under nohup, stays ignored."""
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    terminals = [file for file in (1, 2) if os.isatty(file)]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader, numbers), name="fastgd-signals", daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # a byte is there before any Python runs
    for number in numbers:
        signal.signal(number, lambda number, _: _interrupt(number, terminals))
    try:
        yield
    finally:
        for number in numbers:  # nothing is left to be kept
            signal.signal(number, signal.SIG_DFL)


def _watch(reader: int, numbers: list[int]) -> None:
    """End the process when a second signal arrives; it runs beside the main thread."""
    seen: list[int] = []
    while len(seen) < 2:
        seen += [number for number in os.read(reader, 1) if number in numbers]
    os._exit(128 + seen[0])


def _interrupt(number: int, terminals: list[int]) -> None:
    _received.append(number)
    for file in terminals:
        if not os.isatty(file):  # it was closed, which is why: what is still said goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), file)
    raise KeyboardInterrupt


def received() -> bool:
    """Whether one of them arrived."""
    return bool(_received)


def code() -> int:
    """Return the exit code of a command that was interrupted: 130, 143 or 129."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def minding(on_event: Callable[[E], Any]) -> Callable[[E], None]:
    """Interrupt at the next event where the interruption itself was lost: Python ignores what finalizers raise."""

    def emit(event: E) -> None:
        if _received:
            raise KeyboardInterrupt
        on_event(event)

    return emit
