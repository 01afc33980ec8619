"""Rules that look at each layer, on a network, against optax's over a tree of its layers."""

from functools import cache

import numpy as np
import pytest
import reference_networks
from cohorts import grid, problem, relative_error
from test_engine_networks import FEATURES, ROWS, make, network

jax = pytest.importorskip("jax", reason="the witnesses of these rules are optax's optimizers, which run on jax")
optax = pytest.importorskip("optax", reason="the witnesses of these rules are optax's optimizers")

jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

STEPS, B = 200, 50
X, Y = problem(ROWS, FEATURES, "logistic")
WITNESSES = {"lars": optax.lars, "lamb": optax.lamb, "novograd": optax.novograd}
ARGUMENTS = {"lr": "learning_rate", "beta1": "b1", "beta2": "b2"}


def of_layers(name, values, layers):
    """optax's optimizer for layers, each weights and biases, of which each is a leaf of the tree.

    Biases do not decay here. Not all of optax's optimizers have a mask for that: biases have an optimizer of their own.
    """
    values = {ARGUMENTS.get(key, key): value for key, value in values.items()}
    weights = WITNESSES[name](**values)
    biases = WITNESSES[name](**values | ({"weight_decay": 0.0} if "weight_decay" in values else {}))
    return optax.multi_transform({"weights": weights, "biases": biases}, [("weights", "biases")] * len(layers))


def objective(layers, X, y):
    units = X
    for W, b in layers[:-1]:
        units = jnp.tanh(units @ W + b)
    z = (units @ layers[-1][0] + layers[-1][1])[:, 0]
    return jnp.mean(jnp.logaddexp(0, z) - y * z)


@cache
def trained_by(name):
    """The function that trains layers, for hyper-parameters of several lanes, and gives those of each lane."""
    rows, targets = jnp.array(X).reshape(-1, B, FEATURES), jnp.array(Y).reshape(-1, B)

    def train(values, layers):
        optimizer = of_layers(name, values, layers)

        def step(state, batch):
            layers, inner = state
            gradient = jax.grad(objective)(layers, rows[batch], targets[batch])
            updates, inner = optimizer.update(gradient, inner, layers)
            return (optax.apply_updates(layers, updates), inner), None

        (layers, _), _ = jax.lax.scan(step, (layers, optimizer.init(layers)), jnp.arange(STEPS) % len(rows))
        return layers

    return jax.jit(jax.vmap(train, (0, None)))


@pytest.mark.parametrize("init", ["pytorch", "glorot"])  # with glorot, biases begin at zero, where trust ratios are 1
@pytest.mark.parametrize("name", WITNESSES)
def test_each_layer_is_a_leaf_of_optax(name, init):
    model, lanes = network((6, 3)), grid(name)[:2]  # the defaults, and other numbers
    cohort = make(X, Y, lanes, name, model=model, batch_size=B, shuffled=False, init=init)
    widths, start = model.widths(FEATURES), cohort.parameters()[0]
    layers = [tuple(map(jnp.array, layer)) for layer in reference_networks.layers_of(start, widths)]
    theirs = trained_by(name)({key: jnp.array([lane[key] for lane in lanes]) for key in lanes[0]}, layers)
    cohort.advance(STEPS)
    for lane, w in enumerate(cohort.parameters()):
        assert relative_error(w, start) > 1e-2, "it moved"
        for ours, leaves in zip(reference_networks.layers_of(w, widths), theirs, strict=True):
            for found, leaf in zip(ours, leaves, strict=True):
                assert relative_error(found, np.asarray(leaf)[lane]) < 1e-9
