"""The best iterate of each lane: `record.parameters = "best_iterate"`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.rows.cohort import AnyCohort

Array = npt.NDArray[Any]
MOST_PARAMETERS_AT_ONCE = 1 << 21  # numbers that are read from tiles together: 16 MB


class BestIterates:
    """The reported iterates at the checkpoints that were the best ones so far: one of each lane, whatever is tried.

    Parameters
    ----------
    lanes, parameters : int
        No parameters: nothing is kept.
    """

    def __init__(self, lanes: int, parameters: int) -> None:
        self._kept = np.zeros((lanes, parameters))

    def of(self, lanes: Array) -> Array:
        """Return the best iterates (k, parameters) of some lanes."""
        return np.asarray(self._kept[lanes])

    def observe(self, cohort: AnyCohort, better: Array) -> None:
        """Take the iterates of the lanes (alive,) that are better than they were at all checkpoints before."""
        if not self._kept.shape[1]:
            return
        positions = np.flatnonzero(better)
        some = max(1, MOST_PARAMETERS_AT_ONCE // self._kept.shape[1])
        for first in range(0, len(positions), some):
            part = positions[first : first + some]
            self._kept[cohort.alive[part]] = cohort.parameters(part)

    def state(self) -> dict[str, Array]:
        """Return what is to be saved, of each lane."""
        return {"kept": self._kept}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state that was saved."""
        self._kept[:] = state["kept"]
