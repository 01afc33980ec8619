"""The distribution of times: which share of an optimizer's trials has reached a goal, over time."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.plots.readings import methods, time_words
from fastgd.plots.shares import draw_shares
from fastgd.plots.style import looks, style

_WORDS = {"best": "share of the best configurations' trials", "all": "share of all trials"}


def ecdf(
    results: Results,
    target: float | None = None,
    gap: float | None = None,
    fraction: float | None = None,
    unit: str | None = None,
    of: str = "best",
    interpolate: bool = False,
    by: str | None = None,
    x_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot which share of each optimizer's trials has reached a goal, over time: a line for each.

    Parameters
    ----------
    results : Results
        The study's results.
    target, gap, fraction, unit, interpolate, by : optional
        The goal and the unit of time, as in `Results.time_to`; by default `fraction=0.99`.
    of : {"best", "all"}
        The trials of each problem's fastest configuration, or all of them: how an optimizer does untuned.
    x_limits : (float, float), optional
        The ends of the horizontal axis, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        As in `Results.ecdf`; or there are no trials yet.
    """
    chosen = looks(methods(results))
    table = results.ecdf(target, gap, fraction, unit, of, interpolate, by)
    column = table.attrs["unit"]
    names = time_words(column, table.attrs["goal"]), _WORDS[of]
    with style():
        return draw_shares(table, column, chosen, names, x_limits)
