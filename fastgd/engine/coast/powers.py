"""Steps that are all alike: many of them are a power of one matrix, which is looked up digit by digit.

A table has the powers of the step's matrix by the digits of the exponent, in base 64: M, M^2, ..., M^63, then M^64,
M^128, ..., and so on. A parameter that missed up to 63 steps, as those of frequent features did, needs one product, up
to 4,095 two. The table depends on the lanes' hyper-parameters alone, and is small enough to stay in the second-level
cache. Each power is one product more than the one before, whose rounding errors add up; squares would double them.
"""

from fastgd.core.compile import jit
from fastgd.engine.coast.matrices import compose, identity, node, put_node, transform

DIGIT_BITS = 6
DIGITS = 1 << DIGIT_BITS


def table_size(steps: int) -> int:
    """Return the matrices of a table for up to so many steps: those of digits 0 are never looked up."""
    return DIGITS * -(-steps.bit_length() // DIGIT_BITS)


@jit(inner=True)
def put_powers(coast, shape, table, steps, v, matrix):
    """Fill a table for up to so many steps, each of which is `matrix` in the lanes at v."""
    first = 0
    while steps > 0:
        power = matrix
        for digit in range(1, DIGITS):
            put_node(coast, shape, table, first + digit, v, power)
            power = compose(coast, matrix, power)
        matrix, first, steps = power, first + DIGITS, steps >> DIGIT_BITS


@jit(inline="always")
def power(coast, shape, table, steps, v):
    """Return the matrix of some steps."""
    matrix, first = identity(coast, shape, table), 0
    while steps > 0:
        if steps & (DIGITS - 1):
            matrix = compose(coast, node(coast, shape, table, first + (steps & (DIGITS - 1)), v), matrix)
        first, steps = first + DIGITS, steps >> DIGIT_BITS
    return matrix


@jit(inner=True)
def apply_power(coast, shape, table, steps, v, x):
    """Return the state x after some steps, where each lane has its own matrices."""
    first = 0
    while steps > 0:
        if steps & (DIGITS - 1):
            x = transform(coast, node(coast, shape, table, first + (steps & (DIGITS - 1)), v), x)
        first, steps = first + DIGITS, steps >> DIGIT_BITS
    return x
