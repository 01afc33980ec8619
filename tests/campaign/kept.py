"""What attacks by malformed files share: inputs that failed are kept in the corpus, and nothing may stall."""

import hashlib
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastgd
from campaign.attack import PACKAGE, STALL

CORPUS = PACKAGE / "tests" / "corpus"


class Stall(BaseException):
    """Something took longer than it may."""


@contextmanager
def alarm(seconds: float = STALL) -> Iterator[None]:
    """Raise Stall in the block when its time is over: of the processor, which others share; or ten times as much."""

    def ring(*_: Any) -> None:
        raise Stall

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, 10 * seconds)}
    before = {number: signal.signal(number, ring) for number in timers}
    for timer, length in timers.values():
        signal.setitimer(timer, length)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def fault(work: Callable[[], Any]) -> str:
    """Do some work, and say what is wrong with how it ended; "": it was done, or refused with a clear message."""
    try:
        with alarm():
            work()
    except fastgd.InputError as error:
        return "" if 5 < len(str(error)) < 20_000 else f"a message of {len(str(error)):,} letters"
    except Stall:
        return f"stalled: {_innermost()}"
    except MemoryError:
        return f"no memory: {_innermost()}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]!r}, {_innermost()}"
    return ""


def _innermost() -> str:
    """The line of fastgd at which the last exception came up."""
    import sys

    frames = traceback.extract_tb(sys.exc_info()[2])
    own = [frame for frame in frames if "fastgd" in frame.filename and "campaign" not in frame.filename]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "elsewhere"


def keep(content: bytes, kind: str, suffix: str) -> Path:
    """Keep an input that failed in the corpus, and return where."""
    folder = CORPUS / kind
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
    path.write_bytes(content)
    return path
