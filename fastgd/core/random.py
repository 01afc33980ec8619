"""Random numbers for kernels, normal or uniform, each a function of a key and a counter alone.

No state is carried from one number to the next, so a lane's noise is the same in every tile, on every thread and after
every interruption, and a run that is resumed needs no generator to be saved.

Gradient noise is a function of (seed, start, step, coordinate) alone (`core/random.py`), so all configurations see the
same. Starts that are drawn, over data too, come from such counters as well, because NumPy's generators may give other
numbers in another version; an id holds the first numbers of their stream.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

import fastgd.core.vector_math  # noqa: F401 (log and cos on vectors)
from fastgd.core.compile import jit
from fastgd.core.vectors import I64, Vector, address, constant, splat

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, odd: its multiples visit every number
_SHIFTS, _FACTORS = (30, 27, 31), (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


# --- the hash ---------------------------------------------------------------------------------------------------------


def mix(x: Any) -> Any:
    """Return the hash of 64-bit numbers, an array or in a kernel one number: SplitMix64's finaliser, see `normal`."""
    x = (x ^ (x >> np.uint64(_SHIFTS[0]))) * np.uint64(_FACTORS[0])
    x = (x ^ (x >> np.uint64(_SHIFTS[1]))) * np.uint64(_FACTORS[1])
    return x ^ (x >> np.uint64(_SHIFTS[2]))


def _emit_mix(builder, x):
    """Emit `mix` for a vector of 64-bit numbers, which Numba has no type for."""

    def folded(x, shift: int):
        return builder.xor(x, builder.lshr(x, constant(x.type, shift)))

    x = builder.mul(folded(x, _SHIFTS[0]), constant(x.type, _FACTORS[0]))
    x = builder.mul(folded(x, _SHIFTS[1]), constant(x.type, _FACTORS[1]))
    return folded(x, _SHIFTS[2])


@jit(inner=True)
def splitmix(x):
    """Return the first output of the generator SplitMix64 started at a number, in a kernel: see `normal`."""
    return _mix_in_kernel(x + np.uint64(_GOLDEN))


_mix_in_kernel = jit(mix, inner=True)


# --- in a kernel ------------------------------------------------------------------------------------------------------


@jit(inner=True)
def normal(shape, like, keys, index, counter):
    """Return a vector of standard normal numbers, of which lane i's depends on `(keys[index + i], counter)` alone.

    Parameters
    ----------
    shape : Static
        Its value's `width` is the vector's number of lanes. It does not change a lane's bits.
    like : ndarray
        An array of the vector's element type. The numbers are computed in float64, and rounded for float32.
    keys : ndarray of uint64
        A key for each lane, of `stream_keys`.
    index : int
        The first lane's place in `keys`.
    counter : int
        Which number of each stream, of 2^63 before a stream repeats.

    Returns
    -------
    Vector
        Of `like`'s element type. Its numbers lie within 8.6 of 0: 53 bits hold no larger one.

    Notes
    -----
    Number c of a stream is the transform of Box & Muller [1]_ of two uniform numbers: the outputs 2 c and 2 c + 1 of
    SplitMix64 [2]_ started at the key, with the finaliser "Mix13" of Stafford [3]_. Its state after n outputs is the
    key plus n times an odd constant, so any output is found without those before it. `normal_numbers` says the same
    in NumPy; the two differ in the last places of the logarithm and of the cosine.

    References
    ----------
    .. [1] G. E. P. Box & M. E. Muller, "A note on the generation of random normal deviates", Ann. Math. Statist. 29,
       610-611, 1958.
    .. [2] G. L. Steele Jr., D. Lea & C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    .. [3] D. Stafford, "Better bit mixing: improving on MurmurHash3's 64-bit finalizer", 2011,
       https://zimbry.blogspot.com/2011/09/better-bit-mixing-improving-on.html
    """
    radius = np.sqrt(-2.0 * np.log(_uniform(shape, keys, index, counter, 1)))
    return _narrow(like, radius * np.cos(2 * np.pi * _uniform(shape, keys, index, counter, 2)))


@intrinsic
def _uniform(typingctx, shape, keys, index, counter, draw):
    """`_uniform(shape, keys, index, counter, draw)`: output `2 counter + draw` of each lane's stream, in (0, 1]."""
    if not isinstance(keys, types.Array) or keys.dtype != types.uint64:
        raise TypingError(f"the keys of random numbers are an array of uint64, not {keys}")
    vector = Vector(types.float64, shape.value.width)

    def codegen(context, builder, sig, args):
        whole = ir.VectorType(I64, vector.count)
        key = builder.load(address(context, builder, sig.args[1], args[1], args[2], whole), align=8)
        output = builder.add(builder.shl(args[3], I64(1)), args[4])
        step = splat(builder, builder.mul(output, I64(_GOLDEN)), vector.count)
        bits = builder.lshr(_emit_mix(builder, builder.add(key, step)), constant(whole, 11))
        kind = context.get_value_type(vector)
        number = builder.uitofp(builder.add(bits, constant(whole, 1)), kind)
        return builder.fmul(number, constant(kind, 2.0**-53))

    return vector(shape, keys, types.intp, types.uint64, types.uint64), codegen


@intrinsic
def _narrow(typingctx, like, vector):
    """`_narrow(like, vector)`: float64 elements, rounded to the array's type."""
    result = Vector(like.dtype, vector.count)

    def codegen(context, builder, sig, args):
        return args[1] if result == vector else builder.fptrunc(args[1], context.get_value_type(result))

    return result(like, vector), codegen


# --- in NumPy ---------------------------------------------------------------------------------------------------------


def normal_numbers(keys: np.ndarray[Any, Any], counter: int) -> np.ndarray[Any, Any]:
    """Return what `normal` does in a kernel, to the last places: a standard normal number for each key.

    Parameters
    ----------
    keys : ndarray of uint64
    counter : int

    Returns
    -------
    ndarray of float64
        Of the keys' shape. See `normal` for the equations and their sources.
    """
    first = 2 * int(counter) + 1
    radius = np.sqrt(-2 * np.log(_uniform_numbers(keys, first)))
    return np.asarray(radius * np.cos(2 * np.pi * _uniform_numbers(keys, first + 1)))


def stream_keys(seed: int, starts: Any) -> np.ndarray[Any, Any]:
    """Return the key of each start's stream of numbers: a function of the seed and of that start alone.

    Parameters
    ----------
    seed : int
    starts : array_like of int
        The indices of starts, or of whatever else has a stream of its own.

    Returns
    -------
    ndarray of uint64
        Of the shape of `starts`; different for different starts of a seed.

    Notes
    -----
    Key k is output k of SplitMix64 [1]_ started at the hash of the seed: a generator that is split off at each start.

    References
    ----------
    .. [1] G. L. Steele Jr., D. Lea & C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    starts = np.asarray(starts, np.int64)
    origin = _outputs(np.array([int(seed) % 2**64], np.uint64), 1)
    steps = (starts.ravel().astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
    return np.asarray(mix(origin + steps)).reshape(starts.shape)


def uniform_numbers(keys: np.ndarray[Any, Any], first: int, count: int) -> np.ndarray[Any, Any]:
    """Return some numbers of each stream, uniform in (0, 1]: number n is a function of the key and of n alone.

    Parameters
    ----------
    keys : ndarray of uint64 (streams,)
        Of `stream_keys`.
    first, count : int
        Numbers `first` to `first + count`, from 0.

    Returns
    -------
    ndarray of float64 (streams, count)
        See `normal` for the generator and its source.
    """
    outputs = np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return ((mix(keys[:, None] + outputs) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53


def _uniform_numbers(keys: np.ndarray[Any, Any], output: int) -> np.ndarray[Any, Any]:
    """Return 53 bits of this output of each stream as a number in (0, 1]: its logarithm is finite."""
    return ((_outputs(keys, output) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53


def _outputs(keys: np.ndarray[Any, Any], output: int) -> np.ndarray[Any, Any]:
    """Return an output of SplitMix64 started at each key; the first is 1."""
    return np.asarray(mix(keys + np.uint64(output * _GOLDEN % 2**64)))
