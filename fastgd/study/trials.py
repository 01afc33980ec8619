"""What becomes of each lane of a cohort while it runs: the columns of its trials that the plan cannot know."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]


class TrialRecords:
    """Status, steps, final and best losses of a cohort's lanes, and the parameters that are to be kept.

    Parameters
    ----------
    lanes : int
    parameters : {"none", "best", "all"}
        Whose final parameters are kept; "best": those of the cohort's trial with the lowest final validation loss, or
        loss where nothing is held out.
    """

    def __init__(self, lanes: int, parameters: Literal["none", "best", "all"]) -> None:
        self._keep = parameters
        self._status = np.full(lanes, "", object)
        self._reason = np.full(lanes, "", object)
        self._steps = np.zeros(lanes, np.int64)
        self._losses = {
            f"{when}_{name}": np.full(lanes, np.nan)
            for when in ("final", "best")
            for name in ("loss", "validation_loss")
        }
        self._parameters: dict[int, Array] = {}
        self._measured = self._validated = False

    def observe(self, lanes: Array, metrics: dict[str, Array]) -> None:
        """Take in a checkpoint's losses."""
        self._measured, self._validated = True, "validation_loss" in metrics
        for name in ("loss", "validation_loss"):
            if name in metrics:
                self._losses[f"final_{name}"][lanes] = metrics[name]
                best = self._losses[f"best_{name}"]
                best[lanes] = np.fmin(best[lanes], metrics[name])

    def wanted_parameters(self, lanes: Array, ended: Array, read: Callable[[], Array]) -> dict[int, Array]:
        """Return, by position, the parameters of the ending lanes that are to be kept."""
        if self._keep == "none":
            return {}
        positions = np.flatnonzero(ended)
        if self._keep == "best":
            score = self._score(lanes[positions])
            if not np.isfinite(score).any():
                return {}
            best = positions[int(np.nanargmin(score))]
            if any(self._score(np.array([lane]))[0] <= np.nanmin(score) for lane in self._parameters):
                return {}
            self._parameters.clear()
            positions = np.array([best])
        W = read()
        return {int(position): W[position] for position in positions}

    def _score(self, lanes: Array) -> Array:
        return self._losses["final_validation_loss" if self._validated else "final_loss"][lanes]

    def end(self, lane: int, status: str, reason: str, steps: int, parameters: Array | None) -> None:
        """Note how a lane ended."""
        self._status[lane], self._reason[lane], self._steps[lane] = status, reason, steps
        if parameters is not None:
            self._parameters[int(lane)] = parameters

    def count(self, status: str) -> int:
        """The number of lanes with a status."""
        return int(np.sum(self._status == status))

    def parameters(self) -> dict[int, Array]:
        """The parameters (d + intercept,) that were kept, by lane."""
        return self._parameters

    def rows(self, ids: Sequence[Sequence[str]], batches: int) -> pd.DataFrame:
        """Return a row for each trial of each lane."""
        lanes = np.repeat(np.arange(len(ids)), [len(trials) for trials in ids])
        known = {"loss": self._measured, "validation_loss": self._validated}
        losses = {n: values[lanes] for n, values in self._losses.items() if known[n.partition("_")[2]]}
        missing = {name: None for name in self._losses if name not in losses}
        return pd.DataFrame(
            {
                "trial_id": [trial for trials in ids for trial in trials],
                "status": self._status[lanes],
                "reason": self._reason[lanes],
                "steps": self._steps[lanes],
                "epochs": self._steps[lanes] / batches,
                **losses,
                **missing,
            }
        )
