"""Landscapes of the literature with many minima.

Formulas, parameters and domains are those of Surjanovic & Bingham, Virtual Library of Simulation Experiments,
https://www.sfu.ca/~ssurjano/optimization.html. From the starts, plain gradient descent ends in a local minimum.
"""

from typing import NamedTuple

import numpy as np

from fastgd.problems.landscapes.landscape import MOST_DIMENSIONS, Array, NonNegative, Point, Positive, Value, landscape
from fastgd.problems.landscapes.minima import combinations, coordinate_minima


@landscape(
    name="rastrigin",
    dimension=(1, MOST_DIMENSIONS),
    domain=(-5.12, 5.12),
    start=(4.3, -3.4),
    reference="Mühlenbein, Schomisch & Born (1991), https://doi.org/10.1016/S0167-8191(05)80052-3",
)
class Rastrigin(NamedTuple):
    """Rastrigin's egg box: `f = sum_i x_i^2 + amplitude (1 - cos(2 pi x_i))`. In the plane, 121 minima."""

    amplitude: NonNegative = 10.0

    # 1 - cos(2 a) is 2 sin(a)^2: nothing cancels near the minimum.
    def value(p, x: Point) -> Value:
        s = np.sin(np.pi * x[0])
        total = x[0] * x[0] + 2 * p.amplitude * s * s
        for i in range(1, len(x)):
            s = np.sin(np.pi * x[i])
            total = total + (x[i] * x[i] + 2 * p.amplitude * s * s)
        return total

    def gradient(p, x: Point, g: Point) -> None:
        for i in range(len(x)):
            g[i] = 2 * x[i] + 2 * np.pi * p.amplitude * np.sin(2 * np.pi * x[i])

    def minima(p, d: int) -> Array:
        return combinations([coordinate_minima(type(p), p, 1, 0, (-5.12, 5.12))] * d)


@landscape(
    name="ackley",
    dimension=(1, MOST_DIMENSIONS),
    domain=(-32.768, 32.768),
    start=(-14.6, 19.7),
    reference="Ackley (1987), https://doi.org/10.1007/978-1-4613-1997-9",
)
class Ackley(NamedTuple):
    """Ackley's funnel: `f = a (1 - exp(-b sqrt(mean x_i^2))) + e - exp(mean cos(c x_i))`.

    The minimum is the tip of a cone. The gradient there, which does not exist, is given as 0.
    """

    a: Positive = 20.0
    b: Positive = 0.2
    c: NonNegative = 2 * np.pi

    def value(p, x: Point) -> Value:
        squares, cosines = x[0] * x[0], np.cos(p.c * x[0])
        for i in range(1, len(x)):
            squares, cosines = squares + x[i] * x[i], cosines + np.cos(p.c * x[i])
        return p.a * (1 - np.exp(-p.b * np.sqrt(squares / len(x)))) + (np.e - np.exp(cosines / len(x)))

    def gradient(p, x: Point, g: Point) -> None:
        squares, cosines = x[0] * x[0], np.cos(p.c * x[0])
        for i in range(1, len(x)):
            squares, cosines = squares + x[i] * x[i], cosines + np.cos(p.c * x[i])
        r = np.sqrt(squares / len(x))
        # 0 / 0 at the tip becomes 0; 1e-30 is a number in float32 too
        slope = p.a * p.b * np.exp(-p.b * r) / (np.maximum(r, 1e-30) * len(x))
        wave = p.c * np.exp(cosines / len(x)) / len(x)
        for i in range(len(x)):
            g[i] = slope * x[i] + wave * np.sin(p.c * x[i])

    def minima(p, d: int) -> Array:
        return np.zeros((1, d))


@landscape(
    name="styblinski_tang",
    dimension=(1, MOST_DIMENSIONS),
    domain=(-5.0, 5.0),
    start=(4.0, -1.0),
    reference="Styblinski & Tang (1990), https://doi.org/10.1016/0893-6080(90)90029-K",
)
class StyblinskiTang(NamedTuple):
    """Styblinski and Tang's basins: `f = 1/2 sum_i x_i^4 - 16 x_i^2 + 5 x_i`. Two minima along each coordinate."""

    def value(p, x: Point) -> Value:
        total = x[0] * (5 + x[0] * (x[0] * x[0] - 16))
        for i in range(1, len(x)):
            total = total + x[i] * (5 + x[i] * (x[i] * x[i] - 16))
        return 0.5 * total

    def gradient(p, x: Point, g: Point) -> None:
        for i in range(len(x)):
            g[i] = 2.5 + x[i] * (2 * x[i] * x[i] - 16)

    def minima(p, d: int) -> Array:
        return combinations([coordinate_minima(type(p), p, 1, 0, (-5.0, 5.0))] * d)


@landscape(
    name="levy",
    dimension=(1, MOST_DIMENSIONS),
    domain=(-10.0, 10.0),
    start=(-6.0, 7.0),
    reference="Laguna & Martí (2005), https://doi.org/10.1007/s10898-004-1936-z",
)
class Levy(NamedTuple):
    """Levy's waves: `f = sin(pi w_1)^2 + sum_{i<d} v_i^2 (1 + 10 sin(pi w_i + 1)^2) + v_d^2 (1 + sin(2 pi w_d)^2)`.

    Here `w_i = 1 + v_i` and `v_i = (x_i - 1) / 4`. Coordinates do not depend on each other, but the first and the last
    are special.
    """

    # With w = 1 + v: sin(pi w)^2 = sin(pi v)^2, and sin(2 pi w) = sin(2 pi v), exactly 0 at the minimum.
    def value(p, x: Point) -> Value:
        last = len(x) - 1
        v = (x[last] - 1) * 0.25
        s, first = np.sin(2 * np.pi * v), np.sin(np.pi * (x[0] - 1) * 0.25)
        total = first * first + v * v * (1 + s * s)
        for i in range(last):
            v = (x[i] - 1) * 0.25
            s = np.sin(np.pi * v + (np.pi + 1))
            total = total + v * v * (1 + 10 * s * s)
        return total

    def gradient(p, x: Point, g: Point) -> None:
        last = len(x) - 1
        for i in range(last):
            v = (x[i] - 1) * 0.25
            angle = np.pi * v + (np.pi + 1)
            s = np.sin(angle)
            g[i] = v * (0.5 * (1 + 10 * s * s) + 2.5 * np.pi * v * np.sin(2 * angle))
        v = (x[last] - 1) * 0.25
        s = np.sin(2 * np.pi * v)
        g[last] = v * (0.5 * (1 + s * s) + 0.5 * np.pi * v * np.sin(4 * np.pi * v))
        g[0] = g[0] + 0.25 * np.pi * np.sin(0.5 * np.pi * (x[0] - 1))

    def minima(p, d: int) -> Array:
        least = min(d, 3)  # what is between the first and the last is alike
        each = [coordinate_minima(type(p), p, least, i, (-10.0, 10.0)) for i in range(least)]
        return combinations([each[0], *each[1:2] * (d - 2), each[-1]][:d])
