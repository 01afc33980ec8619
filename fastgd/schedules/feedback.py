"""Schedules with feedback: judged at epoch ends on a lane's own validation loss.

`begin(lanes)` gives the state of so many lanes; `judge(state, before, loss)` takes each lane's validation losses at the
end of the last epoch and of this one, and returns the state of the next epoch. The state's `value` is the schedule's
value. A loss that is NaN counts neither as better nor as risen.
"""

# ruff: noqa: D102, ARG002 (each class's docstring is its rule; every schedule takes the same arguments)

from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from fastgd.common.numbers import number
from fastgd.schedules.record import Index, NonNegative, Positive, schedule

Lanes = NDArray[np.float64]
Share = Annotated[float, Gt(0), Lt(1)]


class PlateauState(NamedTuple):
    """The value, the best loss, bad epochs since, and epochs of cooldown left, each (lanes,)."""

    value: Lanes
    best: Lanes
    bad: Lanes
    cooling: Lanes


@schedule("plateau", witness="torch.optim.lr_scheduler.ReduceLROnPlateau", feedback=True, example={"patience": 5.0})
class Plateau(NamedTuple):
    """Plateau: multiplied by `factor` when more than `patience` epochs in a row brought no new best validation loss.

    An epoch is better when its loss is below `best - threshold |best|`, or `best - threshold` with `threshold_mode =
    "abs"`. For `cooldown` epochs after a drop nothing is counted. The value never falls below `min`, a fraction of the
    rate as `start` is. The defaults are PyTorch's. Its `eps`, which suppresses drops of less than 1e-8, is left out.
    Its margin `best (1 - threshold)` is above the best loss where that is negative, so that it never acts there; this
    one does. Use it where the best time for a drop is not known: each trial finds its own.
    """

    factor: Share = 0.1
    patience: NonNegative = 10.0
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: NonNegative = 0.0
    min: NonNegative = 0.0
    start: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return np.full_like(i, self.start)

    def begin(self, lanes: int) -> PlateauState:
        return PlateauState(np.full(lanes, self.start), np.full(lanes, np.inf), np.zeros(lanes), np.zeros(lanes))

    def judge(self, state: PlateauState, before: Lanes, loss: Lanes) -> PlateauState:
        better = loss < self._bar(state.best)
        cooling = state.cooling > 0
        bad = np.where(better | cooling, 0.0, state.bad + 1)
        drop = bad > self.patience
        return PlateauState(
            np.where(drop, np.minimum(state.value, np.maximum(state.value * self.factor, self.min)), state.value),
            np.where(better, loss, state.best),
            np.where(drop, 0.0, bad),
            np.where(drop, self.cooldown, state.cooling - cooling),
        )

    def unreached(self, count: int) -> str:
        first = self.patience + 2  # the first epoch is the best one so far, and bad ones follow
        drop = f"its first drop, at {number(first)} if the first epoch stays the best,"
        return f"{drop} never comes" if count <= first else ""

    def _bar(self, best: Lanes) -> Lanes:
        """Return the bar below which a loss is a new best; infinity where there is none yet."""
        known = np.where(best < np.inf, best, 0.0)
        bar = known * (1 - self.threshold * np.sign(known)) if self.threshold_mode == "rel" else known - self.threshold
        return np.asarray(np.where(best < np.inf, bar, np.inf))


class HalveState(NamedTuple):
    """The value of each lane (lanes,)."""

    value: Lanes


@schedule("halve_on_rise", witness="CS7015 lecture 5", feedback=True)
class HalveOnRise(NamedTuple):
    """Halved on a rise: multiplied by `factor` when the validation loss rose over the last epoch.

    The first epoch is compared with the start. `factor = 0.5` is the lecture's rule. Stochastic losses rise by chance
    now and then, so rates can only fall too early: use it with large batches, or `plateau` with a little patience.
    """

    factor: Share = 0.5
    start: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return np.full_like(i, self.start)

    def begin(self, lanes: int) -> HalveState:
        return HalveState(np.full(lanes, self.start))

    def judge(self, state: HalveState, before: Lanes, loss: Lanes) -> HalveState:
        return HalveState(np.where(loss > before, state.value * self.factor, state.value))
