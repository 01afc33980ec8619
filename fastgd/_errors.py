"""The one error that is the user's to mend, and the hint that goes with a misspelt name."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The user's input is wrong.

    The message is one sentence or two: the key, row or file, what was found, and what would be valid. The command line
    prints it without a traceback and exits with 2.
    """


def nearest(found: str, valid: Iterable[str]) -> str:
    """Return "did you mean 'x'?" or, where nothing is near, the list of valid names."""
    names = sorted(valid)
    close = get_close_matches(found, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}"
