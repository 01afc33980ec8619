"""Rules that need the batch's objective, as `reference` has the others: the published equations, written out.

`gradient.objective(w)` is the objective whose gradient `gradient(w)` is.
"""

import math

import numpy as np

STILL = np.finfo(float).eps  # optax takes no step where the squared norm of the gradient is at most this


def polyak(w, gradient, t, s, *, lr, max_lr, optimum, eps, form="sps"):
    """Loizou et al. (2021); "sps+" by Garrigos et al. (2023); "adasps" by Jiang & Stich (2023)."""
    g, gap = gradient(w), gradient.objective(w) - optimum
    if form != "sps":
        gap = max(gap, 0)
    if g @ g + eps <= STILL:
        return w
    if form != "adasps":
        return w - lr * min(gap / (g @ g + eps), max_lr) * g
    gaps = s.setdefault("gaps", [])
    gaps.append(gap)
    c = 1 / math.sqrt(gaps[0])  # makes the first step Polyak's own
    s["step"] = min(gap / (c * (g @ g + eps)) / math.sqrt(sum(gaps)), s.get("step", max_lr))
    return w - lr * s["step"] * g


def momo(w, gradient, t, s, *, lr, beta, lower_bound, weight_decay, adapt_lower_bound=False):
    """Schaipp et al. (2024): averages of f, g and <g, w>, which start as the first."""
    g, f = gradient(w), gradient.objective(w)
    for name, x in (("f", f), ("d", g), ("gamma", g @ w)):
        s[name] = beta * s[name] + (1 - beta) * x if t > 1 else x
    return model_step(w, s, np.ones(len(w)), 1, lr, lower_bound, weight_decay, adapt_lower_bound)


def momo_adam(w, gradient, t, s, *, lr, beta1, beta2, eps, lower_bound, weight_decay, adapt_lower_bound=False):
    """Schaipp et al. (2024): the norm is Adam's, and averages start at 0."""
    g, f = gradient(w), gradient.objective(w)
    for name, x in (("f", f), ("d", g), ("gamma", g @ w)):
        s[name] = beta1 * s[name] + (1 - beta1) * x
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    metric = eps + np.sqrt(s["v"] / (1 - beta2**t))
    return model_step(w, s, metric, 1 - beta1**t, lr, lower_bound, weight_decay, adapt_lower_bound)


def model_step(w, s, metric, rho, lr, lower_bound, weight_decay, adapt):
    """A step in a metric to where the averaged tangents `f + <d, x> - gamma`, of weight rho, reach the bound.

    The bound is reached by `x(step) = (w - step d / metric) / (1 + lr weight_decay)`, a number or one of each
    parameter; as optax has it, the step then is taken without that division.
    """
    f, d, gamma = s["f"], s["d"], s["gamma"]
    shrink = 1 / (1 + lr * weight_decay) * np.ones(len(w))
    bound = s.get("bound", lower_bound)
    start = f + d @ (shrink * w) - gamma
    if adapt and start < rho * bound:
        bound = max(start / (2 * rho), lower_bound)
    slope = d @ (shrink * d / metric)
    step = min(lr / rho, max(start - rho * bound, 0) / slope) if d @ (d / metric) > STILL else 0.0
    if adapt:
        s["bound"] = max((f + d @ w - gamma - step / 2 * (d @ (d / metric))) / rho, lower_bound)
    return shrink * w - step * d / metric


OPTIMIZERS = {function.__name__: function for function in (polyak, momo, momo_adam)}
