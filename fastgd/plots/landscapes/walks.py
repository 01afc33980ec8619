"""The recorded trajectories of trials on landscapes, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.plots.configurations import check_landscapes, chosen_of
from fastgd.plots.limits import Array
from fastgd.plots.style import Look, looks

STARTS = 4  # so many starts are drawn, unless others are asked for
_COLUMNS = ["trial_id", "start", "step", "coordinate", "loss", "lr", "x"]
_FAR = 1e12  # matplotlib's transforms overflow on much larger numbers


@dataclass(frozen=True)
class Walk:
    """The trajectory of a trial on a landscape.

    Parameters
    ----------
    problem, method, optimizer : str
        Their names.
    settings : str
        The configuration in words.
    trial_id : str
        The configuration.
    start : int
        The number of its start.
    status : str
        How it ended.
    step : ndarray of shape (k,)
        The steps, from 0 on.
    loss, lr : ndarray of shape (k,)
        The loss at each step, and the rate of the step before.
    x : ndarray of shape (k, d)
        The iterates.
    more : mapping of str to ndarray of shape (k, d)
        Other columns of the trajectories: `gradient`, `effective_lr`, `slot.<name>`; those that its rule has.
    recorded : int
        From how many starts every step was recorded.
    axes : tuple of (int, int)
        The coordinates of the map on which it is drawn.
    """

    problem: str
    method: str
    optimizer: str
    settings: str
    trial_id: str
    start: int
    status: str
    step: Array
    loss: Array
    lr: Array
    x: Array
    more: Mapping[str, Array]
    recorded: int = 1
    axes: tuple[int, int] = (0, 1)

    @property
    def name(self) -> str:
        """The optimizer and its settings."""
        return f"{self.optimizer}  {self.settings}"

    @property
    def path(self) -> Array:
        """The points (k, 2) on the map; NaN where they are too large to be drawn."""
        seen = self.x[:, list(self.axes)]
        return np.where(np.abs(seen) < _FAR, seen, np.nan)

    @property
    def end(self) -> Array:
        """The last point (2,) of the path that can be drawn; NaN if none can."""
        path = self.path
        drawn = path[np.isfinite(path).all(axis=1)]
        last: Array = drawn[-1] if len(drawn) else np.full(2, np.nan)
        return last


def walks_of(
    results: Results,
    kind: str,
    trials: Sequence[str] | str | None = None,
    starts: Sequence[int] | int | None = None,
    whole: bool = False,
) -> list[Walk]:
    """Return walks, in the order of the study's methods, then of their starts.

    Parameters
    ----------
    results : Results
    kind : str
        The picture, for messages.
    trials : sequence of str or "all", optional
        Ids of configurations; by default the best of each optimizer on each problem.
    starts : sequence of int or int, optional
        Numbers of starts; by default the first four that were recorded.
    whole : bool
        Whether to read all recorded columns: `Walk.more`.

    Raises
    ------
    InputError
        There are no such trials, or their steps were not recorded.
    """
    order = check_landscapes(results, kind)
    recorded = _recorded(results, kind)
    chosen = chosen_of(results, order, trials, set(recorded))
    numbers = _starts(results, recorded, starts)
    wanted = pc.field("trial_id").isin(chosen["trial_id"].tolist()) & pc.field("start").isin(numbers)
    steps = results.table("trajectories", columns=None if whole else _COLUMNS, filter=wanted).to_pandas()
    status = results.table("trials", columns=["trial_id", "start", "status"], filter=wanted).to_pandas()
    ends = {(row.trial_id, row.start): str(row.status) for row in status.itertuples()}
    parts = dict(iter(steps.groupby(["trial_id", "start"], observed=True, sort=False)))
    return [
        _walk(row, number, ends[key], parts[key], len(recorded[row["trial_id"]]))
        for _, row in chosen.iterrows()
        for number in numbers
        if (key := (row["trial_id"], number)) in parts
    ]


def looks_of(order: Sequence[str], walks: Sequence[Walk]) -> dict[str, Look]:
    """Return a look for each configuration: the first of an optimizer has the optimizer's look, others have their own.

    Parameters
    ----------
    order : sequence of str
        The study's methods.
    walks : sequence of Walk
        What is drawn, on any number of problems.
    """
    own: dict[tuple[str, str], dict[str, None]] = {}
    for walk in walks:
        own.setdefault((walk.problem, walk.method), {})[walk.trial_id] = None
    most = {method: max((len(ids) for key, ids in own.items() if key[1] == method), default=0) for method in order}
    more = [(method, place) for method in order for place in range(1, most[method])]
    found = looks([(method, 0) for method in order] + more)
    return {name: found[key[1], place] for key, names in own.items() for place, name in enumerate(names)}


def starts_in_words(walks: Sequence[Walk]) -> str:
    """Return in words which starts are drawn; empty where these are all starts with recorded steps."""
    shown, recorded = sorted({walk.start for walk in walks}), max((walk.recorded for walk in walks), default=0)
    if len(shown) >= recorded:
        return ""
    return f"start{'s' * (len(shown) > 1)} {', '.join(map(str, shown))} of {recorded:,} whose steps were recorded"


def _recorded(results: Results, kind: str) -> dict[str, list[int]]:
    """Return the starts of each configuration from which every step was recorded."""
    first = (pc.field("step") == 0) & (pc.field("coordinate") == 0)
    table = results.table("trajectories", columns=["trial_id", "start"], filter=first).to_pandas()
    if table.empty:
        raise InputError(
            f"a picture of kind {kind!r} needs every step of some trials, and {results.path} has the steps of none: "
            "run the study with [record] trajectories = 1 (a number of starts, or a list of them)"
        )
    groups = table.groupby("trial_id", observed=True)["start"]
    return {str(name): sorted(starts) for name, starts in groups}


def _starts(results: Results, recorded: Mapping[str, list[int]], starts: Sequence[int] | int | None) -> list[int]:
    known = sorted({number for numbers in recorded.values() for number in numbers})
    if starts is None:
        return known[:STARTS]
    wanted = [starts] if isinstance(starts, int) else list(starts)
    if missing := [number for number in wanted if number not in known]:
        shown = ", ".join(map(str, known[:8])) + (", ..." if len(known) > 8 else "")
        raise InputError(f"the steps from start {missing[0]} were not recorded in {results.path}; there are {shown}")
    return wanted


def _walk(row: "pd.Series[str]", start: int, status: str, steps: pd.DataFrame, recorded: int) -> Walk:
    steps = steps.sort_values(["step", "coordinate"])
    d = int(steps["coordinate"].max()) + 1
    numbers = steps.drop(columns=["trial_id", "start", "coordinate"])
    tables = {str(name): numbers[name].to_numpy(dtype=np.float64).reshape(-1, d) for name in numbers}
    more = {name: values for name, values in tables.items() if name not in _COLUMNS and not np.isnan(values).all()}
    return Walk(
        problem=str(row["problem"]),
        method=str(row["method"]),
        optimizer=str(row["optimizer"]),
        settings=str(row["settings"]),
        trial_id=str(row["trial_id"]),
        start=start,
        status=status,
        step=tables["step"][:, 0],
        loss=tables["loss"][:, 0],
        lr=tables["lr"][:, 0],
        x=tables["x"],
        more=more,
        recorded=recorded,
    )
