"""Lanes on landscapes that are captured at any step go on elsewhere with the same bits."""

import io

import numpy as np
import pytest
from cohorts import TYPES, spread
from hypothesis import given, settings
from hypothesis import strategies as st
from swarms import make_swarm

from fastgd.core.random import stream_keys
from fastgd.core.threads import Threads
from fastgd.engine.swarm.guesses import SwarmGuesses
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.optimizers import find
from fastgd.optimizers.line_search import LINE_SEARCHES
from fastgd.optimizers.rule import Rule
from fastgd.problems import find_landscape

STEPS = 24


def decay(first, steps):
    return 1 / (1.0 + np.arange(first, first + steps)[:, None])


BEST, ARMIJO = LINE_SEARCHES["best"].cls(rates=(0.1, 0.5, 1, 5)), LINE_SEARCHES["armijo"].cls()
# Lanes of few configurations and of many, with what is noted and kept on the way.
KINDS = {
    "plain": {
        "name": "sgd",
        "n": 700,
        "threshold": 1e-2,
        "noise": 0.1,
        "hyper": [{"lr": rate} for rate in (1e-4, 1e-3, 2e-2)],
    },
    "many coordinates, scheduled": {"name": "nesterov", "n": 50, "d": 9, "schedule": decay, "scheduled": ("lr",)},
    "option with memory": {"name": "lamb", "n": 60, "options": {"clip": "norm"}, "hyper": [{"clip.norm": 0.7}]},
    "reported iterate, scheduled": {"name": "schedule_free_sgd", "n": 45, "schedule": decay, "scheduled": ("lr",)},
    "memory": {"name": "nadam", "n": 45, "d": 3, "hyper": [{"lr": 1e-3}, {"lr": 1e-4}]},
    "list of rates": {"name": "momentum", "n": 30, "line_search": BEST, "hyper": [{"lr": 1e-3}, {"lr": 1e-4}]},
    "backtracking": {"name": "sgd", "n": 30, "line_search": ARMIJO, "hyper": [{"lr": 1.0}]},
}


def observed(lanes):
    """All that is read of lanes."""
    reading = lanes.read()
    view = lanes.view([lanes.moment()])
    found = [reading.positions, reading.loss, reading.grad_norm, view.slots(), view.memory(), view.hyper()]
    found += [lanes.died(), lanes.steps_to_tolerance(reading.loss)]
    return found + ([lanes.line.rates, lanes.line.evaluations] if lanes.line else [])


def through_a_file(captured):
    """Plain arrays: what NumPy stores without pickle."""
    file = io.BytesIO()
    np.savez(file, **captured)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def assert_goes_on(make, step):
    whole, first, second = make(1), make(2), make(1)
    whole.advance(STEPS)
    first.advance(step)
    second.advance(5)  # where it was does not matter
    captured = through_a_file(first.capture())
    first.advance(3)  # what was captured are copies
    second.restore(captured)
    assert second.t == step
    second.advance(STEPS - step)
    for found, expected in zip(observed(second), observed(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


@TYPES
@pytest.mark.parametrize("kind", spread(KINDS, ["plain", "many coordinates, scheduled", "memory", "backtracking"]))
@given(step=st.integers(0, STEPS))
@settings(max_examples=6, deadline=None)
def test_captured_lanes_go_on_with_the_same_bits(kind, dtype, step):
    assert_goes_on(lambda threads: make_swarm("rosenbrock", threads=threads, dtype=dtype, **KINDS[kind]), step)


@TYPES
@pytest.mark.parametrize("name", ["random_search", "grid"])
@given(step=st.integers(0, STEPS))
@settings(max_examples=6, deadline=None)
def test_captured_guesses_go_on_with_the_same_points(name, dtype, step):
    record, rule = find_landscape("himmelblau"), Rule.of(find(name), {}, {})
    spec = SwarmSpec(rule, record, record.instance(), record.box(2), dtype=dtype, threshold=5.0)
    starts, which = np.random.default_rng(0).uniform(-4, 4, (60, 2)), np.repeat([0, 1], 30)
    boxes, keys = np.array([[np.nan, np.nan], [-1.0, 4.0]]), stream_keys(0, np.arange(60))
    assert_goes_on(lambda threads: SwarmGuesses(spec, boxes, which, starts, keys, Threads(threads), STEPS), step)


def test_a_lane_that_died_is_captured_as_such():
    make = lambda threads: make_swarm("rosenbrock", "sgd", n=40, hyper=[{"lr": 0.5}], threads=threads)  # noqa: E731
    lanes = make(1)
    lanes.advance(STEPS)
    assert (lanes.died() > 0).any()
    for step in (1, 3, 5, 20):
        assert_goes_on(make, step)


def test_what_was_captured_of_other_lanes_is_refused():
    captured = make_swarm("rosenbrock", "sgd", n=40).capture()
    with pytest.raises(ValueError, match="state is float64"):
        make_swarm("rosenbrock", "sgd", n=41).restore(captured)
    with pytest.raises(ValueError, match="float64"):
        make_swarm("rosenbrock", "sgd", n=40, dtype="float32").restore(captured)
