"""Gradient descent and its momentum forms."""

from typing import Literal, NamedTuple

from fastgd.optimizers._record import Decay, Rate, Slots, Step, Value, optimizer


@optimizer(name="sgd", family="momentum", witness="torch.optim.SGD", reference="Robbins & Monro (1951)")
class SGD(NamedTuple):
    """Gradient descent: `w -= lr g`."""

    lr: Rate

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        return w - h.lr * g, s


@optimizer(
    name="momentum",
    slots=("velocity",),
    family="momentum",
    witness="torch.optim.SGD(momentum=)",
    reference="Polyak (1964); Sutskever et al. (2013)",
)
class Momentum(NamedTuple):
    """Heavy-ball momentum: `u = momentum u + g; w -= lr u`.

    `form = "lecture"` keeps the rate inside the velocity: `u = momentum u + lr g; w -= u`. Both are the same while the
    rate is constant.
    """

    lr: Rate
    momentum: Decay = 0.9
    form: Literal["torch", "lecture"] = "torch"

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        if h.form == "lecture":
            u = h.momentum * s[0] + h.lr * g
            return w - u, (u,)
        u = h.momentum * s[0] + g
        return w - h.lr * u, (u,)


@optimizer(
    name="nesterov",
    slots=("velocity",),
    family="momentum",
    witness="torch.optim.SGD(nesterov=True)",
    reference="Nesterov (1983); Sutskever et al. (2013)",
)
class Nesterov(NamedTuple):
    """Nesterov's accelerated gradient, taken at the look-ahead point: `u = momentum u + g; x -= lr (g + momentum u)`.

    The state x is the look-ahead point, as in PyTorch; the iterate that is reported is `w = x + lr momentum u`. With
    `form = "lecture"`: `u' = momentum u + lr g(w - momentum u); w -= u'`, where again x = w - momentum u is kept.
    """

    lr: Rate
    momentum: Decay = 0.9
    form: Literal["torch", "lecture"] = "torch"

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        if h.form == "lecture":
            u = h.momentum * s[0] + h.lr * g
            return w + h.momentum * s[0] - u - h.momentum * u, (u,)
        u = h.momentum * s[0] + g
        return w - h.lr * (g + h.momentum * u), (u,)

    def readout(h, w: Value, s: Slots) -> Value:
        if h.form == "lecture":
            return w + h.momentum * s[0]
        return w + h.lr * h.momentum * s[0]
