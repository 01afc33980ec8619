"""A readable reference of what the engine computes: one linear model, trained with mini-batches, in plain NumPy.

Nothing here comes from the package: losses, update rules and the shuffle are the published equations, written out.
"""

import hashlib
import math
from collections import defaultdict
from functools import cache, partial

import numpy as np
import reference_adam
import reference_model_based
import reference_sums
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
# `t` counts from 1; `s` is the memory of the optimizer, zero at first; the rest are its hyper-parameters. The objective
# at any point is `gradient.objective`.


def sgd(w, gradient, t, s, *, lr, weight_decay=0.0):
    return w - lr * gradient(w) - lr * weight_decay * w


def momentum(w, gradient, t, s, *, lr, momentum, dampening=0.0, weight_decay=0.0, form="torch"):
    g = gradient(w) if t == 1 else (1 - dampening) * gradient(w)
    if form == "lecture":
        s["u"] = momentum * s["u"] + lr * g
        return w - s["u"] - lr * weight_decay * w
    s["u"] = momentum * s["u"] + g
    return w - lr * s["u"] - lr * weight_decay * w


def nesterov(w, gradient, t, s, *, lr, momentum, weight_decay=0.0, form="torch"):
    if form == "lecture":
        x = w - s["momentum"] * s["u"]  # with the momentum of the step before, where it changes
        s["momentum"] = momentum
        s["u"] = momentum * s["u"] + lr * gradient(x)
        return w - s["u"] - lr * weight_decay * x
    x = s.get("x", w)  # PyTorch's parameter: the point that the gradient is taken at
    g = gradient(x)
    s["u"] = momentum * s["u"] + g
    s["x"] = (1 - lr * weight_decay) * x - lr * (g + momentum * s["u"])
    return s["x"] + lr * momentum * s["u"]


def asgd(w, gradient, t, s, *, lr, lambd, alpha, t0):
    w = s.get("w", w)  # what is reported is the average
    s["w"] = w - lr / (1 + lambd * lr * (t - 1)) ** alpha * (gradient(w) + lambd * w)
    if t - 1 <= t0:
        s["average"] = s["w"]
    else:
        s["average"] = s["average"] + (s["w"] - s["average"]) / max(1, t - 1 - t0)
    return s["average"]


def adagrad(
    w, gradient, t, s, *, lr, eps, lr_decay=0.0, initial_accumulator_value=0.0, eps_inside=False, root=True
):  # fmt: skip
    g = gradient(w)
    s["v"] = s.get("v", initial_accumulator_value) + g**2
    lr = lr / (1 + (t - 1) * lr_decay)
    if not root:
        return w - lr * g / (s["v"] + eps)
    return w - lr * g / (np.sqrt(s["v"] + eps) if eps_inside else np.sqrt(s["v"]) + eps)


def rmsprop(w, gradient, t, s, *, lr, alpha, eps, momentum=0.0, eps_inside=False, centered=False):
    g = gradient(w)
    s["v"] = alpha * s["v"] + (1 - alpha) * g**2
    s["m"] = alpha * s["m"] + (1 - alpha) * g
    v = s["v"] - s["m"] ** 2 if centered else s["v"]
    s["u"] = momentum * s["u"] + g / (np.sqrt(v + eps) if eps_inside else np.sqrt(v) + eps)
    return w - lr * s["u"]


def rmsprop_momentum(w, gradient, t, s, **hyper):
    return rmsprop(w, gradient, t, s, **hyper)


def rmsprop_centered(w, gradient, t, s, **hyper):
    return rmsprop(w, gradient, t, s, centered=True, **hyper)


def rprop(w, gradient, t, s, *, lr, eta_minus, eta_plus, step_min, step_max):
    g, w = gradient(w), np.array(w)
    steps, last = s.get("steps", np.full(len(w), lr)), s.get("g", np.zeros(len(w)))
    for i in range(len(w)):
        if g[i] * last[i] > 0:
            steps[i] = min(steps[i] * eta_plus, step_max)
        elif g[i] * last[i] < 0:
            steps[i] = max(steps[i] * eta_minus, step_min)
            g[i] = 0
        if g[i] != 0:
            w[i] -= math.copysign(steps[i], g[i])
    s["steps"], s["g"] = steps, g
    return w


def adadelta(w, gradient, t, s, *, lr, rho, eps):
    g = gradient(w)
    s["v"] = rho * s["v"] + (1 - rho) * g**2
    delta = np.sqrt(s["e"] + eps) / np.sqrt(s["v"] + eps) * g
    s["e"] = rho * s["e"] + (1 - rho) * delta**2
    return w - lr * delta


def ftrl(w, gradient, t, s, *, lr, beta, lambda1, lambda2):
    """Algorithm 1 of the paper, which starts at the origin; alpha is lr."""
    z, n = s.get("z", np.zeros(len(w))), s.get("n", np.zeros(len(w)))
    w = np.zeros(len(w))
    for i in range(len(w)):
        if abs(z[i]) > lambda1:
            w[i] = -(z[i] - math.copysign(lambda1, z[i])) / ((beta + math.sqrt(n[i])) / lr + lambda2)
    g = gradient(w)
    sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / lr
    s["z"], s["n"] = z + g - sigma * w, n + g**2
    shrunk = np.sign(s["z"]) * np.maximum(abs(s["z"]) - lambda1, 0)
    return -shrunk / ((beta + np.sqrt(s["n"])) / lr + lambda2)


def madgrad(w, gradient, t, s, *, lr, momentum, eps):
    start, weight = s.setdefault("start", w), (lr + eps) * math.sqrt(t)
    g = gradient(w)
    s["s"] = s["s"] + weight * g
    s["v"] = s["v"] + weight * g**2
    return momentum * w + (1 - momentum) * (start - s["s"] / (s["v"] ** (1 / 3) + eps))


OPTIMIZERS = {
    function.__name__: function
    for function in (
        *(sgd, momentum, nesterov, asgd),
        *(adagrad, rmsprop, rmsprop_momentum, rmsprop_centered, adadelta, rprop),
        *(ftrl, madgrad),
    )
}


def signsgd(w, gradient, t, s, *, lr):
    return w - lr * np.sign(gradient(w))


def signum(w, gradient, t, s, *, lr, beta):
    s["m"] = beta * s["m"] + (1 - beta) * gradient(w)
    return w - lr * np.sign(s["m"])


def lion(w, gradient, t, s, *, lr, beta1, beta2, weight_decay):
    g = gradient(w)
    update = np.sign(beta1 * s["m"] + (1 - beta1) * g)
    s["m"] = beta2 * s["m"] + (1 - beta2) * g
    return w - lr * (update + weight_decay * w)


def sm3(w, gradient, t, s, *, lr, momentum, eps):
    g = gradient(w)
    s["v"] = s["v"] + g**2
    s["u"] = momentum * s["u"] + (1 - momentum) * g / np.sqrt(s["v"] + eps)
    return w - lr * s["u"]


def averaged(x, s, lr, power):
    """Schedule-free's x with s["z"] taken in: the average with weights of the largest rate so far to a power."""
    s["largest"] = max(s["largest"], lr)
    s["weights"] += s["largest"] ** power
    share = s["largest"] ** power / s["weights"]
    return (1 - share) * x + share * s["z"]


def schedule_free_sgd(w, gradient, t, s, *, lr, beta, weight_lr_power):
    z = s.get("z", w)
    s["z"] = z - lr * gradient((1 - beta) * z + beta * w)
    return averaged(w, s, lr, weight_lr_power)


def schedule_free_adamw(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay, weight_lr_power):
    z = s.get("z", w)
    y = (1 - beta1) * z + beta1 * w
    g = gradient(y)
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    s["z"] = z - lr * (g / (np.sqrt(s["v"] / (1 - beta2**t)) + eps) + weight_decay * y)
    return averaged(w, s, lr, weight_lr_power)


def cocob(w, gradient, t, s, *, lr, alpha, eps):
    g, start = lr * gradient(w), s.setdefault("start", w)
    s["L"] = np.maximum(s.get("L", eps), abs(g))
    s["G"] = s["G"] + abs(g)
    s["reward"] = np.maximum(s["reward"] - g * (w - start), 0)
    s["theta"] = s["theta"] - g
    return start + s["theta"] / (s["L"] * np.maximum(s["G"] + s["L"], alpha * s["L"])) * (s["L"] + s["reward"])


OPTIMIZERS |= {
    function.__name__: function
    for function in (signsgd, signum, lion, sm3, schedule_free_sgd, schedule_free_adamw, cocob)
}
OPTIMIZERS |= reference_adam.OPTIMIZERS | reference_sums.OPTIMIZERS | reference_model_based.OPTIMIZERS


# --- training ---------------------------------------------------------------------------------------------------------


def key(seed, purpose, epoch):
    """The 64-bit key of a random stream."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()[:8], "little")


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def fisher_yates(items, stream, counter=0):
    """Items in another order: Fisher and Yates, with splitmix64 of a counter."""
    order = list(items)
    for i in range(len(order) - 1, 0, -1):
        j = (splitmix64((stream + counter + i) % 2**64) >> 32) * (i + 1) >> 32
        order[i], order[j] = order[j], order[i]
    return order


@cache
def shuffled(n, seed, epoch):
    """The order of an epoch's rows."""
    return np.array(fisher_yates(range(n), key(seed, "shuffle", epoch)))


def in_blocks(n, seed, epoch, block=1024, window=32):
    """The same of blocks of rows, and of the rows of some blocks together."""
    blocks = fisher_yates(range(-(-n // block)), key(seed, "blocks", epoch))
    stream, order = key(seed, "windows", epoch), []
    for first in range(0, len(blocks), window):
        rows = [
            row for each in blocks[first : first + window] for row in range(each * block, min((each + 1) * block, n))
        ]
        order += fisher_yates(rows, stream, len(order))
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

        def batch_gradient(at, rows=rows, of=gradient):
            return of(X[rows], y[rows], at, loss=loss, l2=l2, intercept=intercept)

        batch_gradient.objective = partial(batch_gradient, of=objective)
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
