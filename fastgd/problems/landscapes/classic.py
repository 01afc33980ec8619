"""Valleys, bowls and saddles of the literature.

Formulas, parameters and domains are those of Surjanovic & Bingham, Virtual Library of Simulation Experiments,
https://www.sfu.ca/~ssurjano/optimization.html, where it has the function. Where the literature has no customary start,
it is a point from which plain gradient descent shows what is difficult.
"""

from typing import NamedTuple

import numpy as np

from fastgd.problems.landscapes.landscape import MOST_DIMENSIONS, Array, Point, Positive, Value, landscape
from fastgd.problems.landscapes.minima import polish


@landscape(
    name="rosenbrock",
    dimension=(2, MOST_DIMENSIONS),
    domain=(-2.048, 2.048),
    start=(-1.2, 1.0),
    reference="Rosenbrock (1960), https://doi.org/10.1093/comjnl/3.3.175",
)
class Rosenbrock(NamedTuple):
    """Rosenbrock's valley: `f = sum_i b (x_{i+1} - x_i^2)^2 + (1 - x_i)^2`.

    A curved valley, easy to find and slow to follow. In 4 to 7 dimensions there is a second minimum near
    (-1, 1, ..., 1): Kok & Sandrock (2009), https://doi.org/10.1162/evco.2009.17.3.437.
    """

    b: Positive = 100.0

    def value(p, x: Point) -> Value:
        rise, rest = x[1] - x[0] * x[0], 1 - x[0]
        total = p.b * rise * rise + rest * rest
        for i in range(1, len(x) - 1):
            rise, rest = x[i + 1] - x[i] * x[i], 1 - x[i]
            total = total + (p.b * rise * rise + rest * rest)
        return total

    def gradient(p, x: Point, g: Point) -> None:
        last = len(x) - 1
        rise = x[1] - x[0] * x[0]
        g[0] = -4 * p.b * x[0] * rise - 2 * (1 - x[0])
        for i in range(1, last):
            before, rise = rise, x[i + 1] - x[i] * x[i]
            g[i] = 2 * p.b * before - 4 * p.b * x[i] * rise - 2 * (1 - x[i])
        g[last] = 2 * p.b * rise

    def minima(p, d: int) -> Array:
        lowest = np.ones((1, d))
        if not 4 <= d <= 7:
            return lowest
        second = polish(type(p).gradient, p, lowest * ([-1] + [1] * (d - 1)))
        return np.concatenate([lowest, second[second[:, 0] < 0]])


@landscape(
    name="beale",
    dimension=(2, 2),
    domain=(-4.5, 4.5),
    start=(1.0, 1.0),
    reference="Beale (1958); Moré, Garbow & Hillstrom (1981), https://doi.org/10.1145/355934.355936",
)
class Beale(NamedTuple):
    """Beale's function: `f = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2`.

    Flat around its minimum, and steep at the corners of its domain.
    """

    def value(p, x: Point) -> Value:
        y = x[1]
        a, b, c = 1.5 - x[0] * (1 - y), 2.25 - x[0] * (1 - y * y), 2.625 - x[0] * (1 - y * y * y)
        return a * a + b * b + c * c

    def gradient(p, x: Point, g: Point) -> None:
        y = x[1]
        a, b, c = 1.5 - x[0] * (1 - y), 2.25 - x[0] * (1 - y * y), 2.625 - x[0] * (1 - y * y * y)
        g[0] = -2 * (a * (1 - y) + b * (1 - y * y) + c * (1 - y * y * y))
        g[1] = 2 * x[0] * (a + 2 * y * b + 3 * y * y * c)

    def minima(p, d: int) -> Array:
        return np.array([[3.0, 0.5]])


@landscape(
    name="booth",
    dimension=(2, 2),
    domain=(-10.0, 10.0),
    start=(-5.0, 5.0),
    reference="Jamil & Yang (2013), no. 17, https://doi.org/10.1504/IJMMNO.2013.055204",
)
class Booth(NamedTuple):
    """Booth's bowl, a tilted quadratic: `f = (x + 2 y - 7)^2 + (2 x + y - 5)^2`."""

    def value(p, x: Point) -> Value:
        a, b = x[0] + 2 * x[1] - 7, 2 * x[0] + x[1] - 5
        return a * a + b * b

    def gradient(p, x: Point, g: Point) -> None:
        a, b = x[0] + 2 * x[1] - 7, 2 * x[0] + x[1] - 5
        g[0] = 2 * a + 4 * b
        g[1] = 4 * a + 2 * b

    def minima(p, d: int) -> Array:
        return np.array([[1.0, 3.0]])


@landscape(
    name="ravine",
    dimension=(2, MOST_DIMENSIONS),
    domain=(-1.5, 1.5),
    start=1.0,
    reference="Goh (2017), Why momentum really works, https://doi.org/10.23915/distill.00006",
)
class Ravine(NamedTuple):
    """A quadratic ravine: `f = 1/2 sum_i lambda_i x_i^2`, with lambda_i from 1 to `condition` in equal ratios."""

    condition: Positive = 100.0

    def value(p, x: Point) -> Value:
        ratio = np.exp(np.log(p.condition) / (len(x) - 1))
        factor = ratio
        total = x[0] * x[0]
        for i in range(1, len(x)):
            total = total + factor * x[i] * x[i]
            factor = factor * ratio
        return 0.5 * total

    def gradient(p, x: Point, g: Point) -> None:
        ratio = np.exp(np.log(p.condition) / (len(x) - 1))
        factor = ratio
        g[0] = x[0] * 1.0
        for i in range(1, len(x)):
            g[i] = factor * x[i]
            factor = factor * ratio

    def minima(p, d: int) -> Array:
        return np.zeros((1, d))


@landscape(
    name="three_hump_camel",
    dimension=(2, 2),
    domain=(-5.0, 5.0),
    start=(2.5, 1.5),
    reference="Branin (1972), https://doi.org/10.1147/rd.165.0504",
)
class ThreeHumpCamel(NamedTuple):
    """The three-hump camel: `f = 2 x^2 - 1.05 x^4 + x^6 / 6 + x y + y^2`."""

    def value(p, x: Point) -> Value:
        s = x[0] * x[0]
        return s * (2 - s * (1.05 - s / 6)) + x[1] * (x[0] + x[1])

    def gradient(p, x: Point, g: Point) -> None:
        s = x[0] * x[0]
        g[0] = x[0] * (4 - s * (4.2 - s)) + x[1]
        g[1] = x[0] + 2 * x[1]

    # y = -x / 2 leaves x (x^4 - 4.2 x^2 + 3.5) = 0; the smaller root of the bracket is a pair of saddles
    def minima(p, d: int) -> Array:
        x = np.sqrt(2.1 + np.sqrt(0.91))
        return np.array([[0.0, 0.0], [x, -x / 2], [-x, x / 2]])


@landscape(
    name="himmelblau",
    dimension=(2, 2),
    domain=(-5.0, 5.0),
    start=(0.0, 0.0),
    reference="Himmelblau (1972), Applied Nonlinear Programming, McGraw-Hill",
)
class Himmelblau(NamedTuple):
    """Himmelblau's four minima: `f = (x^2 + y - 11)^2 + (x + y^2 - 7)^2`, each of value 0."""

    def value(p, x: Point) -> Value:
        a, b = x[0] * x[0] + x[1] - 11, x[0] + x[1] * x[1] - 7
        return a * a + b * b

    def gradient(p, x: Point, g: Point) -> None:
        a, b = x[0] * x[0] + x[1] - 11, x[0] + x[1] * x[1] - 7
        g[0] = 4 * x[0] * a + 2 * b
        g[1] = 2 * a + 4 * x[1] * b

    def minima(p, d: int) -> Array:
        guesses = [(3, 2), (-2.8, 3.1), (-3.8, -3.3), (3.6, -1.8)]
        return polish(type(p).gradient, p, guesses)


@landscape(
    name="saddle",
    dimension=(2, 2),
    domain=(-2.0, 2.0),
    start=(-1.5, 0.001),
    reference="Dauphin et al. (2014), https://arxiv.org/abs/1406.2572",
)
class Saddle(NamedTuple):
    """A saddle: `f = x^2 - y^2`, without a minimum. From its ridge, what matters is how fast a rule leaves it."""

    def value(p, x: Point) -> Value:
        return (x[0] - x[1]) * (x[0] + x[1])

    def gradient(p, x: Point, g: Point) -> None:
        g[0] = 2 * x[0]
        g[1] = -2 * x[1]


@landscape(
    name="monkey_saddle",
    dimension=(2, 2),
    domain=(-1.5, 1.5),
    start=(1.0, 0.001),
    reference="Hilbert & Cohn-Vossen (1932), Anschauliche Geometrie, section 29",
)
class MonkeySaddle(NamedTuple):
    """A saddle for two legs and a tail: `f = x^3 - 3 x y^2`, without a minimum. At the origin even the Hessian is 0."""

    def value(p, x: Point) -> Value:
        return x[0] * (x[0] * x[0] - 3 * x[1] * x[1])

    def gradient(p, x: Point, g: Point) -> None:
        g[0] = 3 * (x[0] - x[1]) * (x[0] + x[1])
        g[1] = -6 * x[0] * x[1]
