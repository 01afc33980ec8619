"""Landscapes of a user: plain functions, gradients that are right and wrong, classes."""
# ruff: noqa: N805 (functions take the parameters p first)

import math
from typing import NamedTuple

import numpy as np

from fastgd.problems import landscape


def half_square(a):
    return 0.5 * a * a


def valley(x):
    """A valley and a wave."""
    return half_square(x[0]) + 3 * half_square(x[1]) + np.sin(x[0] * x[1])


def valley_gradient(x, g):
    c = np.cos(x[0] * x[1])
    g[0] = x[0] + c * x[1]
    g[1] = 3 * x[1] + c * x[0]


def wrong_gradient(x, g):
    g[0] = x[0]
    g[1] = 3 * x[1]


def bowl(x):
    total = half_square(x[0])
    for i in range(1, len(x)):
        total = total + half_square(x[i])
    return total


def branching(x):
    return x[0] if x[0] > 0 else -x[0]


def summed(x):
    return np.sum(x * x)


def of_math(x):
    return math.sin(x[0])


NUMBER = 3.0


class Undecorated(NamedTuple):
    a: float = 1.0


@landscape(dimension=(2, 2), domain=((-1.0, 1.0), (-2.0, 2.0)), start=(0.5, 1.0))
class Tilted(NamedTuple):
    """A tilted bowl."""

    a: float = 2.0

    def value(p, x):
        return p.a * half_square(x[0]) + half_square(x[1]) + x[0]


@landscape(dimension=(1, 4))
class WronglyTilted(NamedTuple):
    def value(p, x):
        return half_square(x[0])

    def gradient(p, x, g):
        g[0] = 2 * x[0]
