"""The objective of a linear model in float64: values, gradients and Hessians, with bounds of their rounding errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.properties import cached_property
from fastgd.optima.convex_losses import ConvexLoss

Array = NDArray[np.float64]
BLOCK_VALUES = 1 << 19  # of rows that are made dense, weighted or squared together
EPSILON = float(np.finfo(np.float64).eps)


class Objective:
    """`F(w) = 1/n sum s_i f(x_i w + c, y_i) + l2/2 |w|^2`, where c is not penalised, with weights s of mean 1.

    Parameters
    ----------
    X : ndarray or csr_array (n, d) float64
    y : ndarray (n,) float64
    convex : ConvexLoss
    l2 : float
    intercept : bool
    outputs : int
        Margins of a row: the classes.
    weights : ndarray (n,) float64, optional
        Not negative, with mean 1; by default all are 1.

    Attributes
    ----------
    size : int
        Parameters, (d + intercept) x outputs in the order of the engine: a row of weights for each feature, then the
        intercepts.
    """

    def __init__(
        self,
        X: Any,
        y: Array,
        convex: ConvexLoss,
        l2: float,
        *,
        intercept: bool = False,
        outputs: int = 1,
        weights: Array | None = None,
    ) -> None:
        self.X, self.y, self.convex, self.l2 = X, y, convex, l2
        self.intercept, self.outputs, self.weights = intercept, outputs, weights
        self.n, self.d = X.shape
        self.columns = self.d + intercept
        self.size = self.columns * outputs

    @property
    def penalty(self) -> Array:
        """The penalty's second derivative by each parameter (size,)."""
        found = np.full((self.columns, self.outputs), self.l2)
        found[self.d :] = 0.0
        return found.ravel()

    @property
    def sparse(self) -> bool:
        """Whether the rows are."""
        return not isinstance(self.X, np.ndarray)

    def margins(self, theta: Array) -> Array:
        """Return the margins (n,), or (n, outputs) of classes."""
        W = theta.reshape(self.columns, self.outputs)
        z = self.X @ W[: self.d]
        if self.intercept:
            z = np.asarray(z + W[self.d])
        return np.asarray(z if self.outputs > 1 else z[:, 0])

    def with_loss(self, convex: ConvexLoss) -> "Objective":
        """Return the objective of another loss over the same rows."""
        how: dict[str, Any] = {"intercept": self.intercept, "outputs": self.outputs, "weights": self.weights}
        return Objective(self.X, self.y, convex, self.l2, **how)

    def weighed(self, of_rows: Array) -> Array:
        """Return numbers of rows (n, ...) times the rows' weights."""
        if self.weights is None:
            return of_rows
        return of_rows * self.weights.reshape(-1, *(1,) * (of_rows.ndim - 1))

    def mean(self, of_rows: Array) -> float:
        """Return the weighted mean of numbers of rows (n,)."""
        return float(np.mean(self.weighed(of_rows)))

    def transposed(self, u: Array) -> Array:
        """Return `1/n X' S u` with the intercept's row, (size,), of numbers in the shape of margins."""
        U = self.weighed(u).reshape(self.n, self.outputs)
        found = np.empty((self.columns, self.outputs))
        found[: self.d] = self.X.T @ U
        if self.intercept:
            found[self.d] = U.sum(axis=0)
        return np.asarray(found.ravel() / self.n)

    def value(self, theta: Array, z: Array | None = None) -> float:
        """Return the objective."""
        z = self.margins(theta) if z is None else z
        with np.errstate(over="ignore", invalid="ignore"):
            found = float(self.mean(self.convex.values(z, self.y)) + 0.5 * float(self.penalty @ np.square(theta)))
        return found if np.isfinite(found) else float("inf")

    def gradient(self, theta: Array, z: Array | None = None) -> Array:
        """Return the gradient (size,)."""
        z = self.margins(theta) if z is None else z
        u = self.convex.derivatives(z, self.y)
        return np.asarray(self.transposed(u) + self.penalty * theta)

    def product(self, z: Array) -> Callable[[Array], Array]:
        """Return the function that multiplies a vector (size,) by the Hessian at margins z."""
        weights, penalty = self.convex.curvature(z, self.y), self.penalty

        def times(v: Array) -> Array:
            m = self.margins(np.asarray(v, dtype=np.float64).ravel())
            own = weights * m
            if self.outputs > 1:
                own = own - weights * own.sum(axis=1, keepdims=True)
            return np.asarray(self.transposed(own) + penalty * np.asarray(v).ravel())

        return times

    def hessian(self, z: Array, weights: Array | None = None) -> Array:
        """Return the Hessian (size, size) at margins z; `weights` take the place of the curvatures of one output."""
        w = self.convex.curvature(z, self.y) if weights is None else weights
        H = self.squares(w) if self.outputs == 1 else self._of_classes(w)
        H[np.diag_indices(self.size)] += self.penalty
        return np.asarray(H)

    def _of_classes(self, p: Array) -> Array:
        """Return the Hessian of softmax without the penalty: of each row `(diag(p) - p p')` times `x x'`."""
        K, of_rows = self.outputs, self.weighed(np.ones(self.n))
        H = np.zeros((K, self.columns, self.columns * K))
        for part, rows in self.blocks():
            for k in range(K):
                own = -p[part, k, None] * p[part]
                own[:, k] = p[part, k] * np.delete(p[part], k, axis=1).sum(axis=1)  # p (1 - p), also where p is near 1
                own *= of_rows[part, None]
                H[k] += rows.T @ (rows[:, :, None] * own[:, None, :]).reshape(len(rows), -1)
        H = np.moveaxis(H, 0, 1).reshape(self.size, self.size) / self.n
        return np.asarray((H + H.T) / 2)

    def squares(self, weights: Array | float = 1.0) -> Array:
        """Return `1/n sum weights_i s_i x_i' x_i` (columns, columns), with the intercept's column of ones."""
        found = np.zeros((self.columns, self.columns))
        if self.weights is not None:
            weights = weights * self.weights
        for part, rows in self.blocks():
            found += rows.T @ (rows * (weights[part, None] if isinstance(weights, np.ndarray) else weights))
        return np.asarray(found / self.n)

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield dense blocks of rows with the intercept's column, and where they stand."""
        step = max(1, BLOCK_VALUES // self.columns)
        for at in range(0, self.n, step):
            rows = self.X[at : at + step]
            rows = rows.toarray() if self.sparse else rows
            yield slice(at, at + len(rows)), np.column_stack([rows, np.ones(len(rows))]) if self.intercept else rows

    def absolute(self) -> Any:
        """Return |X|."""
        return abs(self.X)

    @cached_property
    def row_norms(self) -> Array:
        """The norms (n,) of the rows, with the intercept's 1."""
        X = self.X
        squares = np.asarray(X.multiply(X).sum(axis=1)).ravel() if self.sparse else np.einsum("ij,ij->i", X, X)
        return np.asarray(np.sqrt(squares + self.intercept))

    @cached_property
    def range(self) -> tuple[Array, Array]:
        """The scale (size,) of the parameters, and a basis (size, rank) of the scaled directions in which F changes.

        The objective depends on no other direction, so that its minimum is one over this range. Directions count as
        constant where the scaled Gram matrix cannot be told from 0; softmax does not change where all classes' margins
        do.
        """
        gram, K = self.squares(), self.outputs
        if K > 1:  # the largest Hessian that softmax has, up to a factor
            gram = np.asarray(np.kron(gram, np.eye(K) - 1.0 / K), dtype=np.float64)
        gram[np.diag_indices(self.size)] += self.penalty
        scale = scale_of(gram)
        values, vectors = np.linalg.eigh(gram / scale[:, None] / scale)
        return scale, np.asarray(vectors[:, values > 16 * EPSILON * self.size * values[-1]])

    @property
    def entries(self) -> int:
        """The most entries of a row."""
        most = int(np.diff(self.X.indptr).max(initial=0)) if self.sparse else self.d
        return int(most + self.intercept)

    def rounding(self, theta: Array, epsilon: float = EPSILON) -> float:
        """Return how far a computed value may be from F(theta): sums of k numbers lose k eps of their absolute sum.

        The bound of Higham (2002), Accuracy and Stability of Numerical Algorithms, section 3.1, to first order: that of
        a row's product for its entries, and of sums over rows, which are taken pairwise or in blocks, for log2(n) + 8.
        """
        z = self.margins(theta)
        u = self.convex.derivatives(z, self.y)
        W = np.abs(theta.reshape(self.columns, self.outputs))
        largest = self.absolute() @ W[: self.d] + (W[self.d] if self.intercept else 0.0)
        of_margins = self.mean(np.sum(np.abs(u).reshape(self.n, -1) * largest, axis=1))
        of_values = self.mean(np.abs(self.convex.values(z, self.y))) + self._of_targets(z)
        penalty = 0.5 * float(self.penalty @ np.square(theta))
        sums = np.log2(self.n) + 8
        return float(epsilon * ((self.entries + sums) * of_margins + sums * (of_values + penalty)))

    def _of_targets(self, z: Array) -> float:
        """What is subtracted from another number in a value: the mean |y z|, which only poisson has."""
        return self.mean(np.abs(self.y * z)) if self.convex.loss.name == "poisson" else 0.0

    def gradient_rounding(self, z: Array, theta: Array) -> Array:
        """Return how far each entry of a computed gradient may be from the true one, to first order.

        Sums over rows lose sqrt(n) eps of their absolute sum but for a probability that vanishes (Higham and Mary,
        2019, https://doi.org/10.1137/18M1226312).
        """
        u = self.weighed(np.abs(self.convex.derivatives(z, self.y))).reshape(self.n, self.outputs)
        sums = np.empty((self.columns, self.outputs))
        sums[: self.d] = self.absolute().T @ u
        if self.intercept:
            sums[self.d] = u.sum(axis=0)
        factor = 4 * (np.sqrt(self.n) + 8) * EPSILON
        return np.asarray(factor * (sums.ravel() / self.n + self.penalty * np.abs(theta)))


def scale_of(H: Array) -> Array:
    """Return the roots of a diagonal, and 1 where that is 0: divided by these on both sides, it is ones."""
    diagonal = np.sqrt(np.maximum(np.diag(H), 0.0))
    return np.where(diagonal > 0, diagonal, 1.0)
