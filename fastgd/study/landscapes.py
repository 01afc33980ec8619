"""The tables of studies on landscapes: `[problem]` with a landscape, and `[starts]`."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, model_serializer, model_validator

from fastgd.common.errors import InputError
from fastgd.problems import Landscape, find_landscape
from fastgd.study.fields import Block, File, NonNegative, Own, Positive, Seed, Written, described
from fastgd.study.sub_tables import read_block
from fastgd.study.values import Each, failure, is_number

DIMENSION = 2  # of landscapes that have any number of coordinates
SAMPLES = 64  # points of the domain that decide a landscape's own scale
SAME = 1e-5  # of a landscape's own scale: values that differ by less are the same
NARROWEST, WIDEST = 1e-150, 1e150  # domains: the squares of their sizes must not overflow or underflow
MOST_STARTS = 1 << 26  # of a problem
MOST_MINIMA = 1_000  # that a study may give; the function is evaluated around each of them
AROUND = (1e-3, 1e-4, 1e-5)  # of the domain's size: distances from a minimum at which no value may be lower
Numbers = Annotated[Each[float], Written("a number, or one for each coordinate")]


def _pairs(value: Any) -> Any:
    """Return a domain as a list of pairs: one for all coordinates, or one for each."""
    pairs = [value] if isinstance(value, list) and value and not isinstance(value[0], list) else value
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) and pair[0] < pair[1]):
            raise failure("must be [low, high] with low < high, or one such pair for each coordinate", found=value)
    return pairs


Domain = Annotated[
    list[list[float]], BeforeValidator(_pairs), Written("`[low, high]`, or such a pair for each coordinate")
]


class LandscapeProblem(Block):
    """A landscape to be minimised."""

    name: str | None = described("Its name in the results.", None, otherwise="the landscape's")
    landscape: Annotated[str, Written('a name: `fastgd list landscapes`, or `"package.module:name"`')] = described(
        "The function of a point that is minimised."
    )
    dimension: int = described("How many coordinates it has.", otherwise="2, or the landscape's own number")
    noise: NonNegative = described(
        "The standard deviation of what is added to each partial derivative in each step, by the seed.", 0.0
    )
    tolerance: Positive = described("How far above the lowest value a trial counts as converged.", 1e-6)
    gradient: Annotated[str, Written('`"package.module:name"`')] | None = described(
        "The gradient of a function of your own.", None, otherwise="by differences"
    )
    domain: Domain | None = described(
        "What pictures show, and where starts are drawn.", None, otherwise="the landscape's own"
    )
    minima: Annotated[list[list[float]], Field(max_length=MOST_MINIMA), Written("a list of points")] | None = described(
        "The minima that you know of a function of your own.", None, otherwise="the landscape's own"
    )
    params: Annotated[dict[str, Any], Own("its own keys"), Written("a number, or a list")] = described(
        "Every number of the landscape, as [its section](landscapes.md#the-landscapes) names them.",
        {},
        otherwise="the landscape's",
    )

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        keys = ("name", "landscape", "dimension", "noise", "tolerance", "gradient", "domain", "minima")
        given = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        return given | self.params

    @property
    def record(self) -> Landscape:
        """The landscape."""
        return find_landscape(self.landscape, self.gradient)

    @property
    def label(self) -> str:
        """Its name in the results."""
        return self.name or self.landscape

    def instance(self) -> Any:
        """Return the landscape's parameters."""
        return self.record.instance(**self.params)

    def box(self) -> np.ndarray[Any, Any]:
        """Return the domain (d, 2)."""
        return self.record.box(self.dimension) if self.domain is None else np.resize(self.domain, (self.dimension, 2))

    def known_minima(self) -> np.ndarray[Any, Any]:
        """Return the known minima (k, d), the lowest first."""
        if self.minima is None:
            return self.record.minima(self.instance(), self.dimension)
        points = np.array(self.minima, np.float64)
        return points[np.argsort(self.values(points.T), kind="stable")]

    def values(self, points: Any) -> np.ndarray[Any, Any]:
        """Return the values at points (d, k)."""
        return self.record.values(self.instance(), points)

    def levels(self) -> tuple[float, float]:
        """Return the lowest value and the median at points that fill the domain evenly, or the highest if these agree.

        Their difference is the landscape's own scale, by which differences between values count as large or small.
        """
        found = self.values(_evenly(self.box()))
        found = found[np.isfinite(found)]
        if not len(found):
            return 0.0, 0.0
        low, middle = float(found.min()), float(np.median(found))
        return low, middle if middle > low else float(found.max())


def read_landscape(block: Mapping[str, Any]) -> LandscapeProblem:
    """Validate a problem's table that names a landscape, which has the common keys and the landscape's own."""
    name, gradient = block.get("landscape"), block.get("gradient")
    if not isinstance(name, str):
        raise failure("must be a string", "landscape", found=name)
    try:
        record = find_landscape(name, gradient if isinstance(gradient, str) else None)
    except InputError as error:
        raise failure(f": {error}", "gradient" if "gradient" in str(error)[:9] else "landscape") from None
    fields = LandscapeProblem.model_fields.items()
    common: dict[str, Any] = {key: (field.annotation, field) for key, field in fields if key != "params"}
    least, most = record.dimension
    common["dimension"] = (Annotated[int, Field(ge=least, le=most)], min(max(least, DIMENSION), most))
    own = {key: (Any, default) for key, default in record.parameters.items()}
    read = read_block(block, "problem", {**common, **own})
    params = {key: _listed(read.pop(key)) for key in own}
    try:
        record.instance(**params)
    except InputError as error:
        raise failure(f": {error}") from None
    problem = LandscapeProblem(**read, params=params)
    _check_points(problem)
    return problem


def _evenly(box: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return points (d, SAMPLES) that fill a box evenly: the additive sequence of the generalised golden ratio."""
    d, ratio = len(box), 2.0
    for _ in range(64):  # to the root of x^(d + 1) = x + 1
        ratio = (1 + ratio) ** (1 / (d + 1))
    steps = ratio ** -np.arange(1.0, d + 1)[:, None]
    share = (0.5 + steps * np.arange(1, SAMPLES + 1)) % 1
    return np.asarray(box[:, :1] + share * (box[:, 1:] - box[:, :1]))


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_points(problem: LandscapeProblem) -> None:
    d = problem.dimension
    for index, point in enumerate(problem.minima or []):
        if len(point) != d:
            raise failure(f"must have {d} coordinates", "minima", index, found=point)
    if problem.domain is not None and len(problem.domain) not in (1, d):
        raise failure(f"must be one pair [low, high], or {d} of them", "domain", found=problem.domain)
    with np.errstate(over="ignore"):
        diagonal = float(np.linalg.norm(np.diff(problem.box())))
    if not NARROWEST <= diagonal <= WIDEST:
        text = f"must have a diagonal from {NARROWEST:g} to {WIDEST:g}, by which distances are judged"
        raise failure(text, "domain", found=problem.domain)
    for index, point in enumerate(problem.minima or []):
        fault, steep = no_minimum(problem, np.array(point))
        if steep:
            raise failure(f"must be a minimum; {fault}", "minima", index, found=point)


def no_minimum(problem: LandscapeProblem, point: np.ndarray[Any, Any]) -> tuple[str, bool]:
    """Return why a point is no minimum, "" if it is one, and whether it is on a steep slope, far from any minimum.

    A slope is steep if it would lead through the landscape's own scale within the domain.
    """
    value = float(problem.values(point[:, None])[0])
    if not np.isfinite(value):
        return f"the value there is {value}", True
    around, values = _around(problem, point)
    best = int(np.argmin(values))
    box, (low, middle) = problem.box(), problem.levels()
    scale, size = middle - min(low, value), float(np.linalg.norm(box[:, 1] - box[:, 0]))
    if values[best] >= value - SAME * scale - 1e-12 * abs(value):
        return "", False
    lower = ", ".join(f"{number:.6g}" for number in around[:4, best])
    lower += ", ..." if len(point) > 4 else ""
    slopes = (value - values) / np.linalg.norm(around - point[:, None], axis=0).clip(1e-300)
    steep = bool(slopes.max() > scale / size)
    return f"the value there is {value:.6g}, and close by, at [{lower}], it is {values[best]:.6g}", steep


def _around(problem: LandscapeProblem, point: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """Return points (d, k) close to one, and their values (k,): along each coordinate and downhill.

    If the point is in the domain, they are too: a minimum at its edge need not be flat.
    """
    box, here = problem.box(), point[:, None]
    inside = bool(np.all((box[:, 0] <= point) & (point <= box[:, 1])))
    low, high = (box[:, :1], box[:, 1:]) if inside else (np.full_like(here, -np.inf), np.full_like(here, np.inf))
    found = []
    for share in AROUND:
        steps = share * np.diag(box[:, 1] - box[:, 0])
        up, down = np.clip(here + steps, low, high), np.clip(here - steps, low, high)
        with np.errstate(invalid="ignore", over="ignore"):
            falls = np.nan_to_num(problem.values(down) - problem.values(up), posinf=0.0, neginf=0.0)
        size = float(np.linalg.norm(falls)) or 1.0
        found += [up, down, np.clip(here + (steps @ falls / size)[:, None], low, high)]
    around = np.concatenate(found, axis=1)
    return around, np.nan_to_num(problem.values(around), nan=np.inf)


KINDS = ("points", "grid", "uniform", "normal", "sobol", "path")
ONLY_KIND = "no other kind of starts"
OF_BOX = "`grid`, `uniform`, `sobol`"
GridPoints = Annotated[Each[Annotated[int, Field(ge=2)]], Written("a whole number from 2, or one for each coordinate")]


Drawn = Annotated[int, Field(ge=1, le=MOST_STARTS)]


class Starts(Block):
    """Where the trials of a study on landscapes start, by at most one kind; without one, at the customary start."""

    points: Annotated[list[Numbers], Field(min_length=1), Written("a list of points")] | None = described(
        "The starts themselves.", None, goes_with=ONLY_KIND
    )
    grid: GridPoints | None = described(
        "Points along each coordinate of the box, its ends included.", None, goes_with=ONLY_KIND
    )
    uniform: Drawn | None = described("How many are drawn in the box.", None, goes_with=ONLY_KIND)
    normal: Drawn | None = described("How many are drawn around `center`.", None, goes_with=ONLY_KIND)
    sobol: Drawn | None = described(
        "How many are taken of Sobol's sequence in the box, scrambled.", None, goes_with=ONLY_KIND
    )
    path: File | None = described(
        "A .csv, .parquet, .arrow or .npy file with a row for each start.", None, goes_with=ONLY_KIND
    )
    low: Numbers | None = described("Where the box begins.", None, goes_with=OF_BOX, otherwise="the domain's")
    high: Numbers | None = described("Where the box ends.", None, goes_with=OF_BOX, otherwise="the domain's")
    center: Numbers | None = described(
        "The point around which they are drawn.", None, goes_with="`normal`", otherwise="the customary start"
    )
    scale: Positive = described("The standard deviation of what is drawn.", 1.0, goes_with="`normal`")
    seed: Seed = described("Of what is drawn.", 0, goes_with="`uniform`, `normal`, `sobol`")

    @property
    def kind(self) -> str | None:
        """The kind of starts that is given; None without one."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) > 1:
            raise failure(f"has {' and '.join(given)}; give one of them")
        boxed, drawn = ("grid", "uniform", "sobol"), ("uniform", "normal", "sobol")
        for key, kinds in {"low": boxed, "high": boxed, "center": ("normal",)}.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                raise failure(f"goes with {', '.join(kinds)}", key, found=getattr(self, key))
        if self.scale != 1 and self.normal is None:
            raise failure("goes with normal", "scale", found=self.scale)
        if "seed" in self.model_fields_set and self.seed and self.kind not in drawn:
            raise failure(f"goes with {', '.join(drawn)}", "seed", found=self.seed)
        return self


def start_count(starts: Starts | None, problem: LandscapeProblem) -> int:
    """Return how many starts a problem has; 1 if only a file tells their number."""
    if starts is None or starts.kind in (None, "path"):
        return 1
    if starts.grid is not None:
        return prod(np.resize(starts.grid, problem.dimension).tolist())
    return len(starts.points or ()) or starts.uniform or starts.normal or starts.sobol or 1


def _trajectories(value: Any) -> Any:
    if value in ("auto", "all") or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, list) and value and all(isinstance(item, int) and item >= 0 for item in value):
        return sorted(set(value))
    raise failure("must be 'auto', 'all', a number of starts, or a list of starts' numbers from 0", found=value)


Trajectories = Annotated[
    Any,
    AfterValidator(_trajectories),
    Written('`"auto"`, `"all"`, a whole number from 0, or a list of starts\' numbers from 0'),
]
