"""Exact sums over all rows at a checkpoint: block by block, in float64, in an order that no thread count changes."""

from fastgd._jit import jit
from fastgd.engine.dense import gather, margins
from fastgd.engine.losses import add_losses

BLOCK = 4096  # rows of a partial sum
CHUNK = 60  # rows whose margins stay in the first-level cache: whole register blocks


@jit
def evaluate_blocks(shape, data, W, codes, totals, scratch, span, intercept):
    """Write the sums of some measures over blocks of rows to totals (blocks, tiles, measures, L) float64.

    span: (worker, workers, first block); codes: the numbers of the measures.
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
            for k in range(codes.shape[0]):
                add_losses(codes[k], shape, scratch.Z, scratch.y, count, 1, totals[block, tile, k])
