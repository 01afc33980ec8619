"""Verdicts on losses do not depend on their units: on the scale of the targets, and for landscapes on any offset."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from landscape_studies import study
from small_studies import run

import fastgd
from fastgd.datasets import from_arrays, prepare
from fastgd.engine.swarm.reading import Reading
from fastgd.plan.units.recording import TAIL_STEPS
from fastgd.plan.units.workload import loss_scale
from fastgd.problems import LOSSES, Loss
from fastgd.runs.units.outcomes import LANES_AT_ONCE, KnownLandscape, _nearest_of_few, _nearest_of_many, judge
from fastgd.runs.units.stopping import Stopping
from fastgd.schedules import SCHEDULES
from fastgd.search.rate_grid import excess, flat_range
from fastgd.search.rate_sweeps import POINTS, RateSweep, _smoothed
from fastgd.study.config import LandscapeProblem, Stop

SCALES = st.integers(-400, 400).map(lambda power: 2.0**power)  # powers of two: no rounding decides

# --- divergence over data ---------------------------------------------------------------------------------------------


def sgd(*rates):
    return {"name": "sgd", "lr": list(rates)}


@pytest.mark.parametrize("y", [1.0, 1e-4, 1e4, -1e-80])
def test_a_loss_that_rises_without_end_diverges_whatever_the_targets_unit(tmp_path, y):
    data = np.array([[1.0]]), np.array([y])
    fields = {"problem": {"loss": "squared"}, "batch_size": "full", "epochs": None, "steps": 100}
    trials = run(tmp_path / "r", data, optimizer=sgd(0.5, 2.1), **fields).trials.set_index("lr")
    assert trials["status"].to_dict() == {0.5: "completed", 2.1: "diverged"}


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_trial_that_starts_at_its_optimum_and_hovers_does_not_diverge(tmp_path, unit):
    random = np.random.default_rng(0)
    X = random.standard_normal((64, 2))
    y = unit * (X @ [1.0, -2.0])  # without noise: the objective at the start is that of rounding
    fields = {"problem": {"loss": "squared"}, "batch_size": 4, "epochs": 30, "init": {"point": [unit, -2 * unit]}}
    trials = run(tmp_path / "r", (X, y + 1e-9 * unit * random.standard_normal(64)), optimizer=sgd(0.3), **fields).trials
    assert trials["status"].tolist() == ["completed"]


def _first_verdicts(losses, scale):
    stopping = Stopping.start(Stop(patience=3), np.array(losses[:1]), scale=scale)
    return [stopping.judge(np.arange(1), np.array([loss]), epoch)[0][0] for epoch, loss in enumerate(losses)]


@given(losses=st.lists(st.integers(-(10**6), 10**9).map(lambda k: k / 64), min_size=2, max_size=8), unit=SCALES)
def test_the_rules_of_stopping_know_no_unit(losses, unit):
    scaled = [loss * unit for loss in losses]
    assert _first_verdicts(scaled, 2.0 * unit) == _first_verdicts(losses, 2.0)


@pytest.mark.parametrize("start", [0.0, -1e-12, 1e-12])
def test_a_perfect_start_is_judged_by_the_losss_own_scale(start):
    assert _first_verdicts([start, 1.9e3, 2.1e3], 2.0) == ["", "", "diverged"]


@pytest.mark.parametrize(("level", "verdict"), [(-1.0, "stalled"), (0.0, "stalled")])
def test_standing_still_at_or_below_zero_is_standing_still(level, verdict):
    assert _first_verdicts([level] * 5, 1.0)[3:] == [verdict, verdict]
    assert _first_verdicts([level - 0.01 * k for k in range(6)], 1.0) == [""] * 6


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_a_scale_of_its_own(name):
    targets = LOSSES[name].targets
    y = {"binary": [0.0, 1.0], "unit": [0.0, 1.0], "real": [-3.0, 5.0], "count": [0.0, 7.0]}[targets]
    data = prepare(from_arrays(np.ones((2, 1)), np.array(y)), targets=targets, dtype="float64")
    expected = {"logistic": math.log(2), "squared": 8.5, "huber": 3.5, "sigmoid_squared": 0.125}
    expected |= {"poisson": 3.5}  # at a margin of 1: e and 7 - e
    assert loss_scale(data, LOSSES[name]) == pytest.approx(expected.get(name, 1.0))


def test_what_large_counts_overshoot_by_is_no_divergence(tmp_path):
    """From e^0 to e^17.9 - 17.9 million, and back to a minimum of -12.8 million."""
    data = np.ones((4, 1)), np.full(4, 1e6)
    fields = {"problem": {"loss": "poisson"}, "batch_size": "full", "epochs": None, "steps": 300}
    adam = {"name": "adam", "lr": [1.0]}
    trial = run(tmp_path / "r", data, optimizer=adam, **fields).trials.iloc[0]
    assert (trial["status"], trial["final_loss"]) == ("completed", pytest.approx(1e6 - 1e6 * math.log(1e6), rel=1e-3))


def test_without_any_scale_only_what_is_not_finite_diverges():
    """A loss of one's own may be 0, or have no value, at a margin of 0; an objective may begin as infinite."""
    assert _first_verdicts([0.0, 1e-3, 1e9, math.inf], 0.0) == ["", "", "", "diverged"]
    assert _first_verdicts([math.inf, 1.0], 1.0)[0] == "diverged"
    data = prepare(from_arrays(np.ones((2, 1)), np.ones(2)), targets="real", dtype="float64")
    assert loss_scale(data, Loss("log", "", "real", lambda z, y: np.log(z) * y, lambda z, y: y / z)) == 0


# --- outcomes on landscapes -------------------------------------------------------------------------------------------

SIZE = np.array([[-2.0, 2.0], [-2.0, 2.0]])
CURVATURE = np.array([[1.0], [20.0]])


def readings(rate, start, steps=300):
    """Plain descent on a bowl: its start, its last readings, and its steps."""
    w, path = np.array(start).T.astype(float), []
    with np.errstate(all="ignore"):
        for _ in range(steps + 1):
            path.append(w)
            w = w - rate * CURVATURE * w
    return path[0], [path[steps - ago] for ago in (*TAIL_STEPS, 0)]


def outcome(rate, start, unit, offset, minimum):
    def read(w):
        with np.errstate(all="ignore"):
            values = unit * 0.5 * (CURVATURE * w * w).sum(axis=0) + offset
            return Reading(w, values, unit * np.linalg.norm(CURVATURE * w, axis=0))

    first, tail = readings(rate, start)
    minima = np.zeros((1, 2)) if minimum else np.zeros((0, 2))
    landscape = KnownLandscape(SIZE, minima, np.full(len(minima), offset), unit * 1e-9, offset, unit * 10.0)
    died = np.zeros(first.shape[1], int)
    found = judge(landscape, read(first), [read(w) for w in tail], died, 300, 1e3)
    return found.status.names[found.status.codes[0]]


@pytest.mark.parametrize("minimum", [True, False])
@pytest.mark.parametrize("start", [[[1.0, 1.0]], [[1e-9, 1e-9]]])
@given(unit=st.sampled_from([1e-12, 1e-3, 1.0, 1e9]), offset=st.sampled_from([-100.0, 0.0, 3.0]))
def test_outcomes_know_no_unit_and_no_offset(minimum, start, unit, offset):
    near = start[0][0] < 1e-3
    at_rest = "converged" if minimum else "trapped"
    expected = {1e-5: at_rest if near else "completed", 0.05: at_rest}
    if not near:
        expected |= {0.1: "cycling", 0.105: "diverged"}
    for rate, status in expected.items():
        assert outcome(rate, start, unit, unit * offset, minimum) == status, rate


SMALL_BOWL = """
def bowl(x):
    return 1e-8 * (x[0] ** 2 + 20 * x[1] ** 2 - 3)

def large_bowl(x):
    return x[0] ** 2 + 20 * x[1] ** 2
"""


def test_a_landscape_in_a_small_unit_below_zero(tmp_path, monkeypatch):
    (tmp_path / "my_bowls_of_test.py").write_text(SMALL_BOWL)
    monkeypatch.syspath_prepend(tmp_path)
    small, large = (
        LandscapeProblem(landscape=f"my_bowls_of_test:{name}", dimension=2) for name in ("bowl", "large_bowl")
    )
    np.testing.assert_allclose(small.levels(), 1e-8 * (np.array(large.levels()) - 3), rtol=1e-12)
    rates = {1e3: "completed", 2.45e6: "trapped", 2.55e6: "diverged"}  # the limit is 2 / 4e-7
    rates = {rate * 2: status for rate, status in rates.items()}
    fields = {"starts": {"points": [[1.0, 1.0]]}, "optimizer": {"name": "sgd", "lr": [*rates]}, "steps": 1000}
    trials = fastgd.run(study(problem=small.model_dump(), **fields), tmp_path / "r").trials.set_index("lr")
    assert trials["status"].astype(str).to_dict() == rates


@pytest.mark.parametrize(("lowest", "scale"), [(-1e12, 1.0), (0.0, 1e12), (1e-15, 1e-15)])
def test_minima_that_differ_by_rounding_are_all_the_lowest(lowest, scale):
    """And those of a landscape in a small unit that differ by more are not."""
    size = max(scale, abs(lowest))
    rounding = 4 * np.spacing(size)
    for differ, expected in ((rounding, "converged"), (-rounding, "converged"), (size, "trapped")):
        values = np.array([lowest, lowest + max(differ, 0.0)])
        landscape = KnownLandscape(SIZE, np.array([[-1.0, 0.0], [1.0, 0.0]]), values, 1e-30, lowest, scale)
        rest = Reading(np.array([[1.0], [0.0]]), np.array([lowest + differ]), np.array([0.0]))
        found = judge(landscape, rest, [rest] * (len(TAIL_STEPS) + 1), np.zeros(1, int), 300, 1e3)
        assert found.status.names[found.status.codes[0]] == expected


def test_who_is_below_all_known_minima_has_not_converged():
    landscape = KnownLandscape(SIZE, np.zeros((1, 2)), np.array([7.0]), 1e-6, 0.0, 10.0)
    rest = Reading(np.array([[1.0], [1.0]]), np.array([2.0]), np.array([0.0]))
    found = judge(landscape, rest, [rest] * (len(TAIL_STEPS) + 1), np.zeros(1, int), 300, 1e3)
    assert found.status.names[found.status.codes[0]] == "trapped"


def test_many_trials_are_judged_as_few():
    landscape = KnownLandscape(SIZE, np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 0.5]), 1e-6, 0.0, 10.0)
    random, lanes = np.random.default_rng(0), 2 * LANES_AT_ONCE + 5
    died = np.where(random.random(lanes) < 0.1, 7, 0)

    def reading():
        points = np.round(random.uniform(-1.2, 1.2, (2, lanes)), 1)
        return Reading(points, np.abs(points[1]), random.exponential(size=lanes))

    first, tail = reading(), [reading()] * len(TAIL_STEPS) + [reading()]
    whole = judge(landscape, first, tail, died, 300, 1e3)
    for part in (slice(0, 100), slice(LANES_AT_ONCE - 50, LANES_AT_ONCE + 50), slice(lanes - 1, lanes)):
        some = judge(landscape, first.of(part), [each.of(part) for each in tail], died[part], 300, 1e3)
        for name in ("status", "reason"):
            assert np.array_equal(getattr(whole, name).codes[part], getattr(some, name).codes)
        assert whole.minimum[part].tolist() == some.minimum.tolist()
        assert np.array_equal(whole.steps[part], some.steps)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_nearest_of_few_minima_is_that_of_the_tree(d):
    random = np.random.default_rng(d)
    minima, points = np.round(random.uniform(-2, 2, (16, d))), np.round(random.uniform(-3, 3, (d, 2000)), 1)
    points[0, :4] = np.nan, np.inf, -np.inf, 1e300
    for few, many in zip(_nearest_of_few(minima, points), _nearest_of_many(minima, points), strict=True):
        np.testing.assert_array_equal(few, many)


# --- schedules with feedback ------------------------------------------------------------------------------------------


def plateau(losses, **keys):
    rule = SCHEDULES["plateau"].cls(**keys)
    state, before, values = rule.begin(1), np.array([np.nan]), []
    for loss in losses:
        state = rule.judge(state, before, np.array([loss]))
        before, values = np.array([loss]), [*values, float(state.value[0])]
    return values


@pytest.mark.parametrize("mode", ["rel", "abs"])
@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0, -1e-9, 1e9])
def test_a_constant_loss_is_a_plateau_whatever_its_sign(level, mode):
    found = plateau([level] * 8, patience=2.0, threshold_mode=mode)
    np.testing.assert_allclose(found, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


@given(level=st.integers(-(10**6), 10**6).map(lambda k: k / 16), threshold=st.floats(0.01, 2))
def test_the_margin_of_a_plateau_is_relative_to_the_size_of_the_best(level, threshold):
    margin = threshold * abs(level)
    slight, clear = level - 0.9 * margin, level - 1.1 * margin - 1e-9
    assert plateau([level, slight], patience=0.0, threshold=threshold)[-1] == pytest.approx(
        0.1 if slight >= level - margin else 1.0
    )
    assert plateau([level, clear], patience=0.0, threshold=threshold)[-1] == 1


@pytest.mark.parametrize("offset", [-10.0, 0.0, 10.0])
def test_a_rise_is_a_rise_below_zero_too(offset):
    rule = SCHEDULES["halve_on_rise"].cls()
    state = rule.judge(rule.begin(3), np.zeros(3) + offset, np.array([-1.0, 0.0, 1.0]) + offset)
    assert state.value.tolist() == [1.0, 1.0, 0.5]


def test_a_plateaus_value_never_rises():
    assert plateau([1.0] * 5, patience=1.0, start=0.1, min=0.5) == [0.1] * 5


# --- searches of rates ------------------------------------------------------------------------------------------------


@given(offset=st.sampled_from([-100.0, -1.0, 0.0, 7.0]), unit=st.sampled_from([1e-6, 1.0, 1e6]))
def test_flat_ranges_know_no_unit_and_no_offset(offset, unit):
    losses = {0.001: 0.99, 0.01: 0.04, 0.1: 0.0, 1.0: 0.03, 10.0: math.inf}
    tried = {rate: unit * (loss + offset) for rate, loss in losses.items()}
    assert flat_range(excess(tried, unit * (1.0 + offset)), 0.1) == (0.01, 1.0)


@given(offset=st.sampled_from([-100.0, -1.0, -0.5, 7.0]), unit=st.sampled_from([1e-6, 1.0, 1e6]))
def test_range_tests_know_no_unit_and_no_offset(offset, unit):
    rates = np.geomspace(1e-6, 10.0, POINTS)
    place = np.log10(rates) + 2
    loss = np.where(place < 0, 1 / (1 + np.exp(4 * (place + 1))), 0.02 * np.exp(5 * place))
    loss[rates > 3] = np.inf

    def found(unit, offset):
        values, start = unit * (loss + offset), unit * (1 + offset)
        sweep = RateSweep({}, rates, values, _smoothed(values, rates, start), start)
        return sweep.least, sweep.steepest, sweep.blow_up, sweep.suggestion

    np.testing.assert_allclose(found(unit, offset), found(1.0, -0.5), rtol=0.1)
