"""What checks share: the table of them, what one finds, and what is measured of a trial."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import fastgd


class Found(NamedTuple):
    """What a check found.

    Attributes
    ----------
    holds : dict of str to bool
        Statements, and whether each of them holds.
    numbers : list of dict
        The rows of a table of what was measured.
    seen : dict of str to bool
        What a lecturer saw in a run of theirs, and whether it is so in this one: told, and nothing that must hold.
    """

    holds: dict[str, bool]
    numbers: list[dict[str, Any]]
    seen: Mapping[str, bool] = MappingProxyType({})


class Run(NamedTuple):
    """A trial: its row, and what its curve has at each checkpoint."""

    row: Any
    loss: np.ndarray
    curve: pd.DataFrame

    @property
    def path(self) -> np.ndarray:
        """Where it was (checkpoints, d); of landscapes."""
        return self.curve[[f"x_{i}" for i in range(self.row.d)]].to_numpy()


Check = Callable[[fastgd.Results], Found]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Add a check under its function's name, which is that of its study."""
    CHECKS[function.__name__] = function
    return function


def runs(results: fastgd.Results) -> Iterator[Run]:
    """Yield the trials in the study's order."""
    keys = ["trial_id", "start"] if results.on_landscapes else ["trial_id"]
    curves = dict(iter(results.curves.sort_values("step").groupby(keys)))
    for row in results.trials.itertuples():
        curve = curves[tuple(getattr(row, key) for key in keys)]
        yield Run(row, curve["loss"].to_numpy(), curve)


def by_optimizer(results: fastgd.Results) -> dict[str, Run]:
    """Return the only trial of each optimizer."""
    return {run.row.optimizer: run for run in runs(results)}


def settled(loss: np.ndarray, below: float) -> int:
    """Return the step from which on a loss stays below a value."""
    return int(np.flatnonzero(loss >= below)[-1]) + 1


def turns(values: np.ndarray) -> int:
    """Return how often a coordinate turned back."""
    moves = np.sign(np.diff(values))
    return int(np.sum(moves[1:] * moves[:-1] < 0))


def lengths(path: np.ndarray) -> np.ndarray:
    """Return the length of each step."""
    return np.linalg.norm(np.diff(path, axis=0), axis=1)
