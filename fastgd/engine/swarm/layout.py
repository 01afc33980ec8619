"""How the lanes of a swarm lie in groups."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class GroupLayout:
    """The place of each lane in groups of `width` lanes; a place that is left over holds a copy of the lane before it.

    Parameters
    ----------
    which : ndarray (lanes,) int
        Each lane's configuration, in ascending order.
    width : int
        Lanes of a group.
    own_hyper : bool
        Whether each lane has hyper-parameters of its own. Else a group has lanes of one configuration alone, if every
        configuration has enough of them to fill a group.

    Attributes
    ----------
    by_configuration : bool
        Whether the lanes of a group share their hyper-parameters.
    groups : int
    places : ndarray (lanes,) int
        Of each lane, counted through all groups.
    lane_at : ndarray (groups * width,) int
        The lane at each place.
    firsts : ndarray (groups + 1,) int
        The lane that is each group's first, and the number of all lanes.
    """

    def __init__(self, which: Array, width: int, *, own_hyper: bool) -> None:
        lanes, counts = len(which), np.bincount(which)
        self.width = width
        self.by_configuration = bool(counts.min() >= width) and not own_hyper
        if self.by_configuration:
            begins = np.concatenate([[0], np.cumsum(-(-counts // width) * width)])
            within = np.arange(lanes) - np.repeat(np.cumsum(counts) - counts, counts)
            self.places = begins[which] + within
            self.groups = int(begins[-1]) // width
        else:
            self.places, self.groups = np.arange(lanes), -(-lanes // width)
        self.lane_at = np.searchsorted(self.places, np.arange(self.groups * width), side="right") - 1
        self.firsts = np.append(self.lane_at[::width], lanes)

    def spread(self, rows: Array) -> Array:
        """Lay rows of lanes (n, lanes) out in groups (groups, n * width)."""
        return self.spread_filled(rows[:, self.lane_at])

    def spread_filled(self, rows: Array) -> Array:
        """Lay out rows that have a number for each place already: (n, groups * width)."""
        return rows.reshape(len(rows), self.groups, self.width).swapaxes(0, 1).reshape(self.groups, -1)

    def gather(self, blocks: Array) -> Array:
        """Return the rows (n, lanes) from what `spread` returns."""
        return gather(blocks, self.places, self.width)


def gather(blocks: Array, places: Array, width: int) -> Array:
    """Return rows (n, lanes) from blocks (groups, n * width), for lanes at some places."""
    groups, count = len(blocks), blocks.shape[1] // width
    rows = blocks.reshape(groups, count, width).swapaxes(0, 1).reshape(count, groups * width)
    return np.asarray(rows[:, places])
