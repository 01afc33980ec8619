"""The way forward and back through a network's layers, with some rows of a batch at a time."""

from typing import Any, NamedTuple

import numpy as np

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, store, zeros
from fastgd.engine.network.products import data_product, vector_product

INPUTS, OUTPUTS, WEIGHTS, BIAS, UNITS, STRIDE = range(6)  # the columns of `Layers.table`


class Layers(NamedTuple):
    """A network's layers.

    table : (layers, 6) int64, of each layer its inputs and outputs, the first row of L lanes of its weights, the row of
        its biases or -1, where its units begin in a worker's memory, and from a data row to the next one: its outputs,
        and one more between an even number, since rows at a power of two would fall on the same lines of the cache
    parameters : of all layers
    targets : numbers of y that a row has
    activate, slope : the addresses of kernels that make units of sums, and that put the derivatives there, too
    """

    table: Any
    parameters: Any
    targets: Any
    activate: Any
    slope: Any


class Units(NamedTuple):
    """A worker's memory for some rows: every layer's units, which become its deltas, and the slopes at these."""

    values: Any
    slopes: Any


@jit(inner=True)
def look_up_rows(layers, data, low, rows, offsets, targets):
    """Look up where the rows order[low : low + rows] begin, and put their targets one row after another."""
    for i in range(rows):
        row = np.int64(data.order[low + i])
        offsets[i] = row * data.d
        for j in range(layers.targets):
            targets[i * layers.targets + j] = data.y[row * layers.targets + j]


@jit(inner=True)
def fill(shape, values, at, rows, outputs, stride, W, bias):
    """Fill values[at:] (rows, outputs, L), of which a row begins `stride` vectors after the one before, with biases."""
    L = static(shape, "lanes")
    for i in range(rows):
        for j in range(outputs):
            to = at + (i * stride + j) * L
            store(values, to, load(shape, W, (bias + j) * L) if bias >= 0 else zeros(shape, values))


@jit(inner=True)
def forward(shape, layers, X, offsets, rows, W, units, slopes):
    """Leave every layer's units of the gathered rows in `units`, and with `slopes` the derivatives there, too.

    The last layer has no activation: its sums are what the loss is taken of.
    """
    L, table, values, last = static(shape, "lanes"), layers.table, units.values, layers.table.shape[0] - 1
    for k in range(last + 1):
        inputs, outputs, first, bias = table[k, INPUTS], table[k, OUTPUTS], table[k, WEIGHTS], table[k, BIAS]
        at, stride = table[k, UNITS] * L, table[k, STRIDE] * L
        fill(shape, values, at, rows, outputs, table[k, STRIDE], W, bias)
        weights, sums, sizes = (first * L, outputs * L, L), (at, stride, L), (rows, outputs, inputs)
        if k == 0:
            data_product(shape, "rows", sizes, X, offsets, 0, W, weights, values, sums)
        else:
            below = (table[k - 1, UNITS] * L, table[k - 1, STRIDE] * L, L)
            vector_product(shape, "add", sizes, values, below, W, weights, values, sums)
        if k < last:
            address = layers.slope if slopes else layers.activate
            call_at(address, shape, values, units.slopes, at, rows * table[k, STRIDE])


@jit(inner=True)
def add_weight_gradient(shape, table, k, X, offsets, rows, units, deltas, first, some, G, g):
    """Add to G[g:] (some, outputs, L) the gradient of the weights of some inputs of layer k, from `first` on."""
    L, outputs = static(shape, "lanes"), table[k, OUTPUTS]
    right, sums, sizes = (table[k, UNITS] * L, table[k, STRIDE] * L, L), (g, outputs * L, L), (some, outputs, rows)
    if k == 0:
        data_product(shape, "columns", sizes, X, offsets, first, deltas, right, G, sums)
    else:
        left = ((table[k - 1, UNITS] + first) * L, L, table[k - 1, STRIDE] * L)
        vector_product(shape, "add", sizes, units.values, left, deltas, right, G, sums)


@jit(inner=True)
def add_bias_gradient(shape, table, k, rows, deltas, G, g):
    """Add to G[g:] (outputs, L) the gradient of the biases of layer k: the sum of its deltas."""
    L, at, stride = static(shape, "lanes"), table[k, UNITS] * static(shape, "lanes"), table[k, STRIDE]
    for j in range(table[k, OUTPUTS]):
        total = load(shape, G, g + j * L)
        for i in range(rows):
            total = total + load(shape, deltas, at + (i * stride + j) * L)
        store(G, g + j * L, total)


@jit(inner=True)
def send_back(shape, table, k, rows, W, deltas, slopes):
    """Make deltas of the slopes of the layer below layer k: `slopes *= deltas W'`."""
    L, inputs, outputs = static(shape, "lanes"), table[k, INPUTS], table[k, OUTPUTS]
    left = (table[k, UNITS] * L, table[k, STRIDE] * L, L)
    right = (table[k, WEIGHTS] * L, L, outputs * L)
    below = (table[k - 1, UNITS] * L, table[k - 1, STRIDE] * L, L)
    vector_product(shape, "times", (rows, inputs, outputs), deltas, left, W, right, slopes, below)


@jit(inner=True)
def add_gradients(shape, layers, X, offsets, rows, W, units, G):
    """Add to G (parameters, L) the gradient of all layers, whose last one's units have become its deltas."""
    table, deltas = layers.table, units.values
    for k in range(table.shape[0] - 1, -1, -1):
        if k > 0:
            send_back(shape, table, k, rows, W, deltas, units.slopes)
        at = table[k, WEIGHTS] * static(shape, "lanes")
        add_weight_gradient(shape, table, k, X, offsets, rows, units, deltas, 0, table[k, INPUTS], G, at)
        if table[k, BIAS] >= 0:
            add_bias_gradient(shape, table, k, rows, deltas, G, table[k, BIAS] * static(shape, "lanes"))
        deltas = units.slopes
