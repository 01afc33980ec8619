"""The window of steps in which parameters coast, and what is done with all parameters at once.

Nothing here depends on the rule: what does is called by its address.
"""

from typing import Any, NamedTuple

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.static import call_at, static


class Past(NamedTuple):
    """The window of steps of each tile, where its parameters coast; all are empty elsewhere.

    last : (tiles, d) int32, the steps of the window that a parameter has taken
    nodes : (tiles, 2 * size * numbers * L): node 1 is the root, the children of i are 2 i and 2 i + 1, the leaves stand
        last; where all lanes share the matrices, one number stands for L
    rights : (tiles, levels * numbers * L): the products of nodes that every range up to now ends with, by level
    ratio : (tiles, L), each lane's rate where the matrices are for a rate of 1
    hyper, exact, memory, c, exact_c : (tiles, ...), the hyper-parameters, memory and quantities of a lane with a rate
        of 1, L times, as `Lanes` and `Scratch` have them
    scheduled : (1 or steps, tiles, m * L), its scheduled values
    kept_c : (tiles, size * coefficients * L), the quantities of all steps, where some may have to be taken one by one
    kept_h : (tiles, size * fields * L), the hyper-parameters of weights then, where they are scheduled
    horizon : the steps after which those that are taken one by one have no more say
    """

    last: Any
    nodes: Any
    rights: Any
    ratio: Any
    hyper: Any
    exact: Any
    memory: Any
    c: Any
    exact_c: Any
    scheduled: Any
    kept_c: Any
    kept_h: Any
    horizon: Any


@jit
def catch_up_all(calls, shape, state, hyper, mean, past, every, now, size, first, step):
    """Bring all parameters of the tiles first, first + step, ... up to date, and begin a new window.

    calls : (slots, the address of `catch_up`, that of `read_block`); every : (d,) int32, all features
    """
    half, d, slots = hyper.shape[1] // 2, every.shape[0], calls[0]
    for tile in range(first, state.shape[0], step):
        window = (past.last[tile], past.nodes[tile], past.rights[tile], past.ratio[tile])
        kept = (past.kept_c[tile], past.kept_h[tile], past.horizon, now, size)
        given = (state[tile], hyper[tile, :half], mean[tile], every, 0, d, state.shape[1] // (1 + slots))
        call_at(calls[1], shape, given + window + kept)
        past.last[tile] = 0


@jit
def read_coasted(calls, shape, state, hyper, mean, past, every, now, size, out, block, first, step):
    """Put the iterates that are reported into out (tiles, parameters * L), brought up to date; no state changes.

    Some parameters at a time are copied to `block`, and brought up to date there.
    """
    L, half, d, slots = static(shape, "lanes"), hyper.shape[1] // 2, every.shape[0], calls[0]
    stride, room = out.shape[1], block.shape[0] // (1 + slots)
    last = np.zeros(room // L, np.int32)
    for tile in range(first, state.shape[0], step):
        nodes, rights, ratio = past.nodes[tile], past.rights[tile], past.ratio[tile]
        window = (last, nodes, rights, ratio, past.kept_c[tile], past.kept_h[tile], past.horizon, now, size)
        for j in range(0, d, room // L):
            count = min(room // L, d - j)
            for part in range(1 + slots):
                begin = part * stride + j * L
                block[part * room : part * room + count * L] = state[tile, begin : begin + count * L]
            last[:count] = past.last[tile, j : j + count]
            means = mean[tile, j * L : (j + count) * L] if mean.shape[1] > 0 else mean[tile]
            given = (block, hyper[tile, :half], means, every, 0, count, room)
            call_at(calls[1], shape, given + window)
            call_at(calls[2], shape, (block, hyper[tile, :half], count, room, out[tile], j * L))
        for j in range(d, stride // L):  # an intercept is always up to date
            for part in range(1 + slots):
                begin = part * stride + j * L
                block[part * room : part * room + L] = state[tile, begin : begin + L]
            call_at(calls[2], shape, (block, hyper[tile, half:], 1, room, out[tile], j * L))
