"""Every rule of the registry on an array of parameters: beyond the cache, where memory is the limit, and inside it."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks.profiles import sized
from benchmarks.timing import seconds
from fastgd import optimizer
from fastgd.core.compile import jit
from fastgd.optimizers import OPTIMIZERS, Optimizer
from fastgd.optimizers.arrays import ArrayOptimizer, step_range
from fastgd.optimizers.record import Rate

LARGE = sized(1_000_000, 16_000_000, 50_000_000)  # float32: no stream of them stays in a cache
SMALL = 2_048  # parameters, a gradient and three slots fit into a first-level cache
STEPS = 10_000  # of a small array in one call
ROUNDS = sized(1, 5, 11)


@optimizer()
class Bare(NamedTuple):
    """What no rule can beat: it reads the gradient, and reads and writes the parameters and all slots."""

    lr: Rate

    def rule(h, c, w, g, s):  # noqa: ARG002, N805
        return w - h.lr * g, s


def bare(slots: int) -> Optimizer:
    """Return the bare pass over as many slots."""
    return replace(Bare.optimizer, name=f"bare-{slots}", slots=tuple(f"slot{i}" for i in range(slots)))


def make(record: Optimizer, size: int, dtype: str) -> tuple[ArrayOptimizer, partial[None]]:
    """Return an optimizer that is compiled and warm, and its step with a gradient."""
    values = {name: 1e-3 if name == "lr" else 0.1 for name, value in record.hyper.items() if value is None}
    g = np.random.default_rng(0).standard_normal(size).astype(dtype)
    made = ArrayOptimizer(record, np.full(size, 0.5, dtype), **values)
    step = partial(made.step, g, loss=1.0)
    step()
    return made, step


@jit
def step_often(times, rule, shape, hyper, c, stride, w, g, slots):
    """Take steps with no Python in between."""
    for _ in range(times):
        step_range(rule, shape, hyper, c, stride, w, g, slots, 0, w.shape[0])


class LargeArray:
    """Parameters that outgrow the cache."""

    param_names = ["rule", "parameters"]
    params = [list(OPTIMIZERS), [LARGE]]
    number = 1
    rounds, repeat, warmup_time = 1, (2, 5, 1.0), 0.05  # there are many of them
    timeout = 300

    def setup(self, rule: str, parameters: int) -> None:
        self.made, self.step = make(OPTIMIZERS[rule], parameters, "float32")

    def time_step(self, *_) -> None:
        self.step()

    def track_time_over_bare_pass(self, rule: str, parameters: int) -> float:
        """The rule's time over the bare pass's, the median of alternated pairs; a rule that sums passes twice."""
        _, other = make(bare(len(OPTIMIZERS[rule].slots)), parameters, "float32")
        ratios = [seconds(self.step) / seconds(other) for _ in range(ROUNDS)]
        return float(np.median(ratios))

    track_time_over_bare_pass.unit = "times"


class SmallArray:
    """Parameters inside the cache: a rule's arithmetic."""

    param_names = ["rule", "dtype"]
    params = [list(OPTIMIZERS), ["float64", "float32"]]
    number = 1
    rounds, repeat, warmup_time = 1, (2, 5, 1.0), 0.05  # there are many of them
    timeout = 300

    def setup(self, rule: str, dtype: str) -> None:
        made, step = make(OPTIMIZERS[rule], SMALL, dtype)
        g = step.args[0]
        self.arguments = (made._rule, made._shape, made._hyper, made._c, made._stride, made.w, g, made._slots)
        self.time_steps()

    def time_steps(self, *_) -> None:
        step_often(STEPS, *self.arguments)

    def track_time_of_a_parameter(self, *_) -> float:
        return min(seconds(self.time_steps) for _ in range(3)) / (SMALL * STEPS)

    track_time_of_a_parameter.unit = "seconds"
