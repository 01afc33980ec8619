"""The limits of axes: they suit most values of a picture; values outside are marked and counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.numbers import number
from fastgd.plots.style import SMALL, figure_of

Array = NDArray[np.float64]

OUTSIDE = "outside"  # the gid of marks that stand for values outside of the axes
_TAIL = 0.1  # the share of values at either end that do not decide the limits
_LINES_REACH = 3.0  # the `reach` of `frame_of` for whole lines, which are fewer than values
_DECADES = 30  # from this ratio of the values on, an axis is logarithmic
FAR = 1e30  # larger numbers break matplotlib's transforms, and count as outside of any axes
_NEAR = 1e-250  # smaller numbers count as 0 on a logarithmic axis; margins below must not underflow
_WIDE = 1e100  # the largest hyper-parameter that is shown: ticks and margins lie beyond the values
_LETTER, _LINE = 5.0, 10.0  # points: the width of a letter of a note, generously, and the height of its line
_ROWS = 3  # of places for a note
# Where in a row a note may stand, best first: which end of it is where in the axes, and how many points from there.
_PLACES = (("right", 1.0, -4.0), ("center", 0.5, 0.0), ("left", 0.0, 30.0))  # the last beside the word "start"


@dataclass(frozen=True)
class Frame:
    """Which values axes show: those from `low` to `high`, on a logarithmic scale or not."""

    low: float
    high: float
    log: bool


def drawable(values: Array) -> Array:
    """Return values with infinities, which would interrupt a line, as numbers far outside of the axes."""
    return np.clip(values, -FAR, FAR)


def placed(values: Any) -> Any:
    """Return which values of a hyper-parameter an axis can show: none that is very large or very small."""
    size = np.abs(values)
    return ~((size > _WIDE) | ((size > 0) & (size < 1 / _WIDE)))


def spans_decades(values: Array, ratio: float) -> bool:
    """Return whether a logarithmic axis suits the values: positive, and the largest `ratio` times the smallest."""
    finite = values[np.isfinite(values)]
    return bool(len(finite)) and finite.min() > 0 and finite.max() / ratio >= finite.min()


def frame_of(
    values: Array, always: Iterable[float] = (), *, log: bool | None = None, tail: float = _TAIL, reach: float = 1.0
) -> Frame:
    """Choose which values axes show: the middle ones fill at least a third of them, whatever the extremes are.

    The middle values are those without the lowest and the highest 10 %, and without one at either end where there are
    three. From there axes go on to the last value that is no farther away than `reach` times their width.

    Parameters
    ----------
    values : ndarray
        What is drawn; only finite values count.
    always : iterable of float
        Values that are shown in any case, such as the loss at the start.
    log : bool, optional
        Whether the scale is logarithmic; by default where the middle values span decades.
    tail : float
        The share at either end, in place of 10 %.
    reach : float
        With another one than 1, the middle values fill 1 / (1 + 2 reach) of the axes at least.
    """
    seen = np.asarray(values, dtype=np.float64).ravel()
    seen, kept = seen[np.abs(seen) < FAR], np.array([value for value in always if abs(value) < FAR])
    positive = seen[seen > _NEAR]
    if log is None:
        few = np.count_nonzero(seen < 0) <= tail * len(seen)
        log = bool(few and len(positive)) and spans_decades(np.append(_middle(positive, tail), kept), _DECADES)
    if log:
        seen, kept = positive, kept[kept > _NEAR]
    if not len(seen) + len(kept):
        return Frame(1.0, 10.0, True) if log else Frame(0.0, 1.0, False)
    scale = np.log if log else np.asarray
    places, middle = scale(seen), scale(np.append(_middle(seen, tail), kept))
    room = reach * float(np.ptp(middle))
    near = np.append(seen[(places >= middle.min() - room) & (places <= middle.max() + room)], kept)
    return Frame(float(near.min()), float(near.max()), bool(log))


def _middle(values: Array, tail: float) -> Array:
    """Return the least and the largest value, without the tails at either end."""
    if len(values) < 3:
        return values
    cut = int(np.ceil(tail * (len(values) - 1)))
    ordered = np.sort(values)
    return ordered[[cut, -1 - cut]]


def without_outliers(lines: Sequence[Array], always: Iterable[float] = ()) -> list[Array]:
    """Return the lines that decide the limits of axes: those that do not reach far away from all others."""
    ends = np.array([[np.min(y, initial=np.inf, where=np.isfinite(y)), np.max(y, initial=-np.inf, where=np.isfinite(y))]
                     for y in lines])  # fmt: skip
    low, high = (frame_of(own, always, reach=_LINES_REACH) for own in ends.T)
    kept = [y for y, (least, most) in zip(lines, ends, strict=True) if least >= low.low and most <= high.high]
    return kept or list(lines)


def limits(
    axes: Axes, seen: Array, always: Iterable[float] = (), *, log: bool | None = None, reach: float = 1.0
) -> None:
    """Set the vertical limits of axes as `frame_of` says, with a margin."""
    frame = frame_of(seen, always, log=log, reach=reach)
    if frame.log:
        margin = (frame.high / frame.low) ** 0.05 if frame.high > frame.low else 1.5
        ends = frame.low / margin, frame.high * margin
        axes.set_ylim(*ends)  # first: matplotlib would look for limits among the values, which may all be 0
        axes.set_yscale("log")
        axes.set_ylim(*ends)
    else:
        room = 0.05 * (frame.high - frame.low or abs(frame.high) or 1.0)
        axes.set_ylim(frame.low - room, frame.high + room)


def pair(limits: Any, name: str) -> tuple[float, float] | None:
    """Return limits of an axis that a user gave, or None.

    Raises
    ------
    InputError
        They are no two numbers, the lower one first.
    """
    if limits is None:
        return None
    given = list(limits) if isinstance(limits, Sequence) and not isinstance(limits, str) else []
    numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(given) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1] or not np.isfinite(numbers).all():
        raise InputError(f"{name} must be two numbers, the lower one first, as in [0.001, 1]; found {limits!r}")
    return float(numbers[0]), float(numbers[1])


def zoom(axes: Axes, x: Any = None, y: Any = None) -> None:
    """Set limits that a user gave.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Their own limits and scales are set already.
    x, y : (float, float), optional
        The lower and the upper end.

    Raises
    ------
    InputError
        They are no two numbers, the lower one first, or not above 0 on a logarithmic axis.
    """
    for axis, given in (("x", x), ("y", y)):
        limits = pair(given, f"{axis}_limits")
        if limits is None:
            continue
        if getattr(axes, f"get_{axis}scale")() == "log" and limits[0] <= 0:
            raise InputError(f"{axis}_limits must be above 0, as this axis is logarithmic; found {given!r}")
        getattr(axes, f"set_{axis}lim")(*limits)


def end_lines_below(axes: Axes) -> None:
    """Draw what a logarithmic axis has no place for, such as a gap of 0, just below its edge.

    Lines go there at a slope that can be seen; matplotlib would draw them as if they fell by hundreds of decades.
    """
    if axes.get_yscale() != "log":
        return
    low, high = sorted(axes.get_ylim())
    for line in axes.lines:
        y = np.asarray(line.get_ydata(), dtype=np.float64)
        if (y <= 0).any():
            line.set_ydata(np.where(y <= 0, low / (high / low) ** 0.1, y))


def mark_outside(axes: Axes, x: Array, y: Array, color: str, *, first: bool = False) -> None:
    """Put triangles at the edge of axes where values lie outside of them.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Their limits must not change later.
    x, y : ndarray (k,)
        The values.
    color : str
        Of the triangles.
    first : bool
        Whether `y` are points of a line, which gets one triangle each time that it leaves the axes.
    """
    left, right = sorted(axes.get_xlim())
    seen = (x >= left) & (x <= right)  # a logarithmic axis cannot show step 0
    x, y = x[seen], y[seen]
    low, high = sorted(axes.get_ylim())
    style: dict[str, Any] = {"markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": ""}
    for beyond, edge, marker in ((y < low, 0.0, "v"), (y > high, 1.0, "^")):
        shown = beyond & ~np.append(False, beyond[:-1]) if first else beyond
        if shown.any():
            axes.plot(
                x[shown], np.full(np.count_nonzero(shown), edge), marker=marker, color=color, clip_on=False, zorder=7,
                transform=axes.get_xaxis_transform(), gid=OUTSIDE, **style,
            )  # fmt: skip


def tell_outside(axes: Axes, low: Array, high: Array, noun: str = "value") -> None:
    """Write at the edges of axes how many ranges reach beyond them, and how far, where no line passes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Their limits must not change later, and their lines are drawn already.
    low, high : ndarray (k,)
        The ends of each range; the picture itself shows infinite ones.
    noun : str
        What a range is of, for the text.
    """
    least, most = sorted(axes.get_ylim())
    below, above = low[np.isfinite(low) & (low < least)], high[np.isfinite(high) & (high > most)]
    if len(below):
        _tell(axes, f"▼ {_count(below, noun)} below, down to {number(below.min())}", 0.0)
    if len(above):
        _tell(axes, f"▲ {_count(above, noun)} above, up to {number(above.max())}", 1.0)


def _tell(axes: Axes, text: str, edge: float) -> None:
    """Write a text near the lower edge of axes, 0, or the upper one, 1: at the first place that fewest lines pass."""
    inwards = 1 - 2 * edge
    point = np.divide(figure_of(axes).dpi / 72, axes.bbox.size)  # of the axes, which are not laid out yet
    width, height = point * (_LETTER * len(text), _LINE)
    own = [line for line in axes.lines if line.get_gid() != OUTSIDE]
    paths = [line.get_path().transformed(line.get_transform() - axes.transAxes) for line in own]

    def lines_through(place: tuple[float, str, float, float]) -> int:
        y, align, x, away = place
        left = x + away * point[0] - {"left": 0.0, "center": 0.5, "right": 1.0}[align] * width
        box = Bbox.from_bounds(left, edge + y * point[1], width, inwards * height)
        return sum(path.intersects_bbox(box, filled=False) for path in paths)

    places = [(inwards * (4 + row * _LINE), *place) for row in range(_ROWS) for place in _PLACES]
    y, align, x, away = min(places, key=lines_through)
    axes.annotate(
        text, (x, edge), (away, y), ha=align, va="top" if edge else "bottom", zorder=6, gid=OUTSIDE,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5}, **SMALL | {"fontsize": 7},
    )  # fmt: skip


def _count(values: Array, noun: str) -> str:
    return f"{len(values):,} {noun}" + ("" if len(values) == 1 else "s")
