"""The swarm engine: its steps against plain NumPy, its bits, and what it notes of each lane."""

from typing import NamedTuple

import numpy as np
import pytest
from cohorts import TYPES, spread
from swarms import make_swarm, steps_in_numpy

from fastgd.problems import LANDSCAPES, find_landscape, landscape

# Rules of every kind: slots or none, memory, sums over the coordinates in one round and in two, a reported iterate that
# is not the state, the loss of each step.
RULES = [
    ("sgd", {}, 2),
    ("nesterov", {}, 2),
    ("adam", {"options": {"clip": "norm"}, "hyper": [{"clip.norm": 0.7}]}, 2),
    ("nadam", {}, 3),
    ("schedule_free_sgd", {}, 2),
    ("lamb", {"options": {"clip": "norm"}, "hyper": [{"clip.norm": 0.7}]}, 2),
    ("prodigy", {}, 9),
    ("polyak", {}, 2),
    ("adagrad", {"options": {"averaging": "ema"}}, 9),
]


def random_starts(landscape, n, d, seed=3, scale=1.0):
    box = find_landscape(landscape).box(d)
    return box[:, 0] + np.random.default_rng(seed).random((n, d)) * (box[:, 1] - box[:, 0]) * scale


SOME = [rule for rule in RULES if rule[0] in ("nesterov", "lamb", "polyak", "adagrad")]


@pytest.mark.parametrize(("name", "options", "d"), spread(RULES, SOME), ids=[f"{name}-{d}" for name, _, d in RULES])
def test_steps_are_those_of_the_rule(name, options, d):
    starts = random_starts("rosenbrock", 40, d)
    swarm = make_swarm("rosenbrock", name, starts=starts, d=d, **options)
    path, slots, memory = steps_in_numpy(swarm, starts, 60)
    swarm.advance(60)
    kept = np.isfinite(path[-1]).all(axis=0) & (np.abs(path[-1]).max(axis=0) < 1e3)
    assert kept.sum() > 10
    np.testing.assert_allclose(swarm.read().positions[:, kept], path[-1][:, kept], rtol=1e-9, atol=1e-11)
    for found, expected in zip([*swarm.now().slots(), *swarm.now().memory()], [*slots, *memory], strict=True):
        np.testing.assert_allclose(found[..., kept], expected[..., kept], rtol=1e-8, atol=1e-11)


@landscape(dimension=(2, 2), domain=(-1.0, 1.0))
class Mixed(NamedTuple):
    """Numbers between arrays, one of which is empty."""

    first: tuple[float, ...] = (2.0, 3.0)
    a: float = 0.5
    none: tuple[float, ...] = ()
    b: float = -1.5
    last: tuple[float, ...] = (1.0, 4.0, 9.0)

    def value(p, x):  # noqa: N805
        total = p.a * x[0] + p.b * x[1] + len(p.none)
        for i in range(len(p.first)):
            total = total + p.first[i] * x[0] * x[0]
        for i in range(len(p.last)):
            total = total + p.last[i] * x[1] * x[1]
        return total


@pytest.mark.parametrize("params", [{}, {"first": (7.0,), "none": (1.0, 2.0), "last": tuple(np.arange(300.0))}])
def test_parameters_reach_the_kernels_as_numbers_and_arrays(params):
    """Arrays of any length are arguments: the kernels are those of the defaults."""
    record = find_landscape(f"{__name__}:Mixed")
    swarm = make_swarm(f"{__name__}:Mixed", "sgd", params=params, hyper=[{"lr": 1e-6}])
    path, *_ = steps_in_numpy(swarm, swarm.read().positions.T.copy(), 3)
    swarm.advance(3)
    reading = swarm.read()
    np.testing.assert_allclose(reading.positions, path[-1], rtol=1e-12)
    np.testing.assert_allclose(reading.loss, record.values(swarm.spec.p, reading.positions), rtol=1e-12)


IN_KERNELS = [(name, *kind) for name in LANDSCAPES for kind in (("float64", 1e-10), ("float32", 2e-3))]
# Plain and of any number of coordinates, projected and of one, and with arrays of its own.
IN_KERNELS_SPREAD = [
    (name, "float64", 1e-10) for name in ("rosenbrock", "adam_counterexample", "toy_neuron", "rastrigin")
]
IN_KERNELS_SPREAD.append(("rosenbrock", "float32", 2e-3))


@pytest.mark.parametrize(
    ("landscape", "dtype", "tolerance"),
    spread(IN_KERNELS, IN_KERNELS_SPREAD),
)
def test_every_landscape_in_the_kernels(landscape, dtype, tolerance):
    """Values and gradients in both types, in the first dimension that it has."""
    record, starts, swarm = on_landscape(landscape, dtype)
    reading, p = swarm.read(), swarm.spec.p
    values = record.values(p, starts.T)
    scale = max(1.0, np.abs(values).max())
    np.testing.assert_allclose(reading.loss, values, rtol=tolerance, atol=tolerance * scale / 100)
    if not record.online:
        norms = np.linalg.norm(record.gradients(p, starts.T), axis=0)
        np.testing.assert_allclose(reading.grad_norm, norms, rtol=tolerance, atol=tolerance * norms.max())


@pytest.mark.parametrize(("landscape", "dtype", "tolerance"), spread(IN_KERNELS, IN_KERNELS_SPREAD))
def test_steps_on_every_landscape(landscape, dtype, tolerance):
    _, starts, swarm = on_landscape(landscape, dtype)
    path, *_ = steps_in_numpy(swarm, starts, 20)
    calm = np.abs(path).max(axis=(0, 1)) < 50
    swarm.advance(20)
    found, expected = swarm.read().positions[:, calm], path[-1][:, calm]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def on_landscape(landscape, dtype):
    record = find_landscape(landscape)
    d = max(2, record.dimension[0]) if record.dimension[1] > 1 else 1
    starts = random_starts(landscape, 50, d)
    return record, starts, make_swarm(landscape, "sgd", starts=starts, dtype=dtype)


@TYPES
def test_bits_do_not_depend_on_threads_neighbours_or_calls(dtype):
    hyper = [{"lr": rate} for rate in (1e-4, 1e-3, 2e-2)]
    starts = random_starts("rosenbrock", 700, 2)
    common = {"name": "adam", "hyper": hyper, "dtype": dtype, "threshold": 1e-3, "noise": 0.1}

    def ends(swarm, *cuts):
        for steps in cuts:
            swarm.advance(steps)
        reading = swarm.read()
        return np.vstack([reading.positions, reading.loss, swarm.steps_to_tolerance(reading.loss)])

    whole = ends(make_swarm(starts=starts, threads=2, **common), 100)
    assert np.array_equal(whole, ends(make_swarm(starts=starts, **common), 100))
    assert np.array_equal(whole, ends(make_swarm(starts=starts, **common), 1, 31, 33, 35))
    few = np.array([5, 300, 699])  # one of each configuration, which now share a group
    assert np.array_equal(whole[:, few], ends(make_swarm(starts=starts, lanes=few, **common), 100))


def test_noise_is_that_of_its_streams():
    starts = random_starts("himmelblau", 30, 2)
    swarm = make_swarm("himmelblau", "sgd", starts=starts, noise=0.3, seed=4)
    path, *_ = steps_in_numpy(swarm, starts, 50, seed=4)
    quiet, *_ = steps_in_numpy(make_swarm("himmelblau", "sgd", starts=starts), starts, 50)
    swarm.advance(50)
    np.testing.assert_allclose(swarm.read().positions, path[-1], rtol=1e-10, atol=1e-11)
    assert np.abs(path[-1] - quiet[-1]).max() > 1e-3


def test_schedules_drive_the_rate_and_the_momentum():
    starts = random_starts("booth", 30, 2)

    def schedule(first, steps):
        t = np.arange(first, first + steps)
        return np.stack([0.99**t, np.minimum(0.9, t / 50)], axis=1)

    swarm = make_swarm(
        "booth", "momentum", starts=starts, hyper=[{"lr": 0.02}], schedule=schedule, scheduled=("lr", "momentum")
    )
    path, *_ = steps_in_numpy(swarm, starts, 80)
    swarm.advance(30)
    swarm.advance(50)
    np.testing.assert_allclose(swarm.read().positions, path[-1], rtol=1e-10, atol=1e-11)


def test_the_step_at_which_a_lane_dies_is_known_and_harms_no_other():
    starts = random_starts("rosenbrock", 200, 2)
    swarm = make_swarm("rosenbrock", "sgd", starts=starts, hyper=[{"lr": 2e-3}])
    path, *_ = steps_in_numpy(swarm, starts, 100)
    dead = ~np.isfinite(path).all(axis=1)
    first = np.where(dead.any(axis=0), dead.argmax(axis=0), 0)
    assert 0 < (first > 0).sum() < 200
    assert len(np.unique(first)) > 3
    swarm.advance(100)
    assert np.array_equal(swarm.died(), first)
    kept = np.flatnonzero(first == 0)
    alone = make_swarm("rosenbrock", "sgd", starts=starts[kept], hyper=[{"lr": 2e-3}])
    alone.advance(100)
    assert np.array_equal(alone.read().positions, swarm.read().positions[:, kept])


@pytest.mark.parametrize("cuts", [[150], [70, 80], [1] * 150], ids=["one call", "two", "each step"])
@pytest.mark.parametrize(("landscape", "d", "lr"), [("booth", 2, 0.03), ("rosenbrock", 5, 1e-3)])
def test_steps_to_the_tolerance_are_exact(landscape, d, lr, cuts):
    """However many lanes of a group arrive between two looks, with points in registers and in memory."""
    starts = random_starts(landscape, 100, d)
    threshold = {"booth": 1e-4, "rosenbrock": 5.0}[landscape]
    swarm = make_swarm(landscape, "momentum", starts=starts, d=d, hyper=[{"lr": lr}], threshold=threshold)
    path, *_ = steps_in_numpy(swarm, starts, 150)
    below = np.stack([swarm.spec.landscape.values(swarm.spec.p, x) for x in path]) <= threshold
    expected = np.where(below.any(axis=0), below.argmax(axis=0), -1)
    assert len(np.unique(expected)) > 5
    for steps in cuts:
        swarm.advance(steps)
    assert np.array_equal(swarm.steps_to_tolerance(swarm.read().loss), expected)


@pytest.mark.full
def test_a_thousand_coordinates():
    starts = random_starts("styblinski_tang", 20, 1000)
    swarm = make_swarm("styblinski_tang", "adam", starts=starts, d=1000, hyper=[{"lr": 0.01}])
    path, *_ = steps_in_numpy(swarm, starts, 20)
    swarm.advance(20)
    np.testing.assert_allclose(swarm.read().positions, path[-1], rtol=1e-10, atol=1e-12)


def test_a_line_search_takes_the_best_of_its_rates():
    from fastgd.optimizers.line_search import LINE_SEARCHES

    rates = (0.1, 0.5, 1, 5, 10)
    search = LINE_SEARCHES["best"].cls(rates=rates)
    starts = random_starts("toy_neuron", 5, 2)
    swarm = make_swarm("toy_neuron", "sgd", starts=starts, hyper=[{"lr": 1.0}], line_search=search)
    record, p, x = swarm.spec.landscape, swarm.spec.p, starts.T.copy()
    for _ in range(15):
        g = record.gradients(p, x)
        candidates = np.stack([x - rate * g for rate in rates])
        best = np.argmin([record.values(p, candidate) for candidate in candidates], axis=0)
        x = np.take_along_axis(candidates, best[None, None], axis=0)[0]
    swarm.advance(15)
    np.testing.assert_allclose(swarm.read().positions, x, rtol=1e-9)
    assert swarm.line.evaluations.tolist() == [75] * 5


def test_a_line_search_leaves_other_schedules_alone():
    from fastgd.optimizers.line_search import LINE_SEARCHES

    def schedule(first, steps):
        return np.minimum(0.9, np.arange(first, first + steps) / 10)[:, None]

    search = LINE_SEARCHES["best"].cls(rates=(0.01, 0.1))
    starts = random_starts("booth", 5, 2)
    common = {"starts": starts, "hyper": [{"lr": 1.0}], "line_search": search}
    plain = make_swarm("booth", "momentum", **common)
    driven = make_swarm("booth", "momentum", **common, schedule=schedule, scheduled=("momentum",))
    for swarm in (plain, driven):
        swarm.advance(10)
    assert np.abs(plain.positions() - driven.positions()).max() > 1e-3


def test_a_value_that_is_no_number_is_not_within_the_tolerance():
    starts = random_starts("three_hump_camel", 200, 2)
    swarm = make_swarm("three_hump_camel", "sgd", starts=starts, hyper=[{"lr": 0.4}], threshold=1e-6)
    swarm.advance(60)
    loss, died = swarm.read().loss, swarm.died()
    assert (died > 0).sum() > 20
    path, *_ = steps_in_numpy(swarm, starts, 60)
    reached = np.stack([swarm.spec.landscape.values(swarm.spec.p, x) for x in path]) <= 1e-6
    assert np.array_equal(swarm.steps_to_tolerance(loss) >= 0, reached.any(axis=0))


@TYPES
@pytest.mark.parametrize("name", spread(["sgd", "nesterov", "nadam", "schedule_free_sgd"]))
def test_many_moments_are_read_as_each_by_itself(name, dtype):
    """Also where what is reported depends on the step: a rate that a schedule drives, a readout."""
    fields = {
        "scheduled": ("lr",),
        "schedule": lambda first, steps: 1 / (1.0 + np.arange(first, first + steps)[:, None]),
    }
    swarm = make_swarm("rosenbrock", name, n=45, hyper=[{"lr": 1e-3}, {"lr": 1e-4}], dtype=dtype, **fields)
    alone, taken = [], []
    for step in range(4):
        swarm.advance(min(step, 1))
        reading = swarm.read()
        taken.append(swarm.moment())
        now = swarm.view(taken[-1:])
        alone.append((*reading.positions, reading.loss, reading.grad_norm, *now.memory(), *now.hyper().T,
                      *now.slots().reshape(-1, 45)))  # fmt: skip
    seen = swarm.view(taken)
    reading = seen.read()
    together = (*reading.positions, reading.loss, reading.grad_norm, *seen.memory(), *seen.hyper().T,
                *seen.slots().reshape(-1, 4 * 45))  # fmt: skip
    np.testing.assert_array_equal(np.stack(together), np.concatenate([np.stack(each) for each in alone], axis=1))
    before = swarm.read().positions
    swarm.advance(1)
    assert not np.array_equal(swarm.read().positions, before), "the swarm itself goes on"
