"""Pictures of results: one function for each kind, which returns a matplotlib figure.

Results come in; figures go out, and files where `save` is called. Figures open no window and leave pyplot alone. The
functions are imported when they are first used, so that the kinds can be listed without matplotlib.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from fastgd.analysis import Results
from fastgd.common.errors import InputError, nearest
from fastgd.common.folders import expanded
from fastgd.common.registry import Registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastgd.plots.answers.budget import budget as budget
    from fastgd.plots.answers.compare import compare as compare
    from fastgd.plots.answers.ecdf import ecdf as ecdf
    from fastgd.plots.answers.parallel import parallel as parallel
    from fastgd.plots.answers.profile import profile as profile
    from fastgd.plots.answers.ranks import ranks as ranks
    from fastgd.plots.answers.time import time as time
    from fastgd.plots.landscapes.animate import animate as animate
    from fastgd.plots.landscapes.basins import basins as basins
    from fastgd.plots.landscapes.contour import contour as contour
    from fastgd.plots.landscapes.surface import surface as surface
    from fastgd.plots.landscapes.traces import traces as traces
    from fastgd.plots.pages import notes_of as notes_of
    from fastgd.plots.studies.curves import curves as curves
    from fastgd.plots.studies.effective_rates import rates as rates
    from fastgd.plots.studies.gap import gap as gap
    from fastgd.plots.studies.heatmap import heatmap as heatmap
    from fastgd.plots.studies.layers import layers as layers
    from fastgd.plots.studies.phase import phase as phase
    from fastgd.plots.studies.range_test import range_ as range_
    from fastgd.plots.studies.rate_search import tune as tune
    from fastgd.plots.studies.schedule import schedule as schedule
    from fastgd.plots.studies.schedule import sketch as sketch
    from fastgd.plots.studies.schedule import study_blocks as study_blocks
    from fastgd.plots.studies.sensitivity import sensitivity as sensitivity

SUFFIXES = (".png", ".svg", ".pdf")
FILMS = (".gif", ".mp4")

# The modules of the functions that draw, and of those that go with them.
_HOMES = {
    "animate": "landscapes.animate",
    "basins": "landscapes.basins",
    "contour": "landscapes.contour",
    "budget": "answers.budget",
    "compare": "answers.compare",
    "ecdf": "answers.ecdf",
    "profile": "answers.profile",
    "ranks": "answers.ranks",
    "time": "answers.time",
    "curves": "studies.curves",
    "gap": "studies.gap",
    "heatmap": "studies.heatmap",
    "layers": "studies.layers",
    "notes_of": "pages",
    "parallel": "answers.parallel",
    "phase": "studies.phase",
    "range_": "studies.range_test",
    "rates": "studies.effective_rates",
    "schedule": "studies.schedule",
    "sensitivity": "studies.sensitivity",
    "sketch": "studies.schedule",
    "study_blocks": "studies.schedule",
    "surface": "landscapes.surface",
    "traces": "landscapes.traces",
    "tune": "studies.rate_search",
}

__all__ = ["PLOTS", "Plot", "axes", "plot", "save", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@dataclass(frozen=True)
class Plot:
    """A kind of picture.

    Parameters
    ----------
    name : str
        Its name.
    summary : str
        What it shows, in a line.
    function : str
        The name of the function of this module that draws it.
    suffix : str
        Ending of the file that it is written to by default.
    """

    name: str
    summary: str
    function: str
    suffix: str = ".png"

    @property
    def draw(self) -> Callable[..., "Figure"]:
        """The function, which takes results and options, and returns a figure."""
        drawn: Callable[..., Figure] = __getattr__(self.function)
        return drawn


PLOTS: Registry[Plot] = Registry("kind of plot")
for _plot in (
    Plot(
        "curves", "each optimizer's best configuration over the training, before the spread of all its trials", "curves"
    ),
    Plot("sensitivity", "the final loss against the learning rate, a line for each optimizer", "sensitivity"),
    Plot("heatmap", "the final loss over two hyper-parameters, axes for each optimizer", "heatmap"),
    Plot("gap", "how far each optimizer's best configuration is from the minimum over the training", "gap"),
    Plot("parallel", "all configurations over all hyper-parameters, coloured by their loss", "parallel"),
    Plot("time", "the time to a goal against the learning rate, a line for each optimizer", "time"),
    Plot("ecdf", "which share of each optimizer's trials has reached a goal, over time", "ecdf"),
    Plot("profile", "on which share of the problems each optimizer is fast: performance and data profiles", "profile"),
    Plot("ranks", "mean ranks of optimizers, and which of them the data do not tell apart", "ranks"),
    Plot("compare", "paired differences of optimizers to the best one, with intervals", "compare"),
    Plot("budget", "the expected best of k random configurations of each optimizer", "budget"),
    Plot("schedule", "what the schedules of the study are worth over the training", "schedule"),
    Plot("rates", "the effective rates of rare and of frequent features, axes for each optimizer", "rates"),
    Plot("layers", "gradients, updates and dead units of a network's layers, a row for each optimizer", "layers"),
    Plot("range", "the loss along a rate that grew, a line for each optimizer", "range_"),
    Plot("contour", "trajectories on the contour map of a landscape, or about the end of a trial", "contour"),
    Plot("surface", "the same in three dimensions", "surface"),
    Plot("basins", "which minimum each start leads to, and after how many steps", "basins"),
    Plot("phase", "convergent, oscillating, divergent: how trials end over two hyper-parameters", "phase"),
    Plot("traces", "parameters, gradients, what a rule keeps, and effective rates, step by step", "traces"),
    Plot("animate", "a film of optimizers walking on a landscape, beside their losses", "animate", ".gif"),
):
    PLOTS.add(_plot)


def plot(results: Results, kind: str, **options: Any) -> "Figure":
    """Return a picture of results.

    Parameters
    ----------
    results : Results
        The study's results.
    kind : str
        A name in `PLOTS`: curves, gap, sensitivity, heatmap, parallel, time, ecdf, profile, ranks, compare, budget,
        schedule, rates, layers, range; of surfaces contour, surface; of landscapes basins, phase, traces, animate.
    **options
        The options of the function of that name in this module.

    Returns
    -------
    matplotlib.figure.Figure
        The picture; `save` writes it.

    Raises
    ------
    InputError
        There is no such kind, it has no such option, or the results lack what it needs.
    """
    if isinstance(results, str | PurePath):
        raise InputError(f"results are needed, not their folder: fastgd.load({str(results)!r}) reads them")
    found = PLOTS.find(kind)
    known = dict(list(signature(found.draw).parameters.items())[1:])
    if unknown := [name for name in options if name not in known]:
        raise InputError(f"a picture of kind {kind!r} has no option {unknown[0]!r}; {nearest(unknown[0], known)}")
    for name, value in options.items():
        if "bool" in str(known[name].annotation) and not isinstance(value, bool | None):
            raise InputError(f"{name} must be true or false, found {value!r}")
    return found.draw(results, **options)


def axes(results: Results, kind: str, **options: Any) -> "list[Axes]":
    """Return the axes of a picture of results, to be changed or added to; their figure is `axes[0].figure`.

    Parameters
    ----------
    results, kind, **options
        As in `plot`. Kinds whose panels stand alone (contour, surface, basins, phase) draw a panel into axes of yours
        with the option `axes`, and return them.

    Returns
    -------
    list of matplotlib.axes.Axes
        Those of the panels, in the order of the picture, without scales of colours.

    Raises
    ------
    InputError
        As in `plot`.

    Examples
    --------
    >>> (ax,) = axes(results, "contour")  # doctest: +SKIP
    >>> left, right = plt.subplots(1, 2)[1]  # doctest: +SKIP
    >>> axes(results, "basins", problem="himmelblau", trials=best, axes=left)  # doctest: +SKIP
    """
    figure = plot(results, kind, **options)
    own = options.get("axes")
    return [own] if own is not None else [one for one in figure.axes if one.get_label() != "<colorbar>"]


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure to a .png, .svg or .pdf file; a film may also become a .gif or .mp4 file.

    The same picture gives the same bytes, except as .mp4.

    Raises
    ------
    InputError
        The suffix is another one, or the file cannot be written.
    """
    from fastgd.plots.film import Film, save_film
    from fastgd.plots.style import style
    from fastgd.store.disk.new_files import on_this_machine

    path = expanded(path)
    suffix, names = path.suffix.lower(), ", ".join(SUFFIXES)
    if suffix in FILMS and not isinstance(figure, Film):
        raise InputError(f"cannot write {path}: this picture does not move; its name ends in {names}")
    if suffix not in SUFFIXES + FILMS:
        films = f", or of a film in {', '.join(FILMS)}" if isinstance(figure, Film) else ""
        raise InputError(f"cannot write {path}: the name of a picture ends in {names}{films}")
    dates = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with style(), on_this_machine(path) as file:
            if isinstance(figure, Film) and suffix in FILMS:
                save_film(figure, file)
            else:
                figure.savefig(file, dpi=200, metadata=dates[suffix])
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
