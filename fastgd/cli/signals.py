"""How signals end a command: Ctrl-C, SIGTERM and SIGHUP alike keep finished results and print a message that says so.

The first signal raises KeyboardInterrupt between two bytecodes of the main thread, as Ctrl-C always does. The second
one ends the process at once, with the exit code of the first. A thread of its own waits for it, since the main thread
may spend seconds in a kernel or in the compiler, which release the interpreter's lock. Code that holds the lock, such
as some parsers of data files, is waited for. If the first signal arrives while a finalizer or a callback of C code
runs, Python ignores the KeyboardInterrupt, and the thread raises it again.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import Any, NoReturn

HANGUP_SECONDS = 1.0  # within which the signal of a closed terminal comes
RETRY_SECONDS = 0.1  # after which an interruption that Python ignored is raised again
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_received: list[int] = []
_was_ignored = threading.Event()


@contextmanager
def handled() -> Iterator[None]:
    """Handle signals in the block as described above; one that is ignored, as SIGHUP is under nohup, stays ignored."""
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    terminals = [file for file in (1, 2) if os.isatty(file)]
    if os.name == "posix":  # elsewhere pipes cannot be waited for
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        threading.Thread(target=_watch, args=(reader, numbers), name="fastgd-signals", daemon=True).start()
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # a byte is there before any Python runs
        os.register_at_fork(after_in_child=_forget)
    for number in numbers:
        signal.signal(number, lambda number, _: _interrupt(number, terminals))
    ignored, sys.unraisablehook = sys.unraisablehook, _noting(sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = ignored
        for number in numbers:  # all results are kept by now; only the thread notices a second signal
            signal.signal(number, (lambda *_: None) if _received else signal.SIG_DFL)


def _forget() -> None:
    """Keep the signals of a forked child from this process's watch, whose pipe it shares."""
    with suppress(ValueError):  # of a child that a thread forked, on some platforms
        signal.set_wakeup_fd(-1)


def _watch(reader: int, numbers: list[int]) -> None:
    """End the process when a second signal arrives, and raise the first one again if Python ignored it."""
    seen: list[int] = []
    while len(seen) < 2:
        if select([reader], [], [], RETRY_SECONDS if seen else None)[0]:
            seen += [number for number in os.read(reader, 1) if number in numbers]
        elif _was_ignored.is_set():
            _was_ignored.clear()
            main = ctypes.c_ulong(threading.main_thread().ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(KeyboardInterrupt))
    os._exit(128 + seen[0])


def _noting(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a hook for exceptions that Python ignores: it notes interruptions, and passes others on."""

    def note(ignored: Any) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt) and _received:
            _was_ignored.set()
        else:
            hook(ignored)

    return note


def _interrupt(number: int, terminals: list[int]) -> None:
    _received.append(number)
    for file in terminals:
        if not os.isatty(file):  # the terminal was closed, which sent the signal: further output goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), file)
    raise KeyboardInterrupt


@contextmanager
def restored() -> Iterator[None]:
    """Raise the KeyboardInterrupt of the block also where C code made another exception of it.

    Pydantic does so when a serializer is interrupted that it calls. What is raised while an interruption is handled
    has it as its context, not as its cause, and stays what it is.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__
        if cause is None or not _received:
            raise
        raise cause from None


def wait() -> None:
    """Wait for a signal, for a second at most."""
    with suppress(KeyboardInterrupt):
        time.sleep(HANGUP_SECONDS)


def received() -> bool:
    """Whether a signal arrived."""
    return bool(_received)


def leave() -> NoReturn:
    """End the process of an interrupted command at once: during Python's own shutdown a second signal would kill it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the terminal is gone, or the stream is closed
            stream.flush()
    os._exit(code())


def code() -> int:
    """Return the exit code of a command that was interrupted: 130, 143 or 129."""
    return 128 + (_received[0] if _received else signal.SIGINT)
