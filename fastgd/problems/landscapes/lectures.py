"""Landscapes of the lectures that this project began with, and of observations made in them."""

from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt

from fastgd.core.math import sigmoid
from fastgd.problems.landscapes.landscape import MOST_DIMENSIONS, Array, NonNegative, Point, Positive, Value, landscape
from fastgd.problems.landscapes.minima import coordinate_minima, polish

LECTURES = "CS7015 Deep Learning, lecture 5, https://www.cse.iitm.ac.in/~miteshk/CS7015.html"


@landscape(name="toy_neuron", dimension=(2, 2), domain=(-6.0, 6.0), start=(-2.0, -2.0), reference=LECTURES)
class ToyNeuron(NamedTuple):
    """One neuron on a few points: `f(w, b) = 1/2 sum_i (sigmoid(w x_i + b) - y_i)^2`.

    Its steep valley between two plains is what the lectures look at. With two points it fits them exactly.
    """

    x: tuple[float, ...] = (0.5, 2.5)
    y: tuple[float, ...] = (0.2, 0.9)

    def value(p, x: Point) -> Value:
        r = sigmoid(x[0] * p.x[0] + x[1]) - p.y[0]
        total = r * r
        for i in range(1, len(p.x)):
            r = sigmoid(x[0] * p.x[i] + x[1]) - p.y[i]
            total = total + r * r
        return 0.5 * total

    # f (1 - f) is f(z) f(-z): no cancellation where the neuron is saturated.
    def gradient(p, x: Point, g: Point) -> None:
        z = x[0] * p.x[0] + x[1]
        f = sigmoid(z)
        r = (f - p.y[0]) * f * sigmoid(-z)
        g[0] = r * p.x[0]
        g[1] = r
        for i in range(1, len(p.x)):
            z = x[0] * p.x[i] + x[1]
            f = sigmoid(z)
            r = (f - p.y[i]) * f * sigmoid(-z)
            g[0] = g[0] + r * p.x[i]
            g[1] = g[1] + r

    def minima(p, d: int) -> Array:
        a, y = np.asarray(p.x), np.asarray(p.y)
        if len(a) == 2 and a[0] != a[1] and np.all((y > 0) & (y < 1)):
            return np.linalg.solve(np.stack([a, np.ones(2)], 1), np.log(y / (1 - y)))[None]
        grid = np.stack(np.meshgrid(np.linspace(-6, 6, 25), np.linspace(-6, 6, 25))).reshape(2, -1)
        lowest = grid.T[np.argsort(type(p).value(p, grid), kind="stable")[:20]]
        found = polish(type(p).gradient, p, lowest)
        return found[np.unique(np.round(found, 9), axis=0, return_index=True)[1]]

    def fault(p) -> str:
        return "" if len(p.x) == len(p.y) > 0 else "x and y must be as many numbers, and at least one"


@landscape(
    name="bumpy_bowl", dimension=(2, 2), domain=((-6.0, 6.0), (-3.0, 3.0)), start=(-5.0, 1.0), reference=LECTURES
)
class BumpyBowl(NamedTuple):
    """A bowl with potholes: `f = bowl r^2 / 2 - depth e^(-r^2/2) - pothole (e^(-a^2/2w^2) + e^(-b^2/2w^2))`.

    r, a and b are the distances from the origin, (-3, 0) and (3, 0); w is the potholes' `width`. From the left, plain
    descent at rates up to 0.7 is caught in the first pothole; momentum 0.9 carries it through to the deep minimum at
    the origin; at rates from 1 (the curvature there is `bowl + depth = 2.2`) it jumps to and fro across that minimum,
    and with a rate that decays from there it converges.
    """

    bowl: NonNegative = 0.2
    depth: NonNegative = 2.0
    pothole: NonNegative = 0.5
    width: Positive = 0.4

    def value(p, x: Point) -> Value:
        y, k = x[1] * x[1], 0.5 / (p.width * p.width)
        r, a, b = x[0] * x[0] + y, (x[0] + 3) * (x[0] + 3) + y, (x[0] - 3) * (x[0] - 3) + y
        return 0.5 * p.bowl * r - p.depth * np.exp(-0.5 * r) - p.pothole * (np.exp(-k * a) + np.exp(-k * b))

    def gradient(p, x: Point, g: Point) -> None:
        y, k = x[1] * x[1], 0.5 / (p.width * p.width)
        deep = p.bowl + p.depth * np.exp(-0.5 * (x[0] * x[0] + y))
        left = 2 * k * p.pothole * np.exp(-k * ((x[0] + 3) * (x[0] + 3) + y))
        right = 2 * k * p.pothole * np.exp(-k * ((x[0] - 3) * (x[0] - 3) + y))
        g[0] = deep * x[0] + left * (x[0] + 3) + right * (x[0] - 3)
        g[1] = (deep + left + right) * x[1]

    # On the line through the potholes, where y = 0, the curvature across is positive.
    def minima(p, d: int) -> Array:
        along = coordinate_minima(type(p), p, 2, 0, (-6.0, 6.0))
        return np.stack([along, np.zeros_like(along)], axis=1)


@landscape(
    name="plateau_cliff",
    dimension=(2, 2),
    domain=((-4.0, 4.0), (-2.0, 2.0)),
    start=(3.0, 1.0),
    reference="Pascanu, Mikolov & Bengio (2013), https://arxiv.org/abs/1211.5063",
)
class PlateauCliff(NamedTuple):
    """A plateau that ends at a cliff: `f = height sigmoid(steepness x) + slope sqrt(1 + (x + 1)^2) + y^2 / 2`.

    On the plateau, x > 0, the gradient along x is at most `slope`; on the cliff it is a thousand times that, and throws
    plain descent far beyond the minimum at its foot, which clipping prevents.
    """

    height: NonNegative = 10.0
    steepness: Positive = 20.0
    slope: Positive = 0.05

    def value(p, x: Point) -> Value:
        u = x[0] + 1
        return p.height * sigmoid(p.steepness * x[0]) + p.slope * np.sqrt(1 + u * u) + 0.5 * x[1] * x[1]

    def gradient(p, x: Point, g: Point) -> None:
        u, z = x[0] + 1, p.steepness * x[0]
        g[0] = p.height * p.steepness * sigmoid(z) * sigmoid(-z) + p.slope * u / np.sqrt(1 + u * u)
        g[1] = x[1] * 1.0

    def minima(p, d: int) -> Array:
        along = coordinate_minima(type(p), p, 2, 0, (-100.0, 10.0))
        return np.stack([along, np.zeros_like(along)], axis=1)


@landscape(
    name="adam_counterexample",
    dimension=(1, MOST_DIMENSIONS),
    domain=(-1.0, 1.0),
    start=0.0,
    projected=True,
    reference="Reddi, Kale & Kumar (2018), theorem 1, https://openreview.net/forum?id=ryQu7f-RZ",
)
class AdamCounterexample(NamedTuple):
    """Where Adam goes the wrong way: step t is given `f_t = C x` if `t mod 3 = 1`, and `f_t = -x` else, on [-1, 1].

    The average is `(C - 2) x / 3`, least at x = -1. Adam with `beta1 = 0, beta2 = 1 / (1 + C^2)` divides the large
    gradient by its own size, has forgotten it when the two small ones come, and goes to x = +1; AMSGrad remembers it,
    and goes to -1. In more dimensions each coordinate is a copy, and f their sum.
    """

    C: Annotated[float, Gt(2)] = 3.0

    def value(p, x: Point) -> Value:
        total = x[0] * 1.0
        for i in range(1, len(x)):
            total = total + x[i]
        return (p.C - 2) / 3 * total

    def gradient(p, x: Point, g: Point) -> None:
        for i in range(len(x)):
            g[i] = x[i] * 0 + (p.C - 2) / 3

    def gradient_at(p, x: Point, t: int, g: Point) -> None:
        for i in range(len(x)):
            if t % 3 == 1:
                g[i] = x[i] * 0 + p.C
            else:
                g[i] = x[i] * 0 - 1

    def minima(p, d: int) -> Array:
        return np.full((1, d), -1.0)
