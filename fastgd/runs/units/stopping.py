"""When a lane ends before its budget: judged at checkpoints, on its training objective or its validation loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.study.config import Stop

Array = npt.NDArray[Any]
# How a lane ends that stands still, by what is watched.
STOOD_STILL = {"loss": "stalled", "validation_loss": "early_stopped"}


@dataclass
class Stopping:
    """The memory of the stopping rules, an element a lane.

    Attributes
    ----------
    first : ndarray (lanes,)
        The objective at the start.
    best : ndarray (lanes,)
        The lowest value of what is watched that counted as an improvement; with an absolute tolerance the lowest.
    since : ndarray (lanes,)
        The epoch of that improvement.
    guessing : bool
        Whether the lanes look at points: these end early at their target alone.
    scale : float
        The loss's own scale (see `fastgd.plan.units.workload.loss_scale`). A rise is judged relative to the objective
        at the start, or to this where a start is so good that its objective is no measure.
    """

    stop: Stop
    first: Array
    best: Array
    since: Array
    guessing: bool = False
    scale: float = 1.0

    @classmethod
    def start(
        cls, stop: Stop, loss: Array, guessing: bool = False, scale: float = 1.0, watched: Array | None = None
    ) -> "Stopping":
        """Begin with the objective at the start, and what is watched there: by default the objective."""
        best = loss if watched is None else watched
        return cls(stop, loss.copy(), best.copy(), np.zeros(len(loss)), guessing, scale)

    def state(self) -> dict[str, Array]:
        """Return what is to be saved, each (lanes,)."""
        return {"first": self.first, "best": self.best, "since": self.since}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state that was saved."""
        for name, values in self.state().items():
            values[:] = state[name]

    def judge(self, lanes: Array, loss: Array, epoch: float, watched: Array | None = None) -> tuple[Array, list[str]]:
        """Return each lane's status ("" goes on) and the reason in words.

        Parameters
        ----------
        lanes : ndarray of int
            Which lanes these are.
        loss : ndarray of float64
            Their objective F at this checkpoint.
        epoch : float
            Epochs so far.
        watched : ndarray of float64, optional
            What has to improve; by default the objective.
        """
        first, best, watched = self.first[lanes], self.best[lanes], loss if watched is None else watched
        with np.errstate(invalid="ignore"):
            better = watched < best - self.stop.tolerance * (np.abs(best) if self.stop.relative else 1.0)
        better |= np.isfinite(watched) & ~np.isfinite(best)  # a validation loss may be infinite at the start
        lower = better if self.stop.relative else better | (watched < best)
        self.best[lanes] = np.where(lower, watched, best)
        self.since[lanes] = np.where(better, epoch, self.since[lanes])

        status = np.full(len(lanes), "", object)
        if self.stop.patience is not None:
            status[epoch - self.since[lanes] >= self.stop.patience] = STOOD_STILL[self.stop.watch]
        if self.stop.target is not None:
            status[loss <= self.stop.target] = "target"
        with np.errstate(invalid="ignore", over="ignore"):
            bound = self.stop.diverge * np.maximum(self.scale, np.abs(first))
            risen = (loss - first > bound) & (bound > 0)  # from 0 without a scale, nothing says what is much
        status[risen | ~np.isfinite(loss)] = "diverged"
        if self.guessing:
            status[status != "target"] = ""
        return status, [self._reason(s, f, v) for s, f, v in zip(status, first, loss, strict=True)]

    def _reason(self, status: str, first: float, loss: float) -> str:
        match status:
            case "diverged" if not np.isfinite(loss):
                return f"the objective is {loss}"
            case "diverged":
                return f"the objective rose from {first:.4g} to {loss:.4g}"
            case "target":
                return f"the objective reached {loss:.6g}, the target is {self.stop.target:.6g}"
            case "stalled" | "early_stopped":
                of = " of the validation loss" if status == "early_stopped" else ""
                kind = "relative " if self.stop.relative else ""
                return f"no {kind}improvement{of} of {self.stop.tolerance:g} in {self.stop.patience} epochs"
        return ""
