"""Exact sums over all rows at a checkpoint: block by block, in float64, in an order that no thread count changes."""

from fastgd.core.compile import jit
from fastgd.core.static import call_at
from fastgd.engine.linear import single_steps
from fastgd.engine.linear.tile_steps import gather, margins

BLOCK = 4096  # rows of a partial sum
CHUNK = 64  # rows whose margins stay in the first-level cache: whole register blocks


@jit
def evaluate_blocks(shape, data, W, measures, totals, scratch, span, intercept):
    """Write the sums of some measures over blocks of rows to totals (blocks, tiles, measures, L) float64.

    span: (worker, workers, first block); measures: the kernels that sum them, by address.
    """
    worker, workers, first = span
    blocks, tiles, n = totals.shape[0], totals.shape[1], data.y.shape[0]
    for item in range(worker, blocks * tiles, workers):
        block, tile = item // tiles, item % tiles
        start = (first + block) * BLOCK
        stop = min(start + BLOCK, n)
        totals[block, tile] = 0
        for low in range(start, stop, CHUNK):
            count = min(CHUNK, stop - low)
            gather(data, low, count, scratch)
            margins(shape, data, count, W[tile], intercept, scratch, (low + count, stop))
            for k in range(measures.shape[0]):
                call_at(measures[k], shape, (scratch.Z, scratch.y, count, totals[block, tile, k]))


@jit
def evaluate_single_blocks(shape, data, W, measures, totals, scratch, span, intercept):
    """The same for lanes one by one, W (lanes, padded parameters), with totals (blocks, lanes, measures, 1)."""
    worker, workers, first = span
    blocks, lanes, n = totals.shape[0], totals.shape[1], data.y.shape[0]
    for item in range(worker, blocks * lanes, workers):
        block, lane = item // lanes, item % lanes
        start = (first + block) * BLOCK
        stop = min(start + BLOCK, n)
        bias = single_steps.bias_of(shape, W[lane], data.d, intercept)
        totals[block, lane] = 0
        for low in range(start, stop, CHUNK):
            count = min(CHUNK, stop - low)
            single_steps.margins(shape, data, low, count, W[lane], bias, scratch, low + count)
            for k in range(measures.shape[0]):
                call_at(measures[k], shape, (scratch.Z, scratch.y, count, totals[block, lane, k]))
