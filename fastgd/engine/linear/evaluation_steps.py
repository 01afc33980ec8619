"""Exact sums over all rows at a checkpoint: block by block, in float64, in an order that no thread count changes."""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.engine.arrays import PARTIAL_SUM_ROWS, RowRange
from fastgd.engine.linear import single_steps
from fastgd.engine.linear.tile_steps import gather, margins

CACHED_ROWS = 64  # rows whose margins stay in the first-level cache: whole register blocks


@jit
def evaluate_blocks(shape, data, W, measures, totals, scratch, span):
    """Write the sums of some measures over blocks of rows to totals (blocks, tiles, measures, L) float64.

    measures: the kernels that sum them, by address. The worker's blocks are those of a `BlockSpan`.
    """
    worker, workers, first = span
    blocks, tiles, n = totals.shape[0], totals.shape[1], data.y.shape[0]
    for item in range(worker, blocks * tiles, workers):
        block, tile = item // tiles, item % tiles
        start = (first + block) * PARTIAL_SUM_ROWS
        stop = min(start + PARTIAL_SUM_ROWS, n)
        totals[block, tile] = 0
        for low in range(start, stop, CACHED_ROWS):
            count = min(CACHED_ROWS, stop - low)
            gather(data, low, count, scratch)
            margins(shape, data, count, W[tile], scratch, RowRange(low + count, stop))
            for k in range(measures.shape[0]):
                call_at(measures[k], shape, scratch.Z, scratch.y, count, totals[block, tile, k])


@jit
def evaluate_single_blocks(shape, data, W, measures, totals, scratch, span):
    """The same for lanes one by one, W (lanes, padded parameters), with totals (blocks, lanes, measures, 1)."""
    worker, workers, first = span
    blocks, lanes, n = totals.shape[0], totals.shape[1], data.y.shape[0]
    for item in range(worker, blocks * lanes, workers):
        block, lane = item // lanes, item % lanes
        start = (first + block) * PARTIAL_SUM_ROWS
        stop = min(start + PARTIAL_SUM_ROWS, n)
        bias = single_steps.bias_of(shape, data, W[lane])
        totals[block, lane] = 0
        for low in range(start, stop, CACHED_ROWS):
            count = min(CACHED_ROWS, stop - low)
            single_steps.margins(shape, data, low, count, W[lane], bias, scratch, RowRange(low + count, stop))
            for k in range(measures.shape[0]):
                call_at(measures[k], shape, scratch.Z, scratch.y, count, totals[block, lane, k])
