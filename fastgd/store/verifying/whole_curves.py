"""Whether the curves of trials are whole, told from their rows in the order in which they were written."""

import numpy as np
from numpy.typing import NDArray

Trials = NDArray[np.int64]


class CurveCheck:
    """Follows the curves of all trials, one block of rows after another.

    A curve is whole if it begins at step 0, its steps rise, and it goes to the trial's last step. Besides, rows that
    cannot be read must not lie between its rows: it is not known whether some of them belonged to it.

    Parameters
    ----------
    trials : int
        How many there are; they are named by their places, from 0.
    """

    def __init__(self, trials: int) -> None:
        self._first_step = np.full(trials, -1)
        self._last_step = np.full(trials, -1)
        # Blocks have numbers: the first and the last one that has rows of a trial.
        self._first_block = np.full(trials, np.iinfo(np.int64).max)
        self._last_block = np.full(trials, -1)
        self._block = 0
        self._unreadable: list[int] = []

    def skip(self) -> None:
        """Pass a block of rows, or all of a file, that cannot be read."""
        self._block += 1
        self._unreadable.append(self._block)

    def follow(self, trials: Trials, steps: NDArray[np.int64]) -> Trials:
        """Follow the curves through a block of rows; return the trials whose steps do not rise in it.

        Parameters
        ----------
        trials, steps : ndarray (rows,)
            The trial of each row, and its step.
        """
        self._block += 1
        order = np.argsort(trials, kind="stable")
        trials, steps = trials[order], steps[order]
        begins = np.diff(trials, prepend=-1) != 0
        earlier = np.where(begins, self._last_step[trials], np.roll(steps, 1))
        fresh = begins & (self._last_step[trials] < 0)
        self._first_step[trials[fresh]] = steps[fresh]
        self._last_step[trials] = steps
        self._first_block[trials] = np.minimum(self._first_block[trials], self._block)
        self._last_block[trials] = self._block
        return trials[steps <= earlier]

    def broken(self, last_steps: NDArray[np.int64], may_end_early: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which curves are not whole, for trials that ended at `last_steps`.

        What ended early before its first step may not have begun, and has no curve then.
        """
        not_begun = (self._last_step < 0) & (last_steps == 0) & may_end_early
        broken = ((self._first_step != 0) & ~not_begun) | ((self._last_step < last_steps) & ~may_end_early)
        for block in self._unreadable:
            broken |= (self._first_block < block) & (self._last_block > block)
        return np.asarray(broken)
