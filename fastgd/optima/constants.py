"""Constants of an objective: smoothness, strong convexity, the largest row, and the noise of single rows' gradients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.optima.newton import MOST_EXACT
from fastgd.optima.objective import EPSILON, Objective

Array = NDArray[np.float64]
LANCZOS_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Constants:
    """Constants of an objective; None: there is none, or it is not known.

    Attributes
    ----------
    smoothness : float or None
        L, the largest curvature at any parameters: the least number with `|grad(a) - grad(b)| <= L |a - b|`, or a bound
        of it that the loss's largest curvature gives.
    smoothness_error : float
        How far L may be from the largest eigenvalue that it is made of, where that was found by Lanczos's method.
    strong_convexity : float
        mu, the least curvature at any parameters in the directions in which the objective changes; 0 where the
        curvature falls to nothing far out.
    local_smoothness, local_strong_convexity : float or None
        The largest and the least eigenvalue of the Hessian at the minimum, the latter in the same directions.
    row_norm : float
        The largest norm of a row, with the intercept's 1.
    noise : float
        The mean squared distance of single rows' gradients from their mean at the minimum.
    how : str
        "eigenvalues", or "Lanczos".
    """

    smoothness: float | None
    smoothness_error: float
    strong_convexity: float
    local_smoothness: float | None
    local_strong_convexity: float | None
    row_norm: float
    noise: float
    how: str


def constants(objective: Objective, theta: Array) -> Constants:
    """Return the constants of an objective whose minimum is at theta."""
    z = objective.margins(theta)
    exact = objective.size <= MOST_EXACT
    largest, error = _largest(objective)
    steepest = objective.convex.steepest
    smoothness = steepest * largest if np.isfinite(steepest) else None
    local: tuple[float | None, float | None] = (None, None)
    if objective.convex.smooth:
        local = _local(objective, z) if exact else (_lanczos(objective.product(z), objective.size)[0], None)
    squared = objective.convex.loss.name == "squared"
    bare = 0.0 if objective.intercept else objective.l2
    return Constants(
        smoothness=smoothness,
        smoothness_error=steepest * error if smoothness is not None else 0.0,
        strong_convexity=local[1] if squared and local[1] is not None else bare,
        local_smoothness=local[0],
        local_strong_convexity=local[1],
        row_norm=float(objective.row_norms.max()),
        noise=_noise(objective, z),
        how="eigenvalues" if exact else "Lanczos",
    )


def _largest(objective: Objective) -> tuple[float, float]:
    """Return the largest eigenvalue of the Gram matrix, with the penalty in units of the loss's largest curvature.

    The curvature of softmax is at most that of `I/2` in any direction (Boehning, 1992, https://doi.org/10.1007/BF00048682).
    """
    steepest = objective.convex.steepest
    penalty = objective.penalty[:: objective.outputs] / (steepest if np.isfinite(steepest) else 1.0)
    if objective.columns <= MOST_EXACT:
        gram = objective.squares()
        gram[np.diag_indices(len(gram))] += penalty
        return float(np.linalg.eigvalsh(gram)[-1]), 0.0
    X = objective.X

    def times(v: Array) -> Array:
        own = np.asarray(v, dtype=np.float64).ravel()
        m = objective.weighed(X @ own[: objective.d] + (own[objective.d] if objective.intercept else 0.0))
        back = [X.T @ m, *([[m.sum()]] if objective.intercept else [])]
        return np.asarray(np.concatenate(back) / objective.n + penalty * own)

    return _lanczos(times, objective.columns)


def _lanczos(times: Any, size: int) -> tuple[float, float]:
    """Return the largest eigenvalue of an operator by Lanczos's method, and the norm of its residual, its error."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    operator = LinearOperator((size, size), matvec=times, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(size)  # the same for each run
    values, vectors = eigsh(operator, k=1, which="LA", tol=LANCZOS_TOLERANCE, v0=start, maxiter=100 * size)
    vector = vectors[:, 0]
    return float(values[0]), float(np.linalg.norm(times(vector) - values[0] * vector))


def _local(objective: Objective, z: Array) -> tuple[float, float | None]:
    """Return the largest and the least eigenvalue of the Hessian at margins z, on the range of the rows."""
    scale, scaled = objective.range
    H = objective.hessian(z)
    if scaled.shape[1] == objective.size:
        values = np.linalg.eigvalsh(H)
    elif not scaled.shape[1]:
        return 0.0, None
    else:
        basis, _ = np.linalg.qr(scaled * scale[:, None])  # the range in the parameters' own units
        values = np.linalg.eigvalsh(basis.T @ H @ basis)
    least = float(values[0])
    return float(values[-1]), least if least > 16 * EPSILON * len(values) * values[-1] else None


def _noise(objective: Objective, z: Array) -> float:
    """Return `1/n sum |g_i|^2 - |mean g_i|^2` of the rows' gradients, with their weights, without the penalty."""
    u = objective.convex.derivatives(z, objective.y)
    squares = np.square(objective.weighed(u)).reshape(objective.n, -1).sum(axis=1) * np.square(objective.row_norms)
    mean = objective.transposed(u)
    return max(0.0, float(np.mean(squares) - mean @ mean))
