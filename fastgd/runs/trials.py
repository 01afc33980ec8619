"""What becomes of each lane of a cohort while it runs: the columns of its trials that the plan cannot know."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Finalists:
    """The final parameters of trials that may turn out to be the best, until the ranking tells which ones are.

    Of each problem, optimizer and seed, a few with the lowest final loss: what is missing in the end is run again.
    """

    MOST_KEPT, MOST_BYTES = 8, 32 << 20  # of one problem, optimizer and seed

    def __init__(self) -> None:
        self._kept: dict[Hashable, list[tuple[float, Sequence[str], Array]]] = {}

    def offer(self, key: Hashable, scores: Array, ids: Sequence[Sequence[str]], read: Callable[[Array], Array]) -> None:
        """Keep the parameters of those trials (k,) whose scores are among the lowest so far.

        Parameters
        ----------
        key : hashable
            The problem, the optimizer and the seeds.
        scores : ndarray (k,)
        ids : sequence of sequence of str
            The trials' ids under each seed.
        read : callable
            `read(places)` returns the parameters (places, d) of some of them.
        """
        own = self._kept.get(key, [])
        lowest = np.argsort(scores, kind="stable")[: self.MOST_KEPT]
        if len(own) >= self.MOST_KEPT:
            lowest = lowest[scores[lowest] < own[-1][0]]
        if not len(lowest):
            return
        found = [(float(scores[at]), ids[at], w.copy()) for at, w in zip(lowest, read(lowest), strict=True)]
        room = self._room(found[0][2].size)
        self._kept[key] = sorted([*own, *found], key=lambda kept: kept[0])[:room]

    def _room(self, d: int) -> int:
        """How many of one problem, optimizer and seed are kept."""
        return max(1, min(self.MOST_KEPT, self.MOST_BYTES // (8 * d)))

    def offers(self) -> list[tuple[Hashable, Array, list[Sequence[str]], Array]]:
        """All that is kept, as it is offered: the key, scores (k,), ids and parameters (k, d)."""
        return [
            (
                key,
                np.array([score for score, _, _ in own]),
                [ids for _, ids, _ in own],
                np.stack([w for _, _, w in own]),
            )
            for key, own in self._kept.items()
        ]

    def parameters(self) -> dict[str, Array]:
        """The parameters (d,) that are kept, by trial."""
        return {trial: own for kept in self._kept.values() for _, ids, own in kept for trial in ids}


class TrialRecords:
    """Status, steps, final and best losses of a cohort's lanes, and when they were at their best."""

    def __init__(self, lanes: int) -> None:
        self._status = np.full(lanes, "", object)
        self._reason = np.full(lanes, "", object)
        self._steps = np.zeros(lanes, np.int64)
        self._best_step = np.full(lanes, -1)  # of the checkpoint with the lowest loss that is ranked by; -1: none yet
        self._losses = {
            f"{when}_{name}": np.full(lanes, np.nan)
            for when in ("final", "best")
            for name in ("loss", "validation_loss")
        }
        self._measured = self._validated = False

    def state(self) -> dict[str, Array]:
        """Return what is to be saved, each (lanes,)."""
        texts = {"status": self._status.astype(str), "reason": self._reason.astype(str)}
        known = np.full((2, len(self._steps)), [[self._measured], [self._validated]])
        return {
            **texts,
            "steps": self._steps,
            "best_step": self._best_step,
            "measured": known[0],
            "validated": known[1],
            **self._losses,
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state that was saved."""
        self._status[:], self._reason[:], self._steps[:] = state["status"], state["reason"], state["steps"]
        self._best_step[:] = state["best_step"]
        self._measured, self._validated = bool(state["measured"].any()), bool(state["validated"].any())
        for name, values in self._losses.items():
            values[:] = state[name]

    def observe(self, lanes: Array, step: int, metrics: dict[str, Array]) -> Array:
        """Take in a checkpoint's losses; return which lanes were never better: by the loss that `scores` are of."""
        self._measured, self._validated = True, "validation_loss" in metrics
        ranked = "validation_loss" if self._validated else "loss"
        before, now = self._losses[f"best_{ranked}"][lanes], metrics[ranked]
        better = (self._best_step[lanes] < 0) | (now < before) | (np.isnan(before) & ~np.isnan(now))
        self._best_step[lanes[better]] = step
        for name in ("loss", "validation_loss"):
            if name in metrics:
                self._losses[f"final_{name}"][lanes] = metrics[name]
                best = self._losses[f"best_{name}"]
                best[lanes] = np.fmin(best[lanes], metrics[name])
        return np.asarray(better)

    def scores(self, lanes: Array) -> Array:
        """Return the final validation losses, or losses where nothing is held out, of some lanes."""
        return self._losses["final_validation_loss" if self._validated else "final_loss"][lanes]

    def end(self, lane: int, status: str, reason: str, steps: int) -> None:
        """Note how a lane ended."""
        self._status[lane], self._reason[lane], self._steps[lane] = status, reason, steps

    @property
    def ended(self) -> Array:
        """Which lanes have ended (lanes,) bool."""
        return np.asarray(self._status != "")

    def count(self, status: str) -> int:
        """The number of lanes with a status."""
        return int(np.sum(self._status == status))

    def columns(self, counts: Sequence[int], batches: int) -> dict[str, Any]:
        """Return the columns of the trials, of which each lane has so many; None and what is masked: not measured."""
        lanes = np.repeat(np.arange(len(counts)), counts)
        known = {"loss": self._measured, "validation_loss": self._validated}
        losses = {n: values[lanes] for n, values in self._losses.items() if known[n.partition("_")[2]]}
        missing = {name: None for name in self._losses if name not in losses}
        return {
            "status": self._status[lanes],
            "reason": self._reason[lanes],
            "steps": self._steps[lanes],
            "epochs": self._steps[lanes] / batches,
            "best_step": np.ma.masked_less(self._best_step[lanes], 0),
            **losses,
            **missing,
        }
