"""Exact sums over all rows at a checkpoint: block by block, in float64, in an order that no thread count changes."""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.engine.arrays import PARTIAL_SUM_ROWS, RowRange
from fastgd.engine.linear.single import single_steps
from fastgd.engine.linear.tile_steps import gather, margins

CACHED_ROWS = 64  # rows whose margins stay in the first-level cache: whole register blocks
FEWEST_ITEMS = 4  # that a worker gets at the least, if there are tiles enough


@jit(inline="always")
def shares(totals, workers):
    """Return in how many shares the tiles of a block are cut: in one, where there are blocks enough for all workers."""
    blocks, tiles = totals.shape[0], totals.shape[1]
    return min(tiles, max(1, FEWEST_ITEMS * workers // max(1, blocks)))


@jit
def evaluate_blocks(shape, data, W, measures, totals, scratch, span):
    """Write the sums of some measures over blocks of rows to totals (blocks, tiles, measures, L) float64.

    measures: the kernels that sum them, by address. The worker's blocks are those of a `BlockSpan`. Some rows at a time
    pass all tiles while they are in the cache.
    """
    worker, workers, first = span
    blocks, tiles, n, cut = totals.shape[0], totals.shape[1], data.order.shape[0], shares(totals, workers)
    for item in range(worker, blocks * cut, workers):
        block, share = item // cut, item % cut
        start = (first + block) * PARTIAL_SUM_ROWS
        stop = min(start + PARTIAL_SUM_ROWS, n)
        low_tile, high_tile = share * tiles // cut, (share + 1) * tiles // cut
        totals[block, low_tile:high_tile] = 0
        for low in range(start, stop, CACHED_ROWS):
            count = min(CACHED_ROWS, stop - low)
            gather(data, low, count, scratch)
            for tile in range(low_tile, high_tile):
                ahead = low + count if tile == low_tile else stop
                margins(shape, data, count, W[tile], scratch, RowRange(ahead, stop))
                for k in range(measures.shape[0]):
                    call_at(measures[k], shape, scratch.Z, scratch.y, count, totals[block, tile, k])


@jit
def evaluate_single_blocks(shape, data, W, measures, totals, scratch, span):
    """The same for lanes one by one, W (lanes, padded parameters), with totals (blocks, lanes, measures, 1)."""
    worker, workers, first = span
    blocks, lanes, n, cut = totals.shape[0], totals.shape[1], data.order.shape[0], shares(totals, workers)
    for item in range(worker, blocks * cut, workers):
        block, share = item // cut, item % cut
        start = (first + block) * PARTIAL_SUM_ROWS
        stop = min(start + PARTIAL_SUM_ROWS, n)
        low_lane, high_lane = share * lanes // cut, (share + 1) * lanes // cut
        totals[block, low_lane:high_lane] = 0
        for low in range(start, stop, CACHED_ROWS):
            count = min(CACHED_ROWS, stop - low)
            for lane in range(low_lane, high_lane):
                ahead, fresh = RowRange(low + count, stop), lane == low_lane
                single_steps.margins(shape, data, low, count, W[lane], scratch, ahead, fresh)
                for k in range(measures.shape[0]):
                    call_at(measures[k], shape, scratch.Z, scratch.y, count, totals[block, lane, k])
