"""How lanes lie in memory: tile by tile, or one lane after another."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgd.core.vectors import aligned
from fastgd.engine.arrays import CHUNK_ROWS, MOST_BLOCK_ROWS, Scratch
from fastgd.engine.shapes import Kernel, network_shape, single_shape, sparse_shape, tile_shape
from fastgd.optimizers.rule import Counts

Array = npt.NDArray[Any]
PARAMETERS_AT_ONCE = 512  # that are transposed at a time: all lanes' lines stay in the cache meanwhile


class Group(NamedTuple):
    """A group of a model's parameters; what is not penalised has neither l2 nor decay. Layers count from 1."""

    name: str
    shape: tuple[int, ...]
    penalised: bool
    layer: int = 1

    @property
    def size(self) -> int:
        """The number of parameters."""
        return prod(self.shape)


def shape_of(kernel: Kernel, itemsize: int) -> Any:
    """Return the shape by which a kernel's drivers are specialised."""
    if kernel.network:
        return network_shape(kernel.lanes, itemsize)
    if kernel.lanes == 1:
        return single_shape(itemsize)
    return (sparse_shape if kernel.sparse else tile_shape)(kernel.lanes, itemsize)


class TileLayout:
    """How lanes lie in tiles: (rows, G) <-> (tiles, rows * L); what fills the last tile repeats the last lane.

    Parameters
    ----------
    kernel : Kernel
    itemsize : int
    groups : sequence of Group
        They stand one after another; of a single lane, each begins with a vector of its own.

    Attributes
    ----------
    parameters : int
        Rows of L lanes that hold the parameters (of `width` parameters, where there is one lane).
    table : ndarray (groups, 5) int64
        What `Lanes.groups` is.
    """

    def __init__(self, kernel: Kernel, itemsize: int, groups: Sequence[Group]) -> None:
        self.single, self.shape = kernel.lanes == 1, shape_of(kernel, itemsize)
        self.kernel, self.groups = kernel, tuple(groups)
        width = self.shape.width if self.single else 1
        ends = np.cumsum([-(-(group.size + self._over(group, width)) // width) for group in groups])
        self.parameters, firsts = int(ends[-1]), (0, *ends[:-1])
        self.table = np.array(
            [
                (first, end - first, group.size, not group.penalised, group.layer)
                for group, first, end in zip(groups, firsts, ends, strict=True)
            ],
            np.int64,
        )
        begins = np.cumsum([0, *(group.size for group in groups)])
        self._slices = [slice(begin, begin + group.size) for group, begin in zip(groups, begins[:-1], strict=True)]
        self._padded = [
            slice(first * width, first * width + part.size) for part, first in zip(groups, firsts, strict=True)
        ]
        self.count = int(begins[-1])

    @staticmethod
    def _over(group: Group, width: int) -> int:
        """What vectors over a matrix's last row read of numbers behind it."""
        return -group.shape[-1] % width if len(group.shape) == 2 else 0

    @property
    def lanes(self) -> int:
        """Lanes of a tile."""
        return self.kernel.lanes

    def spread(self, values: Array, dtype: Any) -> Array:
        """Lay values (rows, G) out for the kernel: each lane's value in its place, or repeated through a vector."""
        rows, count = values.shape
        tiles = self.kernel.tiles(count)
        out = aligned((tiles, rows * self.shape.lanes), dtype)
        view = out.reshape(tiles, rows, self.shape.lanes)
        if self.single:
            view[:] = values.T[:, :, None]
        else:
            full = np.pad(values, ((0, 0), (0, tiles * self.lanes - count)), mode="edge")
            view[:] = full.reshape(rows, tiles, self.lanes).swapaxes(0, 1)
        return out

    def gather(self, values: Array) -> Array:
        """Return (rows, lanes) from what `spread` returns."""
        rows = values.shape[1] // self.shape.lanes
        view = values.reshape(len(values), rows, self.shape.lanes).swapaxes(0, 1)
        return view[:, :, 0] if self.single else view.reshape(rows, len(values) * self.lanes)

    def blocks(self, state: Array, row: int) -> Array:
        """View one part of the state (0: the parameters) as (tiles, parameters, L)."""
        size = self.parameters * self.shape.lanes
        return state[:, row * size : (row + 1) * size].reshape(len(state), self.parameters, self.shape.lanes)

    def tiles(self, state: Array) -> list[Array]:
        """Return the parameters (count, L) of each tile; of each lane, where there is one to a tile."""
        blocks = self.blocks(state, 0)
        return [np.ascontiguousarray(self.columns(block[None])) for block in blocks] if self.single else list(blocks)

    def columns(self, block: Array) -> Array:
        """Return parameters (count, lanes) from (tiles, parameters, L)."""
        if not self.single:
            return block.swapaxes(0, 1).reshape(self.parameters, -1)
        flat = block.reshape(len(block), -1)
        return np.concatenate([flat[:, part] for part in self._padded], axis=1).T

    def columns_at(self, state: Array, places: Array) -> Array:
        """Return the parameters (places, count) float64 of the lanes at some places."""
        out = np.empty((len(places), self.count))
        tiles, columns = np.divmod(places, self.lanes)
        for tile in np.unique(tiles):  # one by one: no copy of all of them is made
            own = np.flatnonzero(tiles == tile)
            found = self.tiles(state[tile : tile + 1])[0]
            for first in range(0, self.count, PARAMETERS_AT_ONCE):
                some = slice(first, first + PARAMETERS_AT_ONCE)
                out[own, some] = found[some, columns[own]].T
        return out

    def put(self, block: Array, columns: Array) -> None:
        """Write parameters (count, lanes) into (tiles, parameters, L)."""
        if self.single:
            flat = block.reshape(len(block), -1)
            for part, padded in zip(self._slices, self._padded, strict=True):
                flat[:, padded] = columns[part].T
        else:
            for tile, own in enumerate(block):
                some = columns[:, tile * self.lanes : (tile + 1) * self.lanes]
                own[:, : some.shape[1]] = some
                own[:, some.shape[1] :] = columns[:, -1:]

    def slices(self, penalised: bool) -> list[slice]:
        """Return where the groups that are penalised, or those that are not, stand among `count` parameters."""
        return [part for group, part in zip(self.groups, self._slices, strict=True) if group.penalised == penalised]

    def layers(self) -> list[slice]:
        """Return where the groups of each layer stand among `count` parameters."""
        found: dict[int, slice] = {}
        for group, part in zip(self.groups, self._slices, strict=True):
            found[group.layer] = slice(found.get(group.layer, part).start, part.stop)
        return list(found.values())

    def pack(self, values: Array, places: Array) -> Array:
        """Move the lanes at ascending places of (tiles, rows * L) to the front, in place, and return their tiles.

        A copy would make the memory's peak twice the state where trials diverge.
        """
        tiles, L = self.kernel.tiles(len(places)), self.lanes
        if not values.size:
            return values[:tiles]
        view = values.reshape(len(values), -1, self.shape.lanes)
        for tile in range(tiles):
            own = places[tile * L : (tile + 1) * L]
            if self.single:
                view[tile] = view[own[0]]
            else:
                moved = view[own // L, :, own % L].T
                view[tile, :, : len(own)], view[tile, :, len(own) :] = moved, moved[:, -1:]
        return values[:tiles]


def make_scratch(
    rows: int,
    lanes: int,
    gradient: int,
    dtype: Any,
    counts: Counts | None = None,
    *,
    single: bool = False,
    total: bool = False,
    groups: int = 1,
    targets: int = 0,
) -> Scratch:
    """Return a worker's memory for the margins of some rows at a time.

    `gradient`: rows of L lanes; `counts`: the rule's numbers of quantities and sums; `single`: whether margins are
    those of one lane; `total`: whether batches have many chunks; `groups`: those with quantities of their own;
    `targets`: so many are looked up together, where these are more than rows.
    """
    quantities, sums = (max(counts.quantities), max(counts.sums, default=0)) if counts else (0, 0)
    G, c = aligned((max(1, gradient) * lanes,), dtype), aligned((groups * max(1, quantities) * lanes,), dtype)
    return Scratch(
        np.zeros(CHUNK_ROWS + MOST_BLOCK_ROWS, np.int64),
        aligned((max(CHUNK_ROWS, targets) + 64,), dtype),
        aligned((rows if single else (rows + MOST_BLOCK_ROWS) * lanes,), dtype),
        G,
        c,
        aligned((lanes,), dtype),
        aligned((lanes,), dtype),
        G if is_double(dtype) else aligned((len(G) if total else 0,), np.float64),
        in_double(c),
        aligned((lanes,), np.float64),
        aligned((2 * sums * lanes,), np.float64),
    )


def is_double(dtype: Any) -> bool:
    """Whether a type is float64."""
    return bool(np.dtype(dtype) == np.float64)


def in_double(array: Array) -> Array:
    """Return an array of this shape in float64; the array itself, where it is that."""
    return array if is_double(array.dtype) else aligned(array.shape, np.float64)
