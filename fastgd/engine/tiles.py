"""How lanes lie in memory: tile by tile, or one lane after another."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.vectors import aligned
from fastgd.engine.arrays import CHUNK, MOST_ROWS, Scratch
from fastgd.engine.shapes import Kernel, single_shape, sparse_shape, tile_shape

Array = npt.NDArray[Any]


class TileLayout:
    """How lanes lie in tiles: (rows, G) <-> (tiles, rows * L); what fills the last tile repeats the last lane."""

    def __init__(self, kernel: Kernel, itemsize: int, d: int, intercept: bool) -> None:
        self.single = kernel.lanes == 1
        shape = sparse_shape if kernel.sparse else tile_shape
        self.shape = single_shape(itemsize) if self.single else shape(kernel.lanes, itemsize)
        self.kernel, self.d, self.intercept = kernel, d, int(intercept)
        self.padded = -(-d // self.shape.width) * self.shape.width if self.single else d

    @property
    def lanes(self) -> int:
        """Lanes of a tile."""
        return self.kernel.lanes

    @property
    def parameters(self) -> int:
        """Rows of L lanes that hold the parameters (of `width` features, where there is one lane)."""
        return self.padded // self.shape.width + self.intercept if self.single else self.d + self.intercept

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
        """Return the parameters (d + intercept, L) of each tile; of each lane, where there is one to a tile."""
        blocks = self.blocks(state, 0)
        return [np.ascontiguousarray(self.columns(block[None])) for block in blocks] if self.single else list(blocks)

    def columns(self, block: Array) -> Array:
        """Return parameters (d + intercept, lanes) from (tiles, parameters, L)."""
        if not self.single:
            return block.swapaxes(0, 1).reshape(self.parameters, -1)
        flat = block.reshape(len(block), -1)
        if not self.intercept:
            return flat[:, : self.d].T
        return np.concatenate([flat[:, : self.d], flat[:, self.padded : self.padded + 1]], axis=1).T

    def put(self, block: Array, columns: Array) -> None:
        """Write parameters (d + intercept, lanes) into (tiles, parameters, L)."""
        if self.single:
            flat = block.reshape(len(block), -1)
            flat[:, : self.d] = columns[: self.d].T
            if self.intercept:
                flat[:, self.padded] = columns[self.d]
        else:
            for tile, own in enumerate(block):
                some = columns[:, tile * self.lanes : (tile + 1) * self.lanes]
                own[:, : some.shape[1]] = some
                own[:, some.shape[1] :] = columns[:, -1:]

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
    rows: int, lanes: int, gradient: int, quantities: int, sums: int, dtype: Any, single: bool, *, total: bool = False
) -> Scratch:
    """Return a thread's working memory; `gradient` in rows of L lanes; `total`: whether batches have many chunks."""
    G, c = aligned((max(1, gradient) * lanes,), dtype), aligned((max(1, quantities) * lanes,), dtype)
    return Scratch(
        np.zeros(CHUNK + MOST_ROWS, np.int64),
        aligned((CHUNK + 64,), dtype),
        aligned((rows if single else (rows + MOST_ROWS) * lanes,), dtype),
        G,
        c,
        aligned((lanes,), dtype),
        G if is_double(dtype) else aligned((len(G) if total else 0,), np.float64),
        in_double(c),
        aligned((lanes,), np.float64),
        aligned((sums * lanes,), np.float64),
    )


def is_double(dtype: Any) -> bool:
    """Whether a type is float64."""
    return bool(np.dtype(dtype) == np.float64)


def in_double(array: Array) -> Array:
    """Return an array of this shape in float64; the array itself, where it is that."""
    return array if is_double(array.dtype) else aligned(array.shape, np.float64)
