"""Every step of chosen trials: where they are, the gradient there, and what their rule keeps for each coordinate."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.swarm.lanes import Lanes
from fastgd.engine.swarm.reading import LanesView
from fastgd.optimizers.rule import Rule
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.runs.sinks import Sink
from fastgd.store.disk.rows import Names

Array = npt.NDArray[Any]
MOST_ROWS_AT_ONCE = 1 << 17  # that are written together
MOST_STATE_BYTES_AT_ONCE = 1 << 25  # of the lanes that they are read from


def record_trajectories(
    unit: SwarmUnit,
    lanes: Array,
    swarm: Lanes,
    rates: Callable[[int], Array],
    sink: Sink,
    poll: Callable[[], None],
) -> None:
    """Run lanes from their start, step by step, and write where they are before each step and after the last.

    Their bits are those of the whole run: a lane's arithmetic does not depend on where calls are cut. The states of
    many steps are kept and read together: to read a step by itself takes much longer than to take it.
    """
    which, start = unit.places(lanes)
    d, count = unit.spec.d, len(lanes)
    by_bytes = MOST_STATE_BYTES_AT_ONCE // swarm.moment().state.nbytes
    steps_at_once = max(1, min(MOST_ROWS_AT_ONCE // (count * d), by_bytes))
    swarm.compile()
    for first in range(0, unit.steps + 1, steps_at_once):
        steps = np.arange(first, min(first + steps_at_once, unit.steps + 1))
        moments, lr = [], []
        for step in steps.tolist():
            if step:
                swarm.advance(1, poll)
            moments.append(swarm.moment())
            lr.append(swarm.line.rates if swarm.line else rates(step)[which])
        names = {
            "trial_id": Names(unit.ids, np.tile(np.repeat(which, d), len(steps))),
            "start": np.tile(np.repeat(unit.number_of(start), d), len(steps)),
            "coordinate": np.tile(np.arange(d), len(steps) * count),
        }
        numbers = {"step": np.repeat(steps, count * d), "lr": np.repeat(np.concatenate(lr), d)}
        rows = names | numbers | _rows(unit, swarm.view(moments), steps)
        sink.append("trajectories", rows, len(steps) * count * d)


def _rows(unit: SwarmUnit, seen: LanesView, steps: Array) -> dict[str, Any]:
    """What is read of the lanes after each of the steps: a row for each coordinate of each lane."""
    reading, slots = seen.read(), seen.slots()
    rows = {
        "loss": np.repeat(reading.loss, unit.spec.d),
        "x": reading.positions.T.ravel(),
        "gradient": _gradients(unit, reading.positions, steps).T.ravel(),
    }
    for name, slot in zip(unit.spec.rule.slot_names, slots, strict=True):
        rows[f"slot.{name}"] = slot.T.ravel()
    effective = _effective_rates(unit.spec.rule, seen, slots, steps)
    return rows if effective is None else rows | {"effective_lr": effective.T.ravel()}


def _gradients(unit: SwarmUnit, positions: Array, steps: Array) -> Array:
    """The gradients (d, steps * lanes) that the next steps are given, without noise."""
    landscape, p = unit.spec.landscape, unit.spec.p
    if landscape.gradient_at is None:
        return landscape.gradients(p, positions)
    each = zip(np.split(positions, len(steps), axis=1), steps.tolist(), strict=True)
    return np.concatenate([landscape.gradients(p, x, step + 1) for x, step in each], axis=1)


def _effective_rates(rule: Rule, seen: LanesView, slots: Array, steps: Array) -> Array | None:
    """Return the rate that multiplies each coordinate's gradient (d, steps * lanes); None where a rule has none."""
    cls: Any = rule.optimizer.cls
    if not hasattr(cls, "effective") or rule.options:
        return None
    d, lanes = seen.spec.d, len(seen) // len(steps)
    hyper, memory, rates = seen.hyper().T, seen.memory(), np.empty((d, len(seen)))
    for number, step in enumerate(steps.tolist()):
        own = slice(number * lanes, (number + 1) * lanes)
        h = rule.instance(dict(zip(rule.fields, hyper[:, own], strict=True)))
        with np.errstate(all="ignore"):
            rates[:, own] = cls.effective(h, max(1, step), tuple(memory[:, own]), tuple(slots[..., own]))
    return rates
