"""The lanes of a cohort as they stand: what steps change, and what evaluation, coasting and line searches read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastgd.engine.arrays import Lanes
from fastgd.engine.tiles import TileLayout

Array = npt.NDArray[Any]
# Arrays and whole numbers by name: with them alone a fresh cohort goes on with the same bits. The last axis of an array
# is that of the lanes that are alive, unless `SAME` stands in its name: that one is shared by all.
Captured: TypeAlias = dict[str, Array | int]
SAME = "same."


def selected(captured: Mapping[str, Any], lanes: Array) -> Captured:
    """Return what was captured of some lanes of a cohort, for a cohort of these lanes, in this order."""
    alive = np.asarray(captured["alive"])
    positions = {lane: position for position, lane in enumerate(alive.tolist())}
    still = np.array([lane in positions for lane in lanes.tolist()], bool)
    which = np.array([positions[lane] for lane in lanes[still].tolist()], np.int64)
    if np.array_equal(which, np.arange(len(alive))) and still.all():
        return {**captured, "alive": np.arange(len(alive))}  # no copies
    shared = {name for name, value in captured.items() if np.ndim(value) == 0 or SAME in name}
    found = {name: value if name in shared else np.asarray(value)[..., which] for name, value in captured.items()}
    return {**found, "alive": np.flatnonzero(still)}


@dataclass
class LaneState:
    """The lanes of a cohort.

    Attributes
    ----------
    layout : TileLayout
    arrays : Lanes
        What kernels work on.
    alive : ndarray of int
        The lanes that still run, as positions in the spec.
    places : ndarray of int
        Where each of them stands in the tiles.
    members : ndarray of int
        The lanes in the tiles: those that have ended stay there until a tile is free.
    t : int
        Steps taken.
    """

    layout: TileLayout
    arrays: Lanes
    alive: Array
    places: Array
    members: Array
    t: int = 0

    @property
    def tiles(self) -> int:
        """The number of tiles."""
        return len(self.arrays.state)

    def gather(self, rows: Array) -> Array:
        """Return (rows, alive) from an array (tiles, rows * L)."""
        return self.layout.gather(rows)[:, self.places]

    def parts(self, state: Array, first: int = 0) -> Array:
        """Return the parameters and each slot (1 + slots, count, alive) of a state (tiles, ...), from the first on."""
        layout = self.layout
        parts = range(first, state.shape[1] // (layout.parameters * layout.shape.lanes))
        out = np.empty((len(parts), layout.count, len(self.places)), state.dtype)
        for values, part in zip(out, parts, strict=True):  # one by one: no copy of all of them is made
            values[:] = layout.columns(layout.blocks(state, part))[:, self.places]
        return out

    def capture(self) -> Captured:
        """Return what the next steps depend on, wherever the lanes stand in tiles."""
        arrays = self.arrays
        return {
            "t": self.t,
            "alive": self.alive.copy(),
            "state": self.parts(arrays.state),
            "table": self.gather(arrays.table),
            "mean": self.gather(arrays.mean),
            **self.capture_hyper(),
        }

    def capture_hyper(self) -> Captured:
        """Return hyper-parameters, memory and first bad steps alone."""
        arrays = self.arrays
        return {
            "exact": self.gather(arrays.exact),
            "memory": self.gather(arrays.memory),
            "bad": arrays.bad.reshape(-1)[self.places],
        }

    def restore(self, captured: Mapping[str, Any]) -> None:
        """Take over what `capture` returned, in arrays that were made for these lanes."""
        layout, arrays = self.layout, self.arrays
        self.t = int(captured["t"])
        for part, columns in enumerate(captured["state"]):
            layout.put(layout.blocks(arrays.state, part), columns)
        self.restore_hyper(captured)
        for name in ("table", "mean"):
            getattr(arrays, name)[:] = layout.spread(captured[name], arrays.state.dtype)

    def restore_hyper(self, captured: Mapping[str, Any]) -> None:
        """Take over hyper-parameters, memory and first bad steps.

        The hyper-parameters are those of the last step, with its scheduled values: the reported iterate may depend on
        them.
        """
        layout, arrays = self.layout, self.arrays
        arrays.hyper[:] = layout.spread(captured["exact"], arrays.hyper.dtype)
        arrays.exact[:] = layout.spread(captured["exact"], np.float64)
        arrays.memory[:] = layout.spread(captured["memory"], np.float64)
        arrays.bad.reshape(-1)[: len(self.alive)] = captured["bad"]
