"""The metric `layer_update_ratio`: the last step before a checkpoint, relative to each layer's weights."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.rows.cohort import AnyCohort, Cohort
from fastgd.plan.units.recording import UPDATE_COLUMNS
from fastgd.runs.clock import Clock

Array = npt.NDArray[Any]


class LayerUpdates:
    """The sizes of the last step that was watched.

    They are saved with the rest of a cohort: its state may be saved between that step and the checkpoint.

    Parameters
    ----------
    lanes, layers : int
        No layers: nothing is watched.
    """

    def __init__(self, lanes: int, layers: int) -> None:
        self._ratios = np.full((lanes, layers), np.nan)
        self._step = np.zeros(lanes, np.int64)  # the one that was watched; 0: none yet

    def state(self) -> dict[str, Array]:
        """Return what is to be saved, of each lane."""
        return {"ratios": self._ratios, "step": self._step}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state that was saved."""
        self._ratios[:], self._step[:] = state["ratios"], state["step"]

    def advance(self, cohort: AnyCohort, step: int, poll: Callable[[], None], clock: Clock) -> None:
        """Go on to a step with a cohort, and measure the last one on the way, before anything may end or save it."""
        if not (self._ratios.size and isinstance(cohort, Cohort) and cohort.t < step):
            cohort.advance(step - cohort.t, poll)
            return
        cohort.advance(step - 1 - cohort.t, poll)
        with clock.stage("evaluate"):
            before = cohort.weights()

        def measured() -> None:
            if cohort.t == step:
                with clock.stage("evaluate"):
                    self._ratios[cohort.alive] = cohort.update_ratios(before).T
                self._step[cohort.alive] = step
            poll()

        cohort.advance(1, measured)

    def at(self, cohort: AnyCohort) -> dict[str, Array]:
        """Return the columns of a checkpoint, each (alive,): NaN where its last step was not watched."""
        alive = cohort.alive
        ratios = np.where((self._step[alive] == cohort.t)[:, None], self._ratios[alive], np.nan)
        return dict(zip(UPDATE_COLUMNS, ratios.T, strict=False))
