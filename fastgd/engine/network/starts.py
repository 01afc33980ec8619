"""Where a network's parameters start: numbers of fastgd's own generator, keyed by seed, layer and place.

All lanes of a seed start alike, and no version of a library changes where: uniform numbers are exact, and normal ones
are computed by a kernel.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.compile import jit
from fastgd.core.random import normal, stream_keys, uniform_numbers
from fastgd.core.static import Static, static
from fastgd.core.vectors import aligned, store
from fastgd.engine.rows.order import stream_key
from fastgd.engine.shapes import LaneShape
from fastgd.problems.starts import STARTS

Array = npt.NDArray[Any]
_SHAPE = Static(LaneShape(8, 8))


@jit
def _draw(shape, keys, out):
    """Fill `out`, whole vectors, with standard normal numbers."""
    for v in range(0, out.shape[0], static(shape, "width")):
        store(out, v, normal(shape, out, keys, v, 0))


def normal_start(key: int, count: int) -> Array:
    """Return standard normal numbers (count,) float64, each a function of the key and its place."""
    keys = stream_keys(key, np.arange(-(-count // 8) * 8))
    out = aligned(keys.shape, np.float64)
    _draw(_SHAPE, keys, out)
    return out[:count]


def uniform_start(key: int, count: int) -> Array:
    """Return numbers (count,) float64 uniform in (-1, 1], each a function of the key and its place."""
    return 2 * uniform_numbers(stream_keys(key, np.arange(count)), 0, 1)[:, 0] - 1


def start_of_layer(how: str | float, seed: int, layer: int, inputs: int, outputs: int, *, bias: bool) -> list[Array]:
    """Return the start of a layer: its weights (inputs * outputs,), and its biases (outputs,) where it has these.

    Parameters
    ----------
    how : str or float
        A name of `problems.starts.STARTS`, "zeros", or the deviation of normal weights.
    seed : int
    layer : int
        From 1.
    inputs, outputs : int
    bias : bool
    """
    count, key, biases = inputs * outputs, stream_key(seed, "layer", layer), np.zeros(outputs)
    if how == "zeros":
        weights = np.zeros(count)
    elif isinstance(how, str):
        start = STARTS.find(how)
        draw = normal_start if start.distribution == "normal" else uniform_start
        drawn = start.scale(inputs, outputs) * draw(key, count + outputs)
        weights, biases = drawn[:count], drawn[count:] if start.biases else biases
    else:
        weights = how * normal_start(key, count)
    return [weights, biases] if bias else [weights]
