"""Activations of a network's units: value and derivative, written once, for numbers, arrays and vectors of lanes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgd.common.registry import Registry
from fastgd.core.math import erf, exp, sigmoid

DEAD_SLOPE = 1e-3  # a unit whose derivative is no larger at any row learns from none: it is dead
LEAK = 0.01  # the slope of leaky_relu below zero
ROOT_2, TWO_OVER_ROOT_PI = 2.0**0.5, 2.0 / np.pi**0.5


@dataclass(frozen=True, repr=False)
class Activation:
    """The record of an activation.

    Attributes
    ----------
    name : str
        As in a study file.
    summary : str
        Its formula.
    value, derivative : callable
        `value(z)` and its derivative. Without branches on values: kernels call them on vectors of lanes. Where the
        derivative jumps, it is the one from the left, as in PyTorch.
    start : str
        The start of weights that suits it: see `engine.network.starts`.
    """

    name: str
    summary: str
    value: Callable[[Any], Any]
    derivative: Callable[[Any], Any]
    start: str

    def __repr__(self) -> str:
        """Its identity in a kernel's type: the same in every process."""
        return f"activation {self.name}"


ACTIVATIONS: Registry[Activation] = Registry("activation")


def _relu(z: Any) -> Any:
    return np.maximum(z, 0.0)


def _relu_derivative(z: Any) -> Any:
    return np.where(z > 0, z * 0 + 1, z * 0)


def _leaky_relu(z: Any) -> Any:
    return np.where(z > 0, z, LEAK * z)


def _leaky_relu_derivative(z: Any) -> Any:
    return np.where(z > 0, z * 0 + 1, z * 0 + LEAK)


def _tanh(z: Any) -> Any:
    return np.tanh(z)


def _tanh_derivative(z: Any) -> Any:
    a = np.tanh(z)
    return (1 - a) * (1 + a)


def _sigmoid_derivative(z: Any) -> Any:
    return sigmoid(z) * sigmoid(-z)


# z Phi(z) with the normal distribution Phi, exact: Hendrycks and Gimpel, Gaussian Error Linear Units (2016).
def _gelu(z: Any) -> Any:
    return 0.5 * z * (1 + erf(z / ROOT_2))


def _gelu_derivative(z: Any) -> Any:
    return 0.5 * (1 + erf(z / ROOT_2)) + z * exp(-0.5 * z * z) * (0.5 * TWO_OVER_ROOT_PI / ROOT_2)


def _silu(z: Any) -> Any:
    return z * sigmoid(z)


def _silu_derivative(z: Any) -> Any:
    s = sigmoid(z)
    return s + z * s * sigmoid(-z)


def _identity(z: Any) -> Any:
    return z


def _identity_derivative(z: Any) -> Any:
    return z * 0 + 1


for _activation in (
    Activation("relu", "max(0, z)", _relu, _relu_derivative, "he"),
    Activation("leaky_relu", "z where z > 0, else 0.01 z", _leaky_relu, _leaky_relu_derivative, "he"),
    Activation("tanh", "tanh(z)", _tanh, _tanh_derivative, "glorot"),
    Activation("sigmoid", "1 / (1 + e^-z)", sigmoid, _sigmoid_derivative, "glorot"),
    Activation("gelu", "z Phi(z), of the normal distribution Phi", _gelu, _gelu_derivative, "he"),
    Activation("silu", "z / (1 + e^-z)", _silu, _silu_derivative, "he"),
    Activation("identity", "z", _identity, _identity_derivative, "glorot"),
):
    ACTIVATIONS.add(_activation)
