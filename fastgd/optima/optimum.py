"""Solves a convex problem: the minimum, the bound of its error, and the constants of the objective."""

import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fastgd.optima.certificates import certified, says_enough
from fastgd.optima.constants import Constants, constants
from fastgd.optima.convex_losses import CONVEX
from fastgd.optima.kinks import hinge, huber
from fastgd.optima.newton import newton
from fastgd.optima.objective import Objective

Array = NDArray[np.float64]


class Problem(NamedTuple):
    """A convex problem.

    Attributes
    ----------
    X : ndarray or csr_array (n, d)
        In any type of float: it is solved in float64.
    y : ndarray (n,), or (n, targets)
    loss : str
        A name of `CONVEX`.
    l2 : float
    intercept : bool
    outputs : int
        Classes, or targets.
    weights : ndarray (n,), optional
        Of the rows: not negative, with mean 1; by default all are 1.
    """

    X: Any
    y: Any
    loss: str
    l2: float = 0.0
    intercept: bool = False
    outputs: int = 1
    weights: Any = None


@dataclass(frozen=True)
class Optimum:
    """The minimum of a problem, as far as it was found.

    Attributes
    ----------
    theta : ndarray (parameters,)
        The minimiser, in the engine's order: a row of weights for each feature, then the intercepts.
    value : float
        The objective there.
    bound : float or None
        `value` is at most so much above the minimum, rounding apart; None: nothing bounds it.
    rounding : float
        How far `value` may be from the objective at theta.
    basis : str
        What the bound rests on, or why there is none.
    method : str
        What solved it.
    steps : int
    seconds : float
        All that it took.
    constants : Constants
    """

    theta: Array
    value: float
    bound: float | None
    rounding: float
    basis: str
    method: str
    steps: int
    seconds: float
    constants: Constants


def solve(problem: Problem) -> Optimum:
    """Solve a convex problem in float64, by Newton's method, of the hinge loss by interior points.

    With several targets, whose loss is the mean over them, each is a problem of its own with `l2` times as many.

    Parameters
    ----------
    problem : Problem
    """
    # threads of the BLAS wait for each other by spinning, which other work on the machine makes very slow
    with threadpool_limits(1):
        return _solve(problem)


def _solve(problem: Problem) -> Optimum:
    start = time.perf_counter()
    X = _float64(problem.X)
    y = np.asarray(problem.y, dtype=np.float64)
    if y.ndim == 1:
        found = _solved(Objective(X, y, CONVEX[problem.loss], problem.l2, outputs=problem.outputs, **_how(problem)))
    else:
        l2 = problem.l2 * y.shape[1]
        own = _how(problem)
        columns = [np.ascontiguousarray(column) for column in y.T]
        found = _mean([_solved(Objective(X, column, CONVEX[problem.loss], l2, **own)) for column in columns])
    return replace(found, seconds=time.perf_counter() - start)


def _float64(X: Any) -> Any:
    """Return rows in float64; of sparse ones, places of one integer type, since SciPy's operations refuse two."""
    if isinstance(X, np.ndarray):
        return X.astype(np.float64, copy=False)
    from scipy.sparse import csr_array

    index = np.int32 if max(X.nnz, *X.shape) < np.iinfo(np.int32).max else np.int64
    places = (each.astype(index, copy=False) for each in (X.indices, X.indptr))
    return csr_array((X.data.astype(np.float64, copy=False), *places), shape=X.shape)


def _how(problem: Problem) -> dict[str, Any]:
    if problem.weights is None:
        return {"intercept": problem.intercept}
    weights = np.asarray(problem.weights, dtype=np.float64)
    return {"intercept": problem.intercept, "weights": weights / weights.mean()}  # float32 has rounded them


def _solved(objective: Objective) -> Optimum:
    zeros, u = np.zeros(objective.size), None
    if objective.convex.smooth:
        theta, steps, method = (huber if objective.convex.loss.name == "huber" else newton)(objective, zeros)
    else:
        theta, u, steps, method = hinge(objective, zeros)
    certificate = certified(objective, theta, u)
    bound, basis = (None, _why_none(objective)) if certificate is None else certificate
    if bound is not None and not says_enough(objective, theta, bound):
        bound, basis = None, f"{basis}: no more than {bound:.2g}, which says too little"
    return Optimum(
        theta=theta,
        value=objective.value(theta),
        bound=bound,
        rounding=objective.rounding(theta),
        basis=basis,
        method=method,
        steps=steps,
        seconds=0.0,
        constants=constants(objective, theta),
    )


def _why_none(objective: Objective) -> str:
    """Say why there is no bound."""
    if objective.l2 > 0:
        return "the solve did not come near enough to a minimum"
    if objective.convex.attained:
        return "without l2 nothing bounds this loss here"
    return "without l2 nothing bounds it: the rows may be separable, or the curvature too small to tell"


def _mean(found: list[Optimum]) -> Optimum:
    """Return the minimum of the mean of problems with parameters of their own."""
    K, first = len(found), found[0]
    bounds = [each.bound for each in found]
    known = [bound for bound in bounds if bound is not None]
    unbounded = [each for each in found if each.bound is None]
    return Optimum(
        theta=np.column_stack([each.theta for each in found]).ravel(),
        value=float(np.mean([each.value for each in found])),
        bound=float(np.mean(known)) if len(known) == K else None,
        rounding=float(np.mean([each.rounding for each in found])),
        basis=(unbounded or found)[0].basis,
        method=f"{first.method}, each target by itself",
        steps=max(each.steps for each in found),
        seconds=0.0,
        constants=_of_all([each.constants for each in found]),
    )


def _of_all(found: list[Constants]) -> Constants:
    """Return the constants of the mean of objectives with parameters of their own."""
    K, first = len(found), found[0]

    def end(name: str, of: Any) -> float | None:
        values = [getattr(each, name) for each in found]
        return None if None in values else float(of(values)) / K

    return Constants(
        smoothness=end("smoothness", max),
        smoothness_error=end("smoothness_error", max) or 0.0,
        strong_convexity=end("strong_convexity", min) or 0.0,
        local_smoothness=end("local_smoothness", max),
        local_strong_convexity=end("local_strong_convexity", min),
        row_norm=first.row_norm,
        noise=sum(each.noise for each in found) / K**2,
        how=first.how,
    )
