"""The way forward and back through a network's layers, with some rows of a batch at a time."""

from typing import Any, NamedTuple

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, spread, store, zeros
from fastgd.engine.arrays import by_shape
from fastgd.engine.network.first_layer import add_data_products, add_first_sums
from fastgd.engine.network.products import turn, vector_product

INPUTS, OUTPUTS, WEIGHTS, BIAS, UNITS, STRIDE = range(6)  # the columns of `Layers.table`


class Layers(NamedTuple):
    """A network's layers.

    table : (layers, 6) int64, of each layer its inputs and outputs, where its weights and its biases (or -1) begin
        among a lane's numbers, where its units begin in a worker's memory, and from a data row to the next one: its
        outputs, and one more between an even number, since rows at a power of two would fall on the same lines of the
        cache; of a single lane whole vectors, but for the last layer
    parameters : rows of L elements that hold those of all layers
    targets : numbers of y that a row has
    activate, slope : the addresses of kernels that make units of sums, and that put the derivatives there, too
    """

    table: Any
    parameters: Any
    targets: Any
    activate: Any
    slope: Any


class Units(NamedTuple):
    """A worker's memory for some rows.

    values, slopes : every layer's units, which become its deltas, and the slopes at these
    margins : (rows, outputs, L) the last layer's sums; of a single lane, each spread over a vector
    turned : room for the transpose of a layer's weights, of a single lane
    """

    values: Any
    slopes: Any
    margins: Any
    turned: Any


@jit(inline="always")
def fill(shape, values, at, rows, outputs, stride, W, bias):
    """Fill values[at:] (rows, outputs), of which a row begins `stride` numbers after the one before, with biases."""
    step, numbers = static(shape, "step"), static(shape, "numbers")
    for i in range(rows):
        for j in range(0, outputs, numbers):
            to = at + (i * stride + j) * step
            store(values, to, load(shape, W, (bias + j) * step) if bias >= 0 else zeros(shape, values))


@jit(inner=True)
def forward(shape, layers, data, offsets, rows, W, units, slopes):
    """Leave every layer's units of the gathered rows in `units`, and with `slopes` the derivatives there, too.

    The last layer has no activation: its sums, which are left in `margins`, are what the loss is taken of.
    """
    step, table, values, last = static(shape, "step"), layers.table, units.values, layers.table.shape[0] - 1
    for k in range(last + 1):
        inputs, outputs, first, bias = table[k, INPUTS], table[k, OUTPUTS], table[k, WEIGHTS], table[k, BIAS]
        at, stride = table[k, UNITS] * step, table[k, STRIDE] * step
        fill(shape, values, at, rows, outputs, table[k, STRIDE], W, bias)
        weights, sums, sizes = (first * step, outputs * step, step), (at, stride, step), (rows, outputs, inputs)
        if k == 0:
            add_first_sums(shape, data, offsets, sizes, W, weights, values, sums)
        else:
            below = (table[k - 1, UNITS] * step, table[k - 1, STRIDE] * step, step)
            vector_product(shape, "add", sizes, values, below, W, weights, values, sums)
        if k < last:
            address = layers.slope if slopes else layers.activate
            call_at(address, shape, values, units.slopes, at, rows * table[k, STRIDE] // static(shape, "numbers"))
    if static(shape, "single") > 0:
        first, width = table[last, UNITS], static(shape, "width")
        for i in range(rows * table[last, OUTPUTS]):
            store(units.margins, i * width, spread(shape, values[first + i]))


@jit(inline="always")
def take_margins(shape, table, rows, units):
    """Make deltas of the last layer's units of what the loss left in `margins`."""
    if static(shape, "single") > 0:
        for i in range(rows * table[-1, OUTPUTS]):
            units.values[table[-1, UNITS] + i] = units.margins[i * static(shape, "width")]


@jit(inner=True)
def add_unit_products_of_tile(shape, sizes, values, below, deltas, right, G, sums):
    """Add to the gradient (inputs, outputs) of a layer's weights the products of the units below with its deltas."""
    vector_product(shape, "add", sizes, values, below, deltas, right, G, sums)


@jit(inner=True)
def add_unit_products_of_one(shape, sizes, values, below, deltas, right, G, sums):
    """The same for a single lane: of a layer's only output, vectors are those of the units."""
    if sizes[1] > 1:
        vector_product(shape, "add", sizes, values, below, deltas, right, G, sums)
    else:
        left, row = (right[0], 1, right[1]), (below[0], below[2], 1)
        vector_product(shape, "add", (1, sizes[0], sizes[2]), deltas, left, values, row, G, (sums[0], 1, 1))


add_unit_products = by_shape(add_unit_products_of_tile, add_unit_products_of_one)


@jit(inline="always")
def add_weight_gradient(shape, table, k, data, offsets, rows, units, deltas, first, some, G, g):
    """Add to G[g:] (some, outputs) the gradient of the weights of some inputs of layer k, from `first` on."""
    step, outputs = static(shape, "step"), table[k, OUTPUTS]
    right, sums = (table[k, UNITS] * step, table[k, STRIDE] * step, step), (g, outputs * step, step)
    sizes = (some, outputs, rows)
    if k == 0:
        add_data_products(shape, data, offsets, first, sizes, deltas, right, G, sums)
    else:
        left = ((table[k - 1, UNITS] + first) * step, step, table[k - 1, STRIDE] * step)
        add_unit_products(shape, sizes, units.values, left, deltas, right, G, sums)


@jit(inner=True)
def add_bias_gradient(shape, table, k, rows, deltas, G, g):
    """Add to G[g:] (outputs,) the gradient of the biases of layer k: the sum of its deltas."""
    step, at, stride = static(shape, "step"), table[k, UNITS] * static(shape, "step"), table[k, STRIDE]
    for j in range(0, table[k, OUTPUTS], static(shape, "numbers")):
        total = load(shape, G, g + j * step)
        for i in range(rows):
            total = total + load(shape, deltas, at + (i * stride + j) * step)
        store(G, g + j * step, total)


@jit(inner=True)
def send_back_in_tile(shape, sizes, deltas, left, W, weights, slopes, below, turned):  # noqa: ARG001 (as for one lane)
    """Multiply the slopes of a layer's units by its deltas (rows, inner) times the transposed weights behind it."""
    vector_product(shape, "times", sizes, deltas, left, W, (weights[0], weights[2], weights[1]), slopes, below)


@jit(inner=True)
def send_back_in_one(shape, sizes, deltas, left, W, weights, slopes, below, turned):
    """The same for a single lane, which needs the transpose in memory: of an only output, it is there."""
    if sizes[2] > 1:
        width = static(shape, "width")
        row = (sizes[1] + width - 1) // width * width
        turn(shape, W, weights[0], sizes[1], sizes[2], turned, row)
        vector_product(shape, "times", sizes, deltas, left, turned, (0, row, 1), slopes, below)
    else:
        vector_product(shape, "times", sizes, deltas, left, W, (weights[0], 1, 1), slopes, below)


multiply_slopes = by_shape(send_back_in_tile, send_back_in_one)


@jit(inline="always")
def send_back(shape, table, k, rows, W, deltas, units):
    """Make deltas of the slopes of the layer below layer k: `slopes *= deltas W'`."""
    step, inputs, outputs = static(shape, "step"), table[k, INPUTS], table[k, OUTPUTS]
    left = (table[k, UNITS] * step, table[k, STRIDE] * step, step)
    weights = (table[k, WEIGHTS] * step, outputs * step, step)
    below, sizes = (table[k - 1, UNITS] * step, table[k - 1, STRIDE] * step, step), (rows, inputs, outputs)
    multiply_slopes(shape, sizes, deltas, left, W, weights, units.slopes, below, units.turned)


@jit(inline="always")
def add_gradients(shape, layers, data, offsets, rows, W, units, G):
    """Add to G the gradient of all layers, whose last one's units have become its deltas."""
    table, deltas, step = layers.table, units.values, static(shape, "step")
    for k in range(table.shape[0] - 1, -1, -1):
        if k > 0:
            send_back(shape, table, k, rows, W, deltas, units)
        at = table[k, WEIGHTS] * step
        add_weight_gradient(shape, table, k, data, offsets, rows, units, deltas, 0, table[k, INPUTS], G, at)
        if table[k, BIAS] >= 0:
            add_bias_gradient(shape, table, k, rows, deltas, G, table[k, BIAS] * step)
        deltas = units.slopes
