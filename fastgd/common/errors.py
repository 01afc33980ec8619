"""`InputError`, which says what is wrong with the user's input, and the hint that goes with a misspelt name."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_SHOWN = 60  # names in a message: all optimizers, but not all trials


class InputError(ValueError):
    """The user's input is wrong.

    The message is one sentence or two: the key, row or file, what was found, and what would be valid. The command line
    prints it without a traceback and exits with 2.
    """


class TooLargeError(InputError):
    """The memory that this process may use does not hold what is asked for."""


class InUseError(InputError):
    """Another process writes to a folder of results.

    Parameters
    ----------
    folder : path
    writer : str
        Which one, where its lock says it.
    killed : str
        What is to be known, or done, where it was killed; empty: nothing.
    """

    def __init__(self, folder: object, writer: str = "", killed: str = "") -> None:
        super().__init__(folder, writer, killed)  # from which pickle makes it again
        self.folder, self.writer, self.killed = folder, writer, killed

    def __str__(self) -> str:
        who = f" ({self.writer})" if self.writer else ""
        way_out = "wait for it, as fastgd run --join (join=True) does, or choose another folder with --out"
        return f"another process writes to {self.folder}{who}: " + "; ".join(filter(None, (way_out, self.killed)))


class UnreadableError(InputError):
    """The system, or an object store, refuses to read or write a file, so that nothing is known about its content."""


def nearest(found: object, valid: Iterable[str]) -> str:
    """Return "did you mean 'x'?" or, where nothing is near, the list of valid names."""
    names = sorted(valid)
    close = get_close_matches(str(found), names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    rest = len(names) - MOST_SHOWN
    return f"valid: {', '.join(names[:MOST_SHOWN])}" + (f" and {rest:,} more" if rest > 0 else "")
