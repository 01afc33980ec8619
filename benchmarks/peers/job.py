"""What every contender is asked to do: the job, its data, and a readable reference that says where it must arrive."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cohorts import SEED
from fastgd.engine.rows.order import shuffle

Array = NDArray[np.float64]
EVALUATION_ROWS = 4096


@dataclass(frozen=True)
class Job:
    """One epoch of logistic regression by mini-batches with momentum, at G learning rates.

    With u = w = 0 at the start, each batch of b rows does `u = momentum u + g; w -= lr u`, where g is the mean gradient
    over the batch. The last, smaller batch is used.
    """

    n: int
    d: int
    batch_size: int
    lanes: int
    dtype: str
    order: str
    momentum: float = 0.9

    @property
    def name(self) -> str:
        """Return the job's name in DESIGN's terms."""
        return "dense single" if self.lanes == 1 else "dense grid"

    @property
    def flops(self) -> float:
        """Return the operations of the products alone: margins and gradient, two for each multiply-add."""
        return 4.0 * self.n * self.d * self.lanes

    @property
    def rates(self) -> Array:
        """Return the (G,) learning rates: three decades, stable at any d (|x|^2 grows with d) and b."""
        decades = np.zeros(1) if self.lanes == 1 else np.linspace(-3, 0, self.lanes)
        return min(10.0, self.batch_size / 2) * 10**decades / self.d


@dataclass(frozen=True)
class Data:
    """The rows as a contender gets them: X (n, d) and y (n,) in the job's dtype, and the row order (n,) or None."""

    X: NDArray[np.floating]
    y: NDArray[np.floating]
    order: NDArray[np.int32] | None


def write_data(folder: Path, job: Job) -> None:
    """Draw the rows for a job, and store them in a folder with the order in which fastgd shuffles them."""
    random = np.random.default_rng(0)
    X = random.standard_normal((job.n, job.d))
    margins = X @ random.standard_normal(job.d) * (2 / np.sqrt(job.d))
    np.save(folder / "y.npy", (random.random(job.n) < 1 / (1 + np.exp(-margins))).astype(job.dtype))
    np.save(folder / "X.npy", X.astype(job.dtype, copy=False))
    order = np.empty(job.n, np.int32)
    shuffle(order, SEED, epoch=0)
    np.save(folder / "order.npy", order)


def read_data(folder: Path, job: Job, mapped: bool = False) -> Data:
    """Return a job's data: a private copy in memory, where a user's data is too, or a view of the files."""
    X, y, order = (np.load(folder / f"{name}.npy", mmap_mode="r" if mapped else None) for name in ("X", "y", "order"))
    return Data(X, y, order if job.order == "shuffle" else None)


def reference(job: Job, data: Data) -> Array:
    """Return the (d, G) parameters after the epoch, in float64 and in plain NumPy."""
    W, U = np.zeros((2, job.d, job.lanes))
    for start in range(0, job.n, job.batch_size):
        batch = slice(start, start + job.batch_size)
        rows = batch if data.order is None else data.order[batch]
        x, y = data.X[rows].astype(float), data.y[rows, None].astype(float)
        U = job.momentum * U + x.T @ (1 / (1 + np.exp(-x @ W)) - y) / len(x)
        W -= job.rates * U
    return W


def training_loss(data: Data, W: Array) -> Array:
    """Return the (G,) mean logistic losses over all rows, in float64."""
    total = np.zeros(W.shape[1])
    for start in range(0, len(data.y), EVALUATION_ROWS):
        rows = slice(start, start + EVALUATION_ROWS)
        Z = data.X[rows].astype(float) @ W
        total += (np.logaddexp(0, Z) - Z * data.y[rows, None]).sum(axis=0)
    return total / len(data.y)
