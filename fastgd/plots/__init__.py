"""Pictures of results: one call each, as matplotlib figures that no window and no pyplot state stands behind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgd._errors import InputError
from fastgd._registry import Registry
from fastgd.analysis import Results
from fastgd.plots._curves import curves
from fastgd.plots._heatmap import heatmap
from fastgd.plots._range import range_
from fastgd.plots._rates import rates
from fastgd.plots._schedule import schedule, sketch, study_blocks
from fastgd.plots._sensitivity import sensitivity
from fastgd.plots._style import style
from fastgd.plots._tune import tune

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "PLOTS",
    "Plot",
    "curves",
    "heatmap",
    "plot",
    "range_",
    "rates",
    "save",
    "schedule",
    "sensitivity",
    "sketch",
    "study_blocks",
    "tune",
]

SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Plot:
    """A kind of picture.

    Parameters
    ----------
    name : str
        Its name.
    summary : str
        What it shows, in a line.
    draw : callable
        Takes results and options, and returns a figure.
    """

    name: str
    summary: str
    draw: Callable[..., "Figure"]


PLOTS: Registry[Plot] = Registry("kind of plot")
for _plot in (
    Plot(
        "curves", "each optimizer's best configuration over the training, before the spread of all its trials", curves
    ),
    Plot("sensitivity", "the final loss against the learning rate, a line for each optimizer", sensitivity),
    Plot("heatmap", "the final loss over two hyper-parameters, axes for each optimizer", heatmap),
    Plot("schedule", "what the schedules of the study are worth over the training", schedule),
    Plot("rates", "the effective rates of rare and of frequent features, axes for each optimizer", rates),
    Plot("range", "the loss along a rate that grew, a line for each optimizer", range_),
):
    PLOTS.add(_plot)


def plot(results: Results, kind: str, **options: Any) -> "Figure":
    """Return a picture of results.

    Parameters
    ----------
    results : Results
        The study's results.
    kind : str
        A name in `PLOTS`: curves, sensitivity, heatmap, schedule, rates, range.
    **options
        The options of the function of that name in this module.

    Returns
    -------
    matplotlib.figure.Figure
        The picture; `save` writes it.

    Raises
    ------
    InputError
        There is no such kind, or the results lack what it needs.
    """
    return PLOTS.find(kind).draw(results, **options)


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure to a .png, .svg or .pdf file; the same picture gives the same bytes.

    Raises
    ------
    InputError
        The suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write {path}: the name of a picture ends in {', '.join(SUFFIXES)}")
    dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with style():
            figure.savefig(path, dpi=200, metadata=dates[path.suffix.lower()])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
