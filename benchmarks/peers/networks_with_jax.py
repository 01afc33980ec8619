"""JAX: the gradient of one network's loss by `grad`, a `lax.scan` over the batches, and `vmap` over the lanes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.networks import BETA1, BETA2, EPS, MOMENTUM, Array, NetworkJob
from benchmarks.peers.job import Data
from benchmarks.peers.networks import layers_of
from benchmarks.peers.with_jax import stacked
from benchmarks.peers.worker import Forms, Outcome


def mean_loss(job: NetworkJob, w: Any, x: Any, y: Any) -> Any:
    """Return the mean loss of one network on some rows."""
    *hidden, (W, b) = w
    for V, c in hidden:
        x = getattr(jax.nn, job.activation)(x @ V + c)
    z = x @ W + b
    if job.loss == "softmax":
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None].astype(int), axis=1))
    z = z[:, 0]
    return jnp.mean((z - y) ** 2 / 2 if job.loss == "squared" else jax.nn.softplus(z) - y * z)


def step(job: NetworkJob, lr: Any, carry: Any, batch: Any) -> tuple[Any, None]:
    """Take a step of one network: its parameters, two slots and the number of steps."""
    w, m, v, t = carry
    g, t, tree = jax.grad(partial(mean_loss, job))(w, *batch), t + 1, jax.tree.map
    if job.optimizer == "adam":
        m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        rate, root = lr / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        return (tree(lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + EPS), w, m, v), m, v, t), None
    if job.optimizer == "momentum":
        m = g = tree(lambda m, g: MOMENTUM * m + g, m, g)
    return (tree(lambda w, g: w - lr * g, w, g), m, v, t), None


def make_training(job: NetworkJob, data: Data) -> Callable[[Array], Array]:
    """Return a function from learning rates (g,) to parameters (P, g); the data goes to JAX once."""
    jax.config.update("jax_enable_x64", job.dtype == "float64")
    stacks = list(zip(*(map(jnp.asarray, stacked(A, job.batch_size)) for A in (data.X, data.y)), strict=True))
    start = jax.tree.map(jnp.asarray, layers_of(job.start, job.layers))

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None, None))
    def train(lr: Any, start: Any, stacks: Any) -> Any:
        def epoch(carry: Any, _: None) -> tuple[Any, None]:
            for stack in stacks:
                carry, _ = jax.lax.scan(partial(step, job, lr), carry, stack)
            return carry, None

        zeros = jax.tree.map(jnp.zeros_like, start)
        return jax.lax.scan(epoch, (start, zeros, zeros, jnp.zeros((), job.dtype)), length=job.epochs)[0][0]

    def run(rates: Array) -> Array:
        found = jax.tree.leaves(train(jnp.asarray(rates, job.dtype), start, stacks))
        return np.hstack([np.asarray(part, float).reshape(len(rates), -1) for part in found]).T

    return run


def forms(job: NetworkJob, data: Data) -> Forms:
    run = make_training(job, data)
    return {"vmap": lambda: Outcome(run(job.rates), np.arange(job.lanes))}
