"""Performance and data profiles: on which share of problems and seeds an optimizer is fast."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from fastgd.analysis import Results
from fastgd.plots.pages import note
from fastgd.plots.readings import methods, time_words
from fastgd.plots.shares import draw_shares
from fastgd.plots.style import looks, style


def profile(
    results: Results,
    target: float | None = None,
    gap: float | None = None,
    fraction: float | None = None,
    unit: str | None = None,
    of: str = "performance",
    interpolate: bool = False,
    by: str | None = None,
    x_limits: Sequence[float] | None = None,
) -> Figure:
    """Plot the performance profile of each optimizer, or its data profile: a line for each.

    At 1 a performance profile shows on which share of problems and seeds an optimizer is the fastest to the goal, at 2
    where it takes at most twice as long as the fastest one, and at its end where it gets there at all. Each optimizer
    has its fastest configuration on a problem. For the definitions see `Results.profiles`.

    Parameters
    ----------
    results : Results
        The study's results.
    target, gap, fraction, unit, interpolate, by : optional
        The goal and the unit of time, as in `Results.time_to`; by default `fraction=0.99`.
    of : {"performance", "data"}
        Shares over the ratio to the fastest, or over time.
    x_limits : (float, float), optional
        The ends of the horizontal axis, in place of those that suit the numbers.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        As in `Results.profiles`; or there are no trials yet.
    """
    chosen = looks(methods(results))
    table = results.profiles(target, gap, fraction, unit, of, interpolate, by)
    about = table.attrs
    column = "ratio" if of == "performance" else about["unit"]
    time = time_words(about["unit"], about["goal"])
    x = f"{time}, as a multiple of the fastest" if of == "performance" else time
    with style():
        figure = draw_shares(table, column, chosen, (x, "share of problems and seeds"), x_limits)
        left = about["left_out"]
        words = f"left out: {left:,} where not all optimizers have a trial" if left else ""
        reached = f"some optimizer got there in {about['solved']:,} of {about['instances']:,} pairs of problem and seed"
        note(figure, reached, words)
    return figure
