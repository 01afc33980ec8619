"""The gap over the training: how far each optimizer's best configuration is from the minimum, by default log-log."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.plots.bundles import bundles_of
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, methods, problems_of
from fastgd.plots.scales import scale_of
from fastgd.plots.studies.curves import HEIGHT, View, chance_of, key_of, overview
from fastgd.plots.style import looks, name_axes, style


def gap(
    results: Results,
    metric: str = "loss",
    x: str | None = None,
    problem: str | None = None,
    page: int = 1,
    x_scale: str = "log",
    x_limits: Sequence[float] | None = None,
    y_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot how far the best configuration of each optimizer is from the minimum, over the training.

    Both axes are logarithmic: a gap that falls as a power of the steps is a straight line, whose slope is the power.
    With `x_scale = "linear"` one that falls by the same factor in each step is. Lines are medians over the seeds,
    bands their middle half. For where gaps are measured from, and for what lies in the shade, see `curves`.

    Parameters
    ----------
    results : Results
        The study's results.
    metric : str
        A metric with a best value: by default the training loss, whose minimum `Results.minima` tells.
    x : {"epoch", "step", "samples_seen", "train_seconds"}, optional
        The horizontal axis; by default epochs, on landscapes steps.
    problem : str, optional
        The only one to draw.
    page : int
        Of a study of many problems, which of them to draw: the first ones, the next ones, ...
    x_scale : {"log", "linear"}
        The scale of the horizontal axis. A logarithmic one begins at the first checkpoint after the start.
    x_limits, y_limits : (float, float), optional
        The ends of the axes, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The metric has no best value or was not measured; or there is no such axis, scale, problem or page.
    """
    chosen, x = looks(methods(results)), x or ("step" if results.on_landscapes else "epoch")
    view = View(scale_of(results, metric, "gap"), chance_of(results), x_scale, x_limits, y_limits)
    named = only(problems_of(results), problem)
    shown, words = page_of(named, page, "problems", [HEIGHT] * len(named))
    problems = bundles_of(results, metric, x, shown, view.scale)
    with style():
        figure = overview(problems, chosen, len(named) > 1, view)
        name_axes(figure.axes, label(x), view.scale.words(results, problems))
        key_of(figure, [one for own in problems.values() for one in own], False, results.spread_over)
        note(figure, words)
    return figure
