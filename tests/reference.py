"""A readable reference of what the engine computes: one linear model, trained with mini-batches, in plain NumPy.

Nothing here comes from the package: losses, update rules and the shuffle are the published equations, written out.
"""

import hashlib
import math
from collections import defaultdict
from functools import cache

import numpy as np
from scipy.special import expit

# --- losses: value and derivative by the margin z ---------------------------------------------------------------------

LOSSES = {
    "squared": (lambda z, y: (z - y) ** 2 / 2, lambda z, y: z - y),
    "logistic": (lambda z, y: np.logaddexp(0, z) - y * z, lambda z, y: expit(z) - y),
    "hinge": (
        lambda z, y: np.maximum(0, 1 - (2 * y - 1) * z),
        lambda z, y: np.where((2 * y - 1) * z < 1, 1 - 2 * y, 0.0),
    ),
    "squared_hinge": (
        lambda z, y: np.maximum(0, 1 - (2 * y - 1) * z) ** 2,
        lambda z, y: -2 * (2 * y - 1) * np.maximum(0, 1 - (2 * y - 1) * z),
    ),
    "huber": (
        lambda z, y: np.where(abs(z - y) <= 1, (z - y) ** 2 / 2, abs(z - y) - 0.5),
        lambda z, y: np.clip(z - y, -1, 1),
    ),
    "sigmoid_squared": (
        lambda z, y: (expit(z) - y) ** 2 / 2,
        lambda z, y: (expit(z) - y) * expit(z) * expit(-z),
    ),
    "poisson": (lambda z, y: np.exp(z) - y * z, lambda z, y: np.exp(z) - y),
}


# --- optimizers: w and the gradient at any point -> the next w that is reported ---------------------------------------
# `t` counts from 1; `s` is the memory of the optimizer, zero at first; the rest are its hyper-parameters.


def sgd(w, gradient, t, s, *, lr):
    return w - lr * gradient(w)


def momentum(w, gradient, t, s, *, lr, momentum, form="torch"):
    if form == "lecture":
        s["u"] = momentum * s["u"] + lr * gradient(w)
        return w - s["u"]
    s["u"] = momentum * s["u"] + gradient(w)
    return w - lr * s["u"]


def nesterov(w, gradient, t, s, *, lr, momentum, form="torch"):
    if form == "lecture":
        s["u"] = momentum * s["u"] + lr * gradient(w - momentum * s["u"])
        return w - s["u"]
    x = s.get("x", w)  # PyTorch's parameter: the point that the gradient is taken at
    g = gradient(x)
    s["u"] = momentum * s["u"] + g
    s["x"] = x - lr * (g + momentum * s["u"])
    return s["x"] + lr * momentum * s["u"]


def adagrad(w, gradient, t, s, *, lr, eps, eps_inside=False, root=True):
    g = gradient(w)
    s["v"] = s["v"] + g**2
    if not root:
        return w - lr * g / (s["v"] + eps)
    return w - lr * g / (np.sqrt(s["v"] + eps) if eps_inside else np.sqrt(s["v"]) + eps)


def rmsprop(w, gradient, t, s, *, lr, alpha, eps, eps_inside=False):
    g = gradient(w)
    s["v"] = alpha * s["v"] + (1 - alpha) * g**2
    return w - lr * g / (np.sqrt(s["v"] + eps) if eps_inside else np.sqrt(s["v"]) + eps)


def adadelta(w, gradient, t, s, *, lr, rho, eps):
    g = gradient(w)
    s["v"] = rho * s["v"] + (1 - rho) * g**2
    delta = np.sqrt(s["e"] + eps) / np.sqrt(s["v"] + eps) * g
    s["e"] = rho * s["e"] + (1 - rho) * delta**2
    return w - lr * delta


def adam(w, gradient, t, s, *, lr, beta1, beta2, eps, eps_inside=False, bias_correction=True):
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    m, v = s["m"], s["v"]
    if bias_correction:
        m, v = m / (1 - beta1**t), v / (1 - beta2**t)
    return w - lr * m / (np.sqrt(v + eps) if eps_inside else np.sqrt(v) + eps)


def amsgrad(w, gradient, t, s, *, lr, beta1, beta2, eps):
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    s["largest"] = np.maximum(s["largest"], s["v"])
    return w - lr * s["m"] / (1 - beta1**t) / (np.sqrt(s["largest"] / (1 - beta2**t)) + eps)


def adamw(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay):
    return adam(w, gradient, t, s, lr=lr, beta1=beta1, beta2=beta2, eps=eps) - lr * weight_decay * w


OPTIMIZERS = {
    function.__name__: function
    for function in (sgd, momentum, nesterov, adagrad, rmsprop, adadelta, adam, amsgrad, adamw)
}


# --- training ---------------------------------------------------------------------------------------------------------


def key(seed, purpose, epoch):
    """The 64-bit key of a random stream."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()[:8], "little")


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


@cache
def shuffled(n, seed, epoch):
    """The order of an epoch's rows: Fisher and Yates, with splitmix64 of a counter."""
    order, stream = list(range(n)), key(seed, "shuffle", epoch)
    for i in range(n - 1, 0, -1):
        j = (splitmix64((stream + i) % 2**64) >> 32) * (i + 1) >> 32
        order[i], order[j] = order[j], order[i]
    return np.array(order)


def with_intercept(X, intercept):
    return np.column_stack([X, np.ones(len(X))]) if intercept else X


def objective(X, y, w, *, loss, l2=0.0, intercept=False):
    """F(w) = 1/n sum_i loss(x_i w + c, y_i) + l2/2 |w|^2; the intercept c, the last parameter, has no penalty."""
    value, _ = LOSSES[loss]
    weights = w[:-1] if intercept else w
    return np.mean(value(with_intercept(X, intercept) @ w, y)) + l2 / 2 * weights @ weights


def gradient(X, y, w, *, loss, l2=0.0, intercept=False):
    """The gradient of the objective over these rows."""
    _, derivative = LOSSES[loss]
    A, penalty = with_intercept(X, intercept), np.full(len(w), l2)
    if intercept:
        penalty[-1] = 0
    return A.T @ derivative(A @ w, y) / len(y) + penalty * w


def batches(n, batch_size, seed=None):
    """Yield the rows of each batch, for ever; the last of an epoch may be smaller. With no seed: in their order."""
    epoch = 0
    while True:
        order = np.arange(n) if seed is None else shuffled(n, seed, epoch)
        for start in range(0, n, batch_size):
            yield order[start : start + batch_size]
        epoch += 1


def train(X, y, optimizer, hyper, *, loss, batch_size, steps, seed=None, l2=0.0, intercept=False, start=None):
    """Return the reported iterates (steps + 1, d + intercept), the start first.

    Parameters
    ----------
    hyper : mapping, or callable from the step t (from 1) to a mapping
        Switches included.
    seed : int, optional
        Of the shuffle; without one the rows are visited as they stand.
    """
    w = np.zeros(X.shape[1] + intercept) if start is None else np.array(start)
    memory, iterates = defaultdict(float), [w]
    for t, rows in zip(range(1, steps + 1), batches(len(X), batch_size, seed), strict=False):
        values = dict(hyper(t) if callable(hyper) else hyper)
        if intercept and "weight_decay" in values:  # an intercept does not decay
            values["weight_decay"] = np.append(np.full(X.shape[1], values["weight_decay"]), 0.0)

        def batch_gradient(at, rows=rows):
            return gradient(X[rows], y[rows], at, loss=loss, l2=l2, intercept=intercept)

        w = OPTIMIZERS[optimizer](w, batch_gradient, t, memory, **values)
        iterates.append(w)
    return np.array(iterates)


# --- schedules: the value at index k = 0 ... end ----------------------------------------------------------------------

SCHEDULES = {
    "constant": lambda k, end: 1.0,
    "exponential": lambda k, end, final: final ** (k / end),
    "step": lambda k, end, every, factor: factor ** (k // every),
    "cosine": lambda k, end, final: final + (1 - final) * (1 + math.cos(math.pi * k / end)) / 2,
}
