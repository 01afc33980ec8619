"""The equations of Adam and its relatives, in NumPy: see `reference`."""

import math

import numpy as np


def adam(w, gradient, t, s, *, lr, beta1, beta2, eps, eps_inside=False, bias_correction=True, eps_hat=False):
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    m, v = s["m"], s["v"]
    if bias_correction and eps_hat:
        lr = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    elif bias_correction:
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


def adamax(w, gradient, t, s, *, lr, beta1, beta2, eps):
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["u"] = np.maximum(beta2 * s["u"], abs(g) + eps)
    return w - lr / (1 - beta1**t) * s["m"] / s["u"]


def nadam(w, gradient, t, s, *, lr, beta1, beta2, eps, momentum_decay, weight_decay):
    def mu(t):
        return beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    product = math.prod(mu(k) for k in range(1, t + 1))
    m = mu(t + 1) * s["m"] / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
    return w - lr * weight_decay * w - lr * m / (np.sqrt(s["v"] / (1 - beta2**t)) + eps)


def radam(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay):
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    step = s["m"] / (1 - beta1**t)
    end = 2 / (1 - beta2) - 1
    rho = end - 2 * t * beta2**t / (1 - beta2**t)
    if rho > 5:
        r = math.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
        step = r * step * math.sqrt(1 - beta2**t) / (np.sqrt(s["v"]) + eps)
    return w - lr * weight_decay * w - lr * step


def laprop(w, gradient, t, s, *, lr, beta1, beta2, eps):
    g = gradient(w)
    s["n"] = beta2 * s["n"] + (1 - beta2) * g**2
    s["m"] = beta1 * s["m"] + (1 - beta1) * g / (np.sqrt(s["n"] / (1 - beta2**t)) + eps)
    return w - lr * s["m"] / (1 - beta1**t)


def nadam_direction(g, t, s, beta1, beta2, eps):
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    m = beta1 * s["m"] / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
    return m / (np.sqrt(s["v"] / (1 - beta2**t)) + eps)


def nadamw(w, gradient, t, s, *, lr, beta1, beta2, eps, weight_decay):
    return w - lr * (nadam_direction(gradient(w), t, s, beta1, beta2, eps) + weight_decay * w)


def adabelief(w, gradient, t, s, *, lr, beta1, beta2, eps, eps_root):
    g = gradient(w)
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["s"] = beta2 * s["s"] + (1 - beta2) * (g - s["m"]) ** 2 + eps_root
    return w - lr * s["m"] / (1 - beta1**t) / (np.sqrt(s["s"] / (1 - beta2**t)) + eps)


def adan(w, gradient, t, s, *, lr, beta1, beta2, beta3, eps, eps_root, weight_decay):
    g = gradient(w)
    difference = g - s.get("g", g)
    s["g"] = g
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * difference
    s["n"] = beta3 * s["n"] + (1 - beta3) * (g + (1 - beta2) * difference) ** 2
    m, v, n = s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t), s["n"] / (1 - beta3**t)
    return w - lr * ((m + (1 - beta2) * v) / (np.sqrt(n + eps_root) + eps) + weight_decay * w)


def yogi(w, gradient, t, s, *, lr, beta1, beta2, eps, initial):
    g, v = gradient(w), s.get("v", initial)
    s["m"] = beta1 * s.get("m", initial) + (1 - beta1) * g
    s["v"] = v - (1 - beta2) * np.sign(v - g**2) * g**2
    return w - lr * s["m"] / (1 - beta1**t) / (np.sqrt(s["v"] / (1 - beta2**t)) + eps)


def adopt(w, gradient, t, s, *, lr, beta1, beta2, eps, clipping=True):
    g = gradient(w)
    if t == 1:
        s["v"] = g**2
        return w
    scaled, most = g / np.maximum(np.sqrt(s["v"]), eps), (t - 1) ** 0.25
    s["m"] = beta1 * s["m"] + (1 - beta1) * (np.clip(scaled, -most, most) if clipping else scaled)
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    return w - lr * s["m"]


def ademamix(w, gradient, t, s, *, lr, beta1, beta2, beta3, alpha, eps, weight_decay, warmup):
    if t < warmup:
        alpha = alpha * t / warmup
        first, last = math.log(beta1), math.log(beta3)
        beta3 = math.exp(first * last / ((1 - t / warmup) * last + t / warmup * first))
    g = gradient(w)
    s["m1"] = beta1 * s["m1"] + (1 - beta1) * g
    s["m2"] = beta3 * s["m2"] + (1 - beta3) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g**2
    m = s["m1"] / (1 - beta1**t) + alpha * s["m2"]
    return w - lr * (m / (np.sqrt(s["v"] / (1 - beta2**t)) + eps) + weight_decay * w)


def optimistic_adam(w, gradient, t, s, *, lr, alpha, beta, beta1, beta2, eps, nesterov=True):
    if nesterov:
        r = nadam_direction(gradient(w), t, s, beta1, beta2, eps)
    else:
        r = -adam(0.0, lambda _: gradient(w), t, s, lr=1.0, beta1=beta1, beta2=beta2, eps=eps)
    last, s["r"] = s.get("r", r), r
    return w - lr * (alpha * r + beta * (r - last))


OPTIMIZERS = {
    function.__name__: function
    for function in (
        *(adam, amsgrad, adamw, adamax, nadam, radam, laprop, nadamw),
        *(adabelief, adan, yogi, adopt, ademamix, optimistic_adam),
    )
}
