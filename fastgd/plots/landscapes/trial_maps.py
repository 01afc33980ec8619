"""Surfaces of trials as maps: planes through the end points of trained models, with their trajectories, and lines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter

from fastgd.analysis import Results, with_methods
from fastgd.common.errors import InputError, nearest
from fastgd.common.numbers import number
from fastgd.plots.configurations import undrawable
from fastgd.plots.landscapes.map import END, START, Plane
from fastgd.plots.landscapes.walks import Walk
from fastgd.plots.limits import Array, drawable, limits, mark_outside, spans_decades, tell_outside
from fastgd.plots.readings import settings, varied
from fastgd.plots.style import Look, dress, halo
from fastgd.store.surface_files import SurfaceInfo
from fastgd.store.trial_surfaces import TrialPath, TrialSurface

DIRECTIONS = ("random", "pca", "between")
_DECADE = 10.0  # from this ratio of the losses on, the axis of a line is logarithmic
_FEW_DECADES = (2.0, 0.5)  # of a logarithmic axis that has numbers between its decades, too


def maps_of_trials(
    results: Results, kind: str, trials: Sequence[str] | str | None, directions: str | None
) -> list[tuple[Plane, list[Walk]]]:
    """Return the stored surfaces of the study's trials, each with the walks of its trials.

    Parameters
    ----------
    results : Results
        Of a study over data.
    kind : str
        The picture, for messages.
    trials : sequence of str or "all", optional
        Those whose surfaces are drawn; by default all.
    directions : {"random", "pca", "between"}, optional
        The only ones to draw.

    Raises
    ------
    InputError
        There is no surface of what was asked for, or one that axes cannot show.
    """
    if directions is not None and directions not in DIRECTIONS:
        raise InputError(f"there are no directions {directions!r}; {nearest(directions, DIRECTIONS)}")
    table = with_methods(results.trials[results.trials["in_study"]]).set_index("trial_id", drop=False)
    found = [each for each in results.trial_surfaces if set(each.info.trials) <= set(table.index)]
    wanted = None if trials is None or trials == "all" else {trials} if isinstance(trials, str) else set(trials)
    if wanted is not None and (unknown := wanted - {name for each in found for name in each.info.trials}):
        name = min(unknown)
        raise InputError(f"{results.path} holds no surface of trial {name!r}: `fastgd surface` makes one")
    shown = [each for each in found if wanted is None or wanted & set(each.info.trials)]
    shown = [each for each in shown if directions in (None, each.info.directions)]
    if not shown and directions is not None:
        raise InputError(
            f"{results.path} holds no such surface with the directions {directions!r}: `fastgd surface --directions "
            f"{directions}` makes one"
        )
    several = results.trials["problem"].nunique() > 1
    maps = [(_plane(each, several), [_walk(results, each, name, table) for name in each.info.trials]) for each in shown]
    for plane, _ in maps:
        if len(plane.y) > 1 and (fault := undrawable(plane)):
            raise InputError(f"a picture of kind {kind!r} has no place for {plane.title!r} in {results.path}: {fault}")
    return maps


def _plane(surface: TrialSurface, several: bool) -> Plane:
    info, is_line = surface.info, len(surface.y) == 1
    title = {
        "random": f"random directions, seed {info.seed}",
        "pca": "main directions",
        "between": "between two solutions" if is_line else "plane of three solutions",
    }[info.directions]
    shares = [f" ({share:.1%})" for share in info.shares] + [""] * 2
    labels = {
        "random": ("random direction 1", "random direction 2"),
        "pca": (f"main direction 1{shares[0]}", f"main direction 2{shares[1]}"),
        "between": ("from the first, 0, to the second, 1", "")
        if is_line
        else ("from the first to the second", "away from their line"),
    }[info.directions]
    words = [info.problem] if several else []
    if info.directions == "random":
        words.append("1 is as long as the weights")
    if info.captured is not None and not is_line:
        words.append(f"holds {info.captured:.2%} of the {'first ' * (len(info.trials) > 1)}trajectory")
    if info.directions == "between" and is_line:
        words.append(barrier_in_words(surface.x, surface.loss[:, 0], [end[0] for end in info.ends]))
    of_problem = SurfaceInfo(info.problem, (0, 1), [0.0, 0.0], [], [])
    return Plane(of_problem, surface.x, surface.y, surface.loss, labels, title, "; ".join(words))


def _walk(results: Results, surface: TrialSurface, trial: str, table: pd.DataFrame) -> Walk:
    """Return the trajectory of a trial, or its end alone where no trajectory is stored."""
    info, row = surface.info, table[table["trial_id"] == trial].iloc[0]
    place = info.trials.index(trial)
    step, loss, (x, y) = np.array([row["steps"]]), np.array([info.losses[place]]), np.array(info.ends[place])[:, None]
    end = TrialPath(trial, step, x, y, loss, np.zeros(1))
    path = next((path for path in surface.paths if path.trial_id == trial), end)
    return Walk(
        problem=info.problem,
        method=str(row["method"]),
        optimizer=str(row["optimizer"]),
        settings=_settings(results, row, table),
        trial_id=trial,
        start=0,
        status=str(row["status"]),
        step=path.step.astype(np.float64),
        loss=path.loss,
        lr=np.full(len(path.step), np.nan),
        x=np.column_stack([path.x, path.y]),
        more={},
    )


def _settings(results: Results, row: "pd.Series[Any]", table: pd.DataFrame) -> str:
    """Return a trial's rate, and the values in which trials of its method on its problem differ, in words."""
    own = table[(table["problem"] == row["problem"]) & (table["method"] == row["method"])]
    names = ["lr"] if "lr" in row else []
    words = settings(row.fillna({"variant": ""}), names + [name for name in varied(results, own) if name not in names])
    return ", ".join(filter(None, (words, f"seed {row['seed']}" if own["seed"].nunique() > 1 else "")))


# --- lines ------------------------------------------------------------------------------------------------------------


def draw_line(axes: Axes, line: Plane, walks: Sequence[Walk], chosen: Mapping[str, Look]) -> None:
    """Draw the loss along a line, the ends of trials on it, and where they were on their way."""
    dress(axes)
    x, loss, ends = line.x, line.loss[:, 0], [walk.end[0] for walk in walks]
    between = loss[(x >= min(ends)) & (x <= max(ends))]
    axes.plot(x, drawable(loss), color="#4f738d", linewidth=1.5, zorder=3)
    limits(axes, loss, [*between, *(walk.loss[-1] for walk in walks)], log=spans_decades(loss, _DECADE))
    axes.set_xlim(x[0], x[-1])
    axes.set_xlabel(line.labels[0])
    axes.set_ylabel("loss")
    for walk in walks:
        look, way = chosen[walk.trial_id], walk.path[:, 0]
        if len(way) > 1:
            (drawn,) = axes.plot(way, walk.loss, color=look.color, linewidth=1.0, zorder=4)
            drawn.set_path_effects(halo(2.1, 0.85))
            axes.plot(way[0], walk.loss[0], **START, zorder=5)
        axes.plot(way[-1], walk.loss[-1], **look.line(6.5) | END, zorder=6)
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(_Plain(minor_thresholds=_FEW_DECADES))
        axes.yaxis.set_minor_formatter(_Plain(minor_thresholds=_FEW_DECADES))
        axes.tick_params(which="minor", labelsize=7)
    mark_outside(axes, x, drawable(loss), "#4f738d", first=True)
    tell_outside(axes, loss, loss, "point")


class _Plain(LogFormatter):
    """Numbers at a logarithmic axis as they are written elsewhere, at the ticks that matplotlib chooses."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the text of a tick."""
        return number(x, 2) if super().__call__(x, pos) else ""


def barrier_in_words(x: Array, loss: Array, ends: Sequence[float]) -> str:
    """Return in words how high the loss is between two solutions; empty where they are not two."""
    between = (x >= min(ends)) & (x <= max(ends))
    if len(ends) != 2 or not np.isfinite(loss[between]).any():
        return ""
    place = int(np.nanargmax(np.where(between, loss, -np.inf)))
    if x[place] in ends:
        return "no barrier between them"
    return f"between them up to {number(loss[place])}, at {number(x[place], 2)}"
