"""Planes through the end point of a trained model: their directions, their grids, and what is projected on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.engine.network.starts import normal_start
from fastgd.engine.rows.order import stream_key
from fastgd.engine.tiles import Group

Array = npt.NDArray[np.float64]
SPANS = {"random": 1.0, "pca": 0.25, "between": 0.5}  # how far a grid goes, where nothing else is asked for
DIRECTIONS = tuple(SPANS)
FEWEST_POINTS, MOST_POINTS = 3, 2001  # along an axis
SMALLEST_SPAN, LARGEST_SPAN = 1e-6, 1e6  # what can be drawn
PARALLEL = 1e-10  # the sine between two directions, squared, below which they count as one


@dataclass(frozen=True)
class Plane:
    """A plane, or a line.

    Attributes
    ----------
    origin : ndarray (parameters,)
    directions : ndarray (2, parameters) or (1, parameters)
        They need not be orthogonal.
    """

    origin: Array
    directions: Array

    @classmethod
    def through(cls, origin: Array, directions: Sequence[Array]) -> "Plane":
        """Return the plane of two directions, or the line of one, to which a second one that is parallel adds nothing.

        Raises
        ------
        InputError
            The first direction is zero, or too long for a number.
        """
        first, others = directions[0], directions[1:]
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(first))
        if not 0 < length < np.inf:
            raise InputError(f"there is no direction to go along: its length is {length:g}")
        kept = [other for other in others if _apart(first, other) > PARALLEL]
        return cls(origin, np.stack([first, *kept]))

    def points(self, places: Array) -> Array:
        """Return the points (k, parameters) at places (k, 1 or 2), each the same whatever others there are."""
        found = np.repeat(self.origin[None], len(places), axis=0)
        for along, direction in zip(places.T, self.directions, strict=True):
            found += along[:, None] * direction
        return found

    def projected(self, points: Array) -> tuple[Array, Array]:
        """Return the places (2, k) of the nearest points of the plane, y = 0 on a line, and the distances (k,)."""
        places, distances = np.zeros((2, len(points))), np.zeros(len(points))
        used = len(self.directions)
        gram = self.directions @ self.directions.T
        for number, point in enumerate(points):  # one by one: no copy of all of them is made
            way = point - self.origin
            places[:used, number] = np.linalg.solve(gram, self.directions @ way)
            distances[number] = np.linalg.norm(way - places[:used, number] @ self.directions)
        return places, distances


def _apart(one: Array, other: Array) -> float:
    """Return the squared sine of the angle between two directions; 0 where one of them is zero."""
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    if not all(lengths):
        return 0.0
    a, b = one / lengths[0], other / lengths[1]
    return float(np.square(b - (a @ b) * a).sum())


# --- directions -------------------------------------------------------------------------------------------------------


def random_directions(groups: Sequence[Group], end: Array, seed: int) -> list[Array]:
    """Return two random directions (parameters,), normalised filter by filter [1]_.

    Numbers are normal. Those of the weights into a unit are scaled to the norm of these weights, so that a step of 1
    is as long as the weights, whatever scale the layers have: networks of the same function look alike. Biases stay.

    Parameters
    ----------
    groups : sequence of Group
        A model's parameters; weights (inputs, outputs) are those that are penalised.
    end : ndarray (parameters,)
    seed : int

    References
    ----------
    .. [1] H. Li, Z. Xu, G. Taylor, C. Studer & T. Goldstein, "Visualizing the loss landscape of neural nets", NeurIPS
       2018, https://arxiv.org/abs/1712.09913, section 4.
    """
    return [_random(groups, end, stream_key(seed, "surface", number)) for number in (1, 2)]


def _random(groups: Sequence[Group], end: Array, key: int) -> Array:
    direction, bounds = normal_start(key, len(end)), np.cumsum([0, *(group.size for group in groups)])
    for group, (first, last) in zip(groups, pairwise(bounds), strict=True):
        if not group.penalised:
            direction[first:last] = 0.0
            continue
        drawn, trained = (part[first:last].reshape(group.shape[0], -1) for part in (direction, end))
        drawn *= np.linalg.norm(trained, axis=0) / np.linalg.norm(drawn, axis=0)
    return direction


def main_directions(points: Array, end: Array) -> tuple[list[Array], list[float]]:
    """Return the main directions of the way to an end point: unit vectors, and the share of each.

    They are those of a principal component analysis of the differences from the end point [1]_, not from their mean:
    no other plane through the end point has less of the sum of squared distances outside. Shares are of that sum.

    Parameters
    ----------
    points : ndarray (k, parameters)
    end : ndarray (parameters,)

    Returns
    -------
    directions : list of ndarray (parameters,)
        The first two; one, where all points are on a line; none, where all are at the end.
    shares : list of float

    References
    ----------
    .. [1] Li et al. (2018), section 7.2; see `random_directions`.
    """
    ways = points - end
    scale = float(np.abs(ways).max(initial=0.0)) or 1.0
    ways /= scale  # whose squares neither overflow nor vanish
    squares, vectors = np.linalg.eigh(ways @ ways.T)  # few points, many parameters: the small one of both products
    total, found = float(squares.sum()), []
    for place in (-1, -2)[: len(squares)]:
        direction = vectors[:, place] @ ways
        if squares[place] > PARALLEL * total and (length := float(np.linalg.norm(direction))) > 0:
            largest = direction[np.abs(direction).argmax()]
            found.append(direction * (np.sign(largest) / length))  # a sign that no library chooses
    return found, [float(square / total) for square in squares[::-1][: len(found)]]


def plane_of_three(first: Array, second: Array, third: Array) -> list[Array]:
    """Return two orthogonal unit vectors in the plane of three points, the first from `first` to `second`.

    There is only one where all three are on a line.
    """
    one, other = second - first, third - first
    unit = one / (np.linalg.norm(one) or 1.0)
    if _apart(one, other) <= PARALLEL:
        return [unit]
    other = other - (other @ unit) * unit
    return [unit, other / np.linalg.norm(other)]


# --- grids ------------------------------------------------------------------------------------------------------------


def axis_through_zero(low: float, high: float, points: int) -> Array:
    """Return an axis of some points, or one more, over a range that includes 0: 0 is one of them."""
    step = (high - low) / (points - 1)
    first, last = (int(turn(end / step - tiny)) for turn, end, tiny in ((np.floor, low, -1e-9), (np.ceil, high, 1e-9)))
    return np.asarray(step * np.arange(first, last + 1), np.float64)


def axis_through_ends(span: float, points: int) -> Array:
    """Return an axis of about so many points from -span to 1 + span: 0 and 1 are two of them."""
    between = max(1, round((points - 1) / (1 + 2 * span)))
    beyond = int(np.ceil(span * between - 1e-9))
    return np.asarray(np.arange(-beyond, between + beyond + 1) / between, np.float64)


def range_of(places: Array, span: float) -> tuple[float, float]:
    """Return the range of some coordinates and of 0, with room of a share of it at either side."""
    low, high = float(min(0.0, places.min())), float(max(0.0, places.max()))
    room = span * (high - low) or 1.0  # where all are at 0
    return low - room, high + room
