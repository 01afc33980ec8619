"""Schedules that rise before they fall: warm-up, cycles, and momentum's own."""

# ruff: noqa: D102, ARG002 (each class's docstring is its equation; every schedule takes the same arguments)

from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Lt

from fastgd.common.numbers import number
from fastgd.schedules.record import Index, NonNegative, Positive, schedule

Share = Annotated[float, Gt(0), Lt(1)]
ShareOrNone = Annotated[float, Ge(0), Lt(1)]


@schedule(
    "cyclic",
    witness="torch.optim.lr_scheduler.CyclicLR",
    reference="Smith (2017), https://arxiv.org/abs/1506.01186",
    per="step",
    example={"up": 12.5, "mode": "triangular2"},
)
class Cyclic(NamedTuple):
    """Triangles between `start` and `peak`: `start + (peak - start) s a`, s rising from 0 to 1 and falling again.

    It rises over `up` steps (2,000, as in PyTorch) and falls over `down` (as many, unless it is given). `mode`:
    "triangular" has a = 1, "triangular2" halves a with each cycle, "exp_range" has `a = gamma^i`. The paper puts
    `start` at 1/4 to 1/3 of the peak, which is the optimizer's rate. For `of = "momentum"` let `start` be the higher
    value. Use it to see what a range of rates does within one run.
    """

    up: Positive = 2000.0
    down: Positive | None = None
    start: NonNegative = 0.25
    peak: NonNegative = 1.0
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        down = self.up if self.down is None else self.down
        cycle = np.floor(i / (self.up + down))
        place = i - cycle * (self.up + down)
        s = np.where(place <= self.up, place / self.up, (self.up + down - place) / down)
        return self.start + (self.peak - self.start) * s * self._amplitude(i, cycle)

    def unreached(self, count: int) -> str:
        if count <= self.up:
            return f"its peak, at {number(self.up)}, is never reached"
        period = self.up + (self.up if self.down is None else self.down)
        done = count % period
        return f"its last cycle is cut after {number(done)} of {number(period)}" if done else ""

    def _amplitude(self, i: Index, cycle: Index) -> Index:
        match self.mode:
            case "triangular2":
                return np.asarray(0.5**cycle)
            case "exp_range":
                return np.asarray(self.gamma**i)
        return np.ones_like(i)


@schedule(
    "one_cycle",
    witness="torch.optim.lr_scheduler.OneCycleLR",
    reference="Smith & Topin (2018), https://arxiv.org/abs/1708.07120",
    per="step",
    whole=True,
)
class OneCycle(NamedTuple):
    """One cycle: from `start` to `peak` over the share `rise` of the budget T, then down to `final` at the last step.

    The peak, at the index `rise T - 1`, is the optimizer's rate; the ends are PyTorch's 1/25 of it and 1e-4 of that.
    `form` is "cosine" or "linear"; `three_phase` falls back to `start` as fast as it rose, and to `final` in the rest.
    It allows rates that would diverge from the start. Its other half lowers the momentum while the rate is high:
    `also = { name = "one_cycle", of = "momentum", start = 0.95, peak = 0.85, final = 0.95 }`.
    """

    start: NonNegative = 0.04
    peak: NonNegative = 1.0
    final: NonNegative = 4e-6
    rise: Share = 0.3
    form: Literal["cosine", "linear"] = "cosine"
    three_phase: bool = False

    def fault(self) -> str:
        late = self.three_phase and self.rise > 0.5
        return f"three_phase needs a rise of 0.5 at most, as it falls for as long; it is {self.rise:g}" if late else ""

    def factors(self, i: Index, span: int) -> Index:
        up = max(self.rise * (span + 1) - 1, 0.0)
        points, values = [0.0, up, float(span)], [self.start, self.peak, self.final]
        if self.three_phase:
            points, values = [0.0, up, min(2 * up, span), float(span)], [self.start, self.peak, self.start, self.final]
        part = np.clip(np.searchsorted(points, i, side="right") - 1, 0, len(points) - 2)
        first, last = np.array(points)[part], np.array(points)[part + 1]
        share = (i - first) / np.maximum(last - first, 1e-300)
        if self.form == "cosine":
            share = 0.5 * (1 - np.cos(np.pi * share))
        return np.asarray(np.array(values)[part] * (1 - share) + np.array(values)[part + 1] * share)


@schedule(
    "warmup",
    witness="optax.schedules.warmup_constant_schedule",
    reference="Goyal et al. (2017), https://arxiv.org/abs/1706.02677",
    per="step",
    timed=True,
    example={"length": 20, "then": {"name": "cosine"}},
)
class Warmup(NamedTuple):
    """Warm-up: `start + (peak - start) i / length`, then `peak`, or what `then` says.

    `length` is required: `schedule = { name = "warmup", length = 500, then = { name = "cosine" } }`. The default start
    of 0 is that of the transformers' schedules: the first step moves nothing. Use it where the first gradients are the
    largest, or where an adaptive rule's averages have to fill first.
    """

    start: NonNegative = 0.0
    peak: NonNegative = 1.0

    def factors(self, i: Index, span: int) -> Index:
        share = i / span
        return self.start * (1 - share) + self.peak * share


@schedule(
    "wsd",
    witness="torch.optim.lr_scheduler.SequentialLR(LinearLR, ConstantLR, LinearLR)",
    reference="Hägele et al. (2024), https://arxiv.org/abs/2405.18392",
    per="step",
)
class WSD(NamedTuple):
    """Warm-up, stable, decay: from `start` to 1 over the share `warmup`, 1, then to `final` over the share `decay`.

    Shares are of the budget. `form` of the decay: "sqrt" (`1 - sqrt(x)`, the paper's choice, as is a share of 0.2),
    "linear" or "cosine"; the warm-up is linear. The stable part does not depend on the budget: a longer run can start
    from it.
    """

    warmup: ShareOrNone = 0.05
    decay: ShareOrNone = 0.2
    start: NonNegative = 0.0
    final: NonNegative = 0.0
    form: Literal["sqrt", "linear", "cosine"] = "sqrt"

    def fault(self) -> str:
        return "" if self.warmup + self.decay <= 1 else "warmup and decay must add up to 1 at most"

    def factors(self, i: Index, span: int) -> Index:
        rise = np.minimum(i / (self.warmup * span), 1.0) if self.warmup else np.ones_like(i)
        left, decay = span - i, self.decay * span
        # a root makes 1e-8 of a rounding error of 1e-16: the decay begins with a margin
        falling = left < decay * (1 - 1e-12)
        fall = np.where(falling, 1 - left / decay, 0.0) if self.decay else np.zeros_like(i)
        shape: Index = {"sqrt": np.sqrt(fall), "linear": fall, "cosine": 0.5 * (1 - np.cos(np.pi * fall))}[self.form]
        return np.asarray(np.where(rise < 1, self.start * (1 - rise) + rise, 1 - shape + self.final * shape))


@schedule(
    "sutskever",
    witness="Sutskever et al. (2013), equation 5",
    reference="https://proceedings.mlr.press/v28/sutskever13.html",
    per="step",
    of="momentum",
    example={"every": 5.0},
)
class Sutskever(NamedTuple):
    """Sutskever's momentum: `min(1 - 2^(-1 - log2(floor(i / every) + 1)), max)`.

    It drives the momentum unless `of` says otherwise: 0.5 in the first 250 steps, 0.75 in the next, then 0.83, ... The
    paper tries `max` in 0, 0.9, 0.99, 0.995 and 0.999. Low momentum at first, while the directions still change; high
    momentum where the valley is long.
    """

    every: Annotated[float, Ge(1)] = 250.0
    max: Annotated[float, Ge(0), Lt(1)] = 0.99

    def factors(self, i: Index, span: int) -> Index:
        # 2^(-1 - log2(m)) is 1 / (2 m), without the rounding of a logarithm
        return np.minimum(1 - 0.5 / (np.floor(i / self.every) + 1), self.max)

    def unreached(self, count: int) -> str:
        return f"it keeps its first value until {number(self.every)}" if count <= self.every else ""
