"""Every step of chosen trials: where they are, the gradient there, and what their rule keeps for each coordinate."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.swarm import Swarm
from fastgd.optimizers._rules import Rule
from fastgd.store.swarm import Names, SwarmWriter
from fastgd.study.swarm_plan import SwarmPlan

Array = npt.NDArray[Any]
ROWS = 1 << 17  # that are written at a time


def follow(
    plan: SwarmPlan,
    lanes: Array,
    swarm: Swarm,
    rates: Callable[[int], Array],
    writer: SwarmWriter,
    poll: Callable[[], None],
) -> None:
    """Run lanes from their start, step by step, and write where they are before each step and after the last.

    Their bits are those of the whole run: a lane's arithmetic does not depend on where calls are cut.
    """
    which, start = np.divmod(lanes, len(plan.starts))
    d, count = plan.spec.d, len(lanes)
    names = {
        "trial_id": Names(plan.ids, np.repeat(which, d)),
        "start": np.repeat(start, d),
        "coordinate": np.tile(np.arange(d), count),
    }
    waiting: list[dict[str, Any]] = []
    for step in range(plan.steps + 1):
        if step:
            swarm.advance(1, poll)
        waiting.append(_rows(plan, swarm, step, np.repeat(swarm.line.rates if swarm.line else rates(step)[which], d)))
        if len(waiting) * count * d >= ROWS or step == plan.steps:
            writer.append("trajectories", len(waiting) * count * d, _together(waiting, names))
            waiting = []


def _rows(plan: SwarmPlan, swarm: Swarm, step: int, lr: Array) -> dict[str, Any]:
    reading, rule, d = swarm.read(), plan.spec.rule, plan.spec.d
    slots = swarm.slots()
    gradient = plan.spec.landscape.gradients(plan.spec.p, reading.positions, step + 1)
    rows = {
        "step": np.full(len(lr), step),
        "loss": np.repeat(reading.loss, d),
        "lr": lr,
        "x": reading.positions.T.ravel(),
        "gradient": gradient.T.ravel(),
    }
    for name, slot in zip(rule.slot_names, slots, strict=True):
        rows[f"slot.{name}"] = slot.T.ravel()
    effective = _effective(rule, swarm, slots, step)
    return rows if effective is None else rows | {"effective_lr": effective.T.ravel()}


def _effective(rule: Rule, swarm: Swarm, slots: Array, step: int) -> Array | None:
    """Return the rate that multiplies each coordinate's gradient (d, lanes); None where a rule has none."""
    cls: Any = rule.optimizer.cls
    if not hasattr(cls, "effective") or rule.options:
        return None
    h = rule.instance(dict(zip(rule.fields, swarm.hyper_now().T, strict=True)))
    with np.errstate(all="ignore"):
        rate = cls.effective(h, max(1, step), tuple(swarm.memory()), tuple(slots))
    return np.broadcast_to(rate, slots.shape[1:] if len(slots) else (swarm.spec.d, len(swarm.which)))


def _together(blocks: list[dict[str, Any]], names: dict[str, Any]) -> dict[str, Any]:
    steps = len(blocks)
    columns = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    trial = names["trial_id"]
    repeated: dict[str, Any] = {key: np.tile(names[key], steps) for key in ("start", "coordinate")}
    return columns | repeated | {"trial_id": Names(trial.names, np.tile(trial.codes, steps))}
