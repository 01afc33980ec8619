"""The objective of a linear model in float64: values, gradients and Hessians, with bounds of their rounding errors."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.common.properties import cached_property
from fastgd.optima.convex_losses import ConvexLoss

Array = NDArray[np.float64]
BLOCK_VALUES = 1 << 20  # of rows that are made dense, weighted or squared together
EPSILON = float(np.finfo(np.float64).eps)


class Objective:
    """`F(w) = 1/n sum f(x_i w + c, y_i) + l2/2 |w|^2`, where c is not penalised.

    Parameters
    ----------
    X : ndarray or csr_array (n, d) float64
    y : ndarray (n,) float64
    convex : ConvexLoss
    l2 : float
    intercept : bool
    outputs : int
        Margins of a row: the classes.

    Attributes
    ----------
    size : int
        Parameters, (d + intercept) x outputs in the order of the engine: a row of weights for each feature, then the
        intercepts.
    """

    def __init__(
        self, X: Any, y: Array, convex: ConvexLoss, l2: float, *, intercept: bool = False, outputs: int = 1
    ) -> None:
        self.X, self.y, self.convex, self.l2 = X, y, convex, l2
        self.intercept, self.outputs = intercept, outputs
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

    def transposed(self, u: Array) -> Array:
        """Return `X' u` with the intercept's row, (size,), of numbers in the shape of margins."""
        U = u.reshape(self.n, self.outputs)
        found = np.empty((self.columns, self.outputs))
        found[: self.d] = self.X.T @ U
        if self.intercept:
            found[self.d] = U.sum(axis=0)
        return found.ravel()

    def value(self, theta: Array, z: Array | None = None) -> float:
        """Return the objective."""
        z = self.margins(theta) if z is None else z
        with np.errstate(over="ignore", invalid="ignore"):
            found = float(np.mean(self.convex.values(z, self.y)) + 0.5 * float(self.penalty @ np.square(theta)))
        return found if np.isfinite(found) else float("inf")

    def gradient(self, theta: Array, z: Array | None = None) -> Array:
        """Return the gradient (size,)."""
        z = self.margins(theta) if z is None else z
        u = self.convex.derivatives(z, self.y)
        return np.asarray(self.transposed(u) / self.n + self.penalty * theta)

    def product(self, z: Array) -> Callable[[Array], Array]:
        """Return the function that multiplies a vector (size,) by the Hessian at margins z."""
        weights, penalty = self.convex.curvature(z, self.y), self.penalty

        def times(v: Array) -> Array:
            m = self.margins(np.asarray(v, dtype=np.float64).ravel())
            own = weights * m
            if self.outputs > 1:
                own = own - weights * own.sum(axis=1, keepdims=True)
            return np.asarray(self.transposed(own) / self.n + penalty * np.asarray(v).ravel())

        return times

    def hessian(self, z: Array, weights: Array | None = None) -> Array:
        """Return the Hessian (size, size) at margins z; `weights` take the place of the curvatures of one output."""
        w = self.convex.curvature(z, self.y) if weights is None else weights
        if self.outputs == 1:
            H = self.squares(w)
        else:
            K = self.outputs
            blocks = np.empty((self.columns, K, self.columns, K))
            for k in range(K):
                for other in range(k + 1):
                    own = w[:, k] * ((k == other) - w[:, other])
                    blocks[:, k, :, other] = blocks[:, other, :, k] = self.squares(own)
            H = blocks.reshape(self.size, self.size)
        H[np.diag_indices(self.size)] += self.penalty
        return np.asarray(H)

    def squares(self, weights: Array | float = 1.0) -> Array:
        """Return `1/n sum weights_i x_i' x_i` (columns, columns), with the intercept's column of ones."""
        found = np.zeros((self.columns, self.columns))
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
        of_margins = float(np.mean(np.sum(np.abs(u).reshape(self.n, -1) * largest, axis=1)))
        of_values = float(np.mean(np.abs(self.convex.values(z, self.y)))) + self._of_targets(z)
        penalty = 0.5 * float(self.penalty @ np.square(theta))
        sums = np.log2(self.n) + 8
        return float(epsilon * ((self.entries + sums) * of_margins + sums * (of_values + penalty)))

    def _of_targets(self, z: Array) -> float:
        """What is subtracted from another number in a value: the mean |y z|, which only poisson has."""
        return float(np.mean(np.abs(self.y * z))) if self.convex.loss.name == "poisson" else 0.0

    def gradient_rounding(self, z: Array, theta: Array) -> Array:
        """Return how far each entry of a computed gradient may be from the true one, to first order.

        Sums over rows lose sqrt(n) eps of their absolute sum but for a probability that vanishes (Higham and Mary,
        2019, https://doi.org/10.1137/18M1226312).
        """
        u = np.abs(self.convex.derivatives(z, self.y)).reshape(self.n, self.outputs)
        sums = np.empty((self.columns, self.outputs))
        sums[: self.d] = self.absolute().T @ u
        if self.intercept:
            sums[self.d] = u.sum(axis=0)
        factor = 4 * (np.sqrt(self.n) + 8) * EPSILON
        return np.asarray(factor * (sums.ravel() / self.n + self.penalty * np.abs(theta)))
