"""References of the rules that need sums over all parameters: their published equations in plain NumPy.

Each is a function of the parameters (an intercept included), the gradient at any point, the step t from 1, the memory s
of the optimizer, zero at first, and its hyper-parameters; it returns the next iterate that is reported.
"""

import numpy as np
from numpy.linalg import norm


def trust_ratio(w, u, factor=1.0, eps=0.0):
    return factor * norm(w) / (norm(u) + eps) if norm(w) > 0 and norm(u) > 0 else 1.0


def lars(w, gradient, t, s, *, lr, momentum, trust_coefficient, eps):
    g = gradient(w)
    s["u"] = momentum * s["u"] + lr * trust_ratio(w, g, trust_coefficient, eps) * g
    return w - s["u"]


def lamb(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay):
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    u = s["m"] / (1 - beta1**t) / (np.sqrt(s["v"] / (1 - beta2**t)) + eps) + weight_decay * w
    return w - lr * trust_ratio(w, u) * u


def novograd(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay):
    g = gradient(w)
    s["v"] = g @ g if t == 1 else beta2 * s["v"] + (1 - beta2) * (g @ g)
    s["u"] = beta1 * s["u"] + g / (np.sqrt(s["v"]) + eps) + weight_decay * w
    return w - lr * s["u"]


def stable_adamw(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay):
    """Algorithm 2 of the paper, whose u is v here and whose v is m; what decays is as in the authors' code."""
    beta1 = beta1 * (1 - beta1 ** (t - 1)) / (1 - beta1**t)
    beta2 = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    rms = np.sqrt(np.mean(g**2 / np.maximum(s["v"], eps**2)))
    return w - lr * weight_decay * w - lr / max(1, rms) * s["m"] / (np.sqrt(s["v"]) + eps)


def dog(w, gradient, t, s, *, lr, init_step, eps):
    g, start = gradient(w), s.setdefault("start", w)
    s["r"] = max(s.get("r", init_step * (1 + norm(start))), norm(w - start))
    s["G"] += norm(g) ** 2
    return w - lr * s["r"] / np.sqrt(s["G"] + eps) * g


def dowg(w, gradient, t, s, *, lr, init_estim_sq_dist, eps):
    g, start = gradient(w), s.setdefault("start", w)
    s["q"] = max(s.get("q", init_estim_sq_dist), norm(w - start) ** 2)
    s["V"] += s["q"] * norm(g) ** 2
    return w - lr * s["q"] / (np.sqrt(s["V"]) + eps) * g


def dadapt_sgd(w, gradient, t, s, *, lr, momentum, d0):
    """The bound as the authors' code has it: twice that of the paper's first option."""
    g, start, d = gradient(w), s.setdefault("start", w), s.get("d", d0)
    k = d * lr / s.setdefault("first norm", norm(g))
    s["products"] += k * np.dot(g, s["s"] + np.zeros(len(w)))
    s["s"] = s["s"] + k * g
    s["d"] = max(d, 2 * s["products"] / norm(s["s"]))
    return momentum * w + (1 - momentum) * (start - s["s"])


def dadapt_adam(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay, d0):
    """The first option of the paper's algorithm for Adam, with the corrections of the bias of the authors' code."""
    g, d, b = gradient(w), s.get("d", d0), np.sqrt(beta2)
    k = lr * d * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    product = np.sum(g * s["s"] / (np.sqrt(s["v"]) + eps))
    s["m"] = beta1 * s["m"] + (1 - beta1) * k * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    s["s"] = b * s["s"] + (1 - b) * k * g
    s["products"] = b * s["products"] + (1 - b) * k * product
    s["d"] = max(d, s["products"] / ((1 - b) * np.sum(abs(s["s"]))))
    return w - k * weight_decay * w - s["m"] / (np.sqrt(s["v"]) + eps)


def prodigy(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay, d0, d_coef, safeguard_warmup=False):
    g, start, d, b = gradient(w), s.setdefault("start", w), s.get("d", d0), np.sqrt(beta2)
    k = lr * d * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    s["m"] = beta1 * s["m"] + (1 - beta1) * d * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * d**2 * g**2
    s["s"] = b * s["s"] + d / d0 * (d if safeguard_warmup else k) * g
    s["products"] = b * s["products"] + d / d0 * k * (g @ (start - w))
    s["d"] = max(d, d_coef * s["products"] / np.sum(abs(s["s"])))
    return w - k * weight_decay * w - k * s["m"] / (np.sqrt(s["v"]) + s["d"] * eps)


OPTIMIZERS = {
    function.__name__: function
    for function in (lars, lamb, novograd, stable_adamw, dog, dowg, dadapt_sgd, dadapt_adam, prodigy)
}
