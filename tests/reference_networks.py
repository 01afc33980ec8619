"""A readable reference of networks: one network, forward and back through its layers, in plain NumPy."""

from itertools import pairwise

import numpy as np
from reference import LOSSES
from scipy.special import erf, expit

ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
    "gelu": (
        lambda z: z * (1 + erf(z / 2**0.5)) / 2,
        lambda z: (1 + erf(z / 2**0.5)) / 2 + z * np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5,
    ),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
    "identity": (lambda z: z, np.ones_like),
}


def layers_of(w, widths, bias=True):
    """The weights (inputs, outputs) and biases (outputs,) of each layer, which stand in w one after another."""
    layers, at = [], 0
    for inputs, outputs in pairwise(widths):
        W = w[at : at + inputs * outputs].reshape(inputs, outputs)
        at += W.size
        b = w[at : at + outputs] if bias else np.zeros(outputs)
        at += outputs * bias
        layers.append((W, b))
    assert at == len(w)
    return layers


def forward(layers, X, activation):
    """The units of every layer, the rows first, and the sums that they are taken of."""
    units, sums = [X], []
    for W, b in layers:
        sums.append(units[-1] @ W + b)
        units.append(ACTIVATIONS[activation][0](sums[-1]))
    return units, sums


def objective(w, X, y, widths, activation, *, loss, l2=0.0, bias=True):
    layers = layers_of(w, widths, bias)
    outputs = forward(layers, X, activation)[1][-1]
    penalty = sum(np.sum(W**2) for W, _ in layers)
    return LOSSES[loss][0](outputs, y.reshape(outputs.shape)).mean() + l2 / 2 * penalty


def gradient(w, X, y, widths, activation, *, loss, l2=0.0, bias=True):
    layers = layers_of(w, widths, bias)
    units, sums = forward(layers, X, activation)
    deltas, found = LOSSES[loss][1](sums[-1], y.reshape(sums[-1].shape)) / sums[-1].size, []
    for k in reversed(range(len(layers))):
        W, _ = layers[k]
        found = [units[k].T @ deltas + l2 * W, *([deltas.sum(axis=0)] if bias else []), *found]
        if k:
            deltas = (deltas @ W.T) * ACTIVATIONS[activation][1](sums[k - 1])
    return np.concatenate([part.ravel() for part in found])
