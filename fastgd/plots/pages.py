"""Pages of pictures: a picture of many problems or optimizers has a bounded size, and says what it leaves out."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure

from fastgd.common.errors import InputError, nearest
from fastgd.common.escape import for_picture
from fastgd.plots.style import GREY

T = TypeVar("T")

TALLEST = 18.0  # inches: the height of all panels of a page
PANELS = 20  # the most small multiples of a page


def page_of(items: Sequence[T], page: int, what: str, heights: Sequence[float] | None = None) -> tuple[list[T], str]:
    """Return the items of a page, and a sentence that says which they are; it is empty if there is only one page.

    Parameters
    ----------
    items : sequence
        What is to be drawn, in its order.
    page : int
        The number of the page, from 1.
    what : str
        What the items are: "problems".
    heights : sequence of float, optional
        The height of each item in inches, if panels stand below each other; by default `PANELS` items fill a page.

    Raises
    ------
    InputError
        There is no such page.
    """
    inches = heights if heights is not None else [TALLEST / PANELS] * len(items)
    places = _places(inches)
    pages = 1 + max(places, default=0)
    if isinstance(page, bool) or not isinstance(page, int) or not 1 <= page <= pages:
        there = "there is one page" if pages == 1 else f"there are pages 1 to {pages}"
        raise InputError(f"this picture has no page {page!r}: {there}")
    chosen = [place for place, own in enumerate(places) if own == page - 1]
    if pages == 1:
        return list(items), ""
    which = f"{what} {chosen[0] + 1} to {chosen[-1] + 1}" if len(chosen) > 1 else f"{what} {chosen[0] + 1}"
    other = f"page={page + 1} shows the next" if page < pages else "page=1 shows the first"
    words = f"page {page} of {pages}: {which} of {len(items)}; {other}"
    return [items[place] for place in chosen], words


def _places(inches: Sequence[float]) -> list[int]:
    """Return the page of each item, from 0: a page takes as many items as fit, and at least one."""
    places, page, filled = list[int](), 0, 0.0
    for height in inches:
        if filled and filled + height > TALLEST + 1e-9:
            page, filled = page + 1, 0.0
        filled += height
        places.append(page)
    return places


def blocks_of(found: Sequence[Any], problems: Iterable[str]) -> list[list[Any]]:
    """Return the items of each of some problems, their `problem`, in blocks that fit on a page."""
    groups = [[one for one in found if one.problem == name] for name in problems]
    return [own[first : first + PANELS] for own in groups for first in range(0, len(own), PANELS)]


def only(names: Iterable[Any], asked: str | None, where: str = "", what: str = "problem") -> list[str]:
    """Return what to draw: all of some names, or the one that is asked for (`where`, `what`: for the message).

    Raises
    ------
    InputError
        There is none of this name.
    """
    known = list(dict.fromkeys(map(str, names)))
    if asked is None:
        return known
    if asked not in known:
        raise InputError(f"there is no {what} {asked!r} to draw{where}; {nearest(asked, known)}")
    return [asked]


@contextmanager
def drawn_from(file: Path) -> Iterator[None]:
    """Turn errors in the block into an InputError that names the file they come from, whose values may be anything."""
    try:
        with np.errstate(all="ignore"):
            yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{file}: what it says cannot be drawn: {error}") from error


def note(figure: Figure, *words: str) -> None:
    """Write above a picture what it leaves out; the command that draws it prints the same sentences."""
    if sentences := [sentence for sentence in words if sentence]:
        width = int(15 * figure.get_figwidth())  # letters of that size
        lines = [line for sentence in sentences for line in textwrap.wrap(sentence, width)]
        figure.suptitle("\n".join(map(for_picture, lines)), x=0.01, ha="left", fontsize=8, color=GREY)


def notes_of(figure: Figure) -> list[str]:
    """Return the lines above a picture on what it leaves out."""
    return [line.replace(r"\$", "$") for line in figure.get_suptitle().splitlines()]
