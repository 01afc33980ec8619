"""JAX: one compiled `lax.scan` over the batches, with the lanes either under `vmap` or as rows of one matrix."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.job import Data, Job
from benchmarks.peers.worker import Forms, Outcome

GATHERED_BATCHES = 16  # shuffled rows are copied that many batches at a time: the copy stays in cache

Carry = tuple[jax.Array, jax.Array]
Step = Callable[[Any, float, Carry, Any], tuple[Carry, None]]


def lane_step(lr: Any, momentum: float, carry: Carry, batch: Carry) -> tuple[Carry, None]:
    """Advance one lane: w and u are (d,)."""
    (w, u), (x, y) = carry, batch
    u = momentum * u + x.T @ (jax.nn.sigmoid(x @ w) - y) / len(x)
    return (w - lr * u, u), None


def matrix_step(lr: Any, momentum: float, carry: Carry, batch: Carry) -> tuple[Carry, None]:
    """Advance all lanes: W and U are (G, d), which XLA multiplies faster than their transposes."""
    (W, U), (x, y) = carry, batch
    U = momentum * U + (jax.nn.sigmoid(W @ x.T) - y) @ x / len(x)
    return (W - lr[:, None] * U, U), None


def epoch(step: Step, momentum: float, W: Any, U: Any, lr: Any, stacks: list[Any], rows: Any) -> Carry:
    """Scan stacks of batches (m, b, ...) in turn, or stacks of row indices (m, c, b) where `rows` is the data."""
    advance = partial(step, lr, momentum)

    def gathered(carry: Carry, index: Any) -> tuple[Carry, None]:
        X, y = rows
        return jax.lax.scan(advance, carry, (X[index], y[index]))

    carry = (W, U)
    for stack in stacks:
        carry, _ = jax.lax.scan(gathered if rows else advance, carry, stack)
    return carry


def stacked(A: Any, b: int) -> list[Any]:
    """Return A (n, ...) as batches (m, b, ...), and what is left as one (1, n - m b, ...)."""
    whole = len(A) // b * b
    parts = A[:whole].reshape(-1, b, *A.shape[1:]), A[None, whole:]
    return [part for part in parts if part.size]


def make_epochs(job: Job, data: Data) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return, by form, functions from learning rates (g,) to parameters (g, d); the data goes to JAX once."""
    jax.config.update("jax_enable_x64", job.dtype == "float64")
    b = job.batch_size
    if data.order is None:
        rows, batches = None, list(zip(stacked(data.X, b), stacked(data.y, b), strict=True))
    else:
        rows, order = (data.X, data.y), data.order
        batches = [stack for part in stacked(order, b) for stack in stacked(part, GATHERED_BATCHES)]
    inputs = jax.tree.map(jnp.asarray, (batches, rows))

    over_lanes = (0, 0, 0, None, None)
    plain, matrix = (partial(epoch, step, job.momentum) for step in (lane_step, matrix_step))
    compiled = {
        name: jax.jit(form, donate_argnums=(0, 1))
        for name, form in {"scan": plain, "vmap": jax.vmap(plain, over_lanes), "matrix": matrix}.items()
    }

    def run(form: str, lr: np.ndarray) -> np.ndarray:
        shape = job.d if form == "scan" else (len(lr), job.d)
        W, U = jnp.zeros(shape, job.dtype), jnp.zeros(shape, job.dtype)
        rates = jnp.asarray(lr[0] if form == "scan" else lr, job.dtype)
        return np.atleast_2d(compiled[form](W, U, rates, *inputs)[0])

    names = ["scan", "matrix"] if job.lanes == 1 else ["vmap", "matrix"]
    return {name: partial(run, name) for name in names}


def forms(job: Job, data: Data) -> Forms:
    def whole(run: Callable[[np.ndarray], np.ndarray]) -> Outcome:
        return Outcome(run(job.rates).T.astype(float), np.arange(job.lanes))

    return {name: partial(whole, run) for name, run in make_epochs(job, data).items()}
