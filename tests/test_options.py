"""Options around rules: against their equations written out, and the invariants that hold for any rule."""

from collections import defaultdict
from itertools import islice
from typing import NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
import reference
import small_studies
from cohorts import PARTS, SINGLE, SMALL, TYPES, in_full, make_cohort, problem, relative_error, spread

import fastgd
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.options import OPTIONS, TABLES, kind_of, kinds
from fastgd.optimizers.rule import Rule, chosen

N, D, STEPS = 600, 9, 60
X, Y = problem(N, D)
KERNELS = [(SMALL, 64), (SMALL, 300), (SINGLE, 64), (PARTS, N)]

# Numbers that make each option do something on this problem.
NUMBERS = {
    "clip.value": 0.05,
    "clip.norm": 0.1,
    "clip.layer_norm": 0.1,
    "proximal.l1": 0.02,
    "proximal.l2": 0.1,
    "lookahead.every": 3.0,
    "lookahead.alpha": 0.6,
    "averaging.decay": 0.8,
    "averaging.start": 7.0,
}
ALL = {"clip": "norm", "proximal": "", "lookahead": "", "averaging": "ema"}
# Each kind once, all tables at once, and around rules that have sums, memory or the batch's objective themselves.
COMBINATIONS = {
    "value": ("momentum", {"clip": "value"}),
    "norm": ("momentum", {"clip": "norm"}),
    "layer_norm": ("momentum", {"clip": "layer_norm"}),
    "proximal": ("momentum", {"proximal": ""}),
    "lookahead": ("momentum", {"lookahead": ""}),
    "ema": ("momentum", {"averaging": "ema"}),
    "polyak": ("momentum", {"averaging": "polyak"}),
    "averaged nesterov": ("nesterov", {"averaging": "polyak", "clip": "value"}),
    "all": ("adam", ALL),
    "around sums": ("lamb", {"clip": "norm", "lookahead": "", "averaging": "polyak"}),
    "around memory": ("nadam", {"lookahead": "", "averaging": "ema"}),
    "around the objective": ("momo", {"lookahead": "", "averaging": "polyak"}),
}
CASES = pytest.mark.parametrize(("name", "around"), COMBINATIONS.values(), ids=COMBINATIONS)
# Whose bits are compared: one with sums, which is also tried with a lane alone, one with memory, all options at once.
FEW = ("norm", "all", "around memory")
# Whose equations are computed without `full`: each option is among them, and what is around sums. PyTorch and optax
# are witnesses of the others, alone.
ALONE = ("value", "norm", "all", "around sums")
RATES = (0.02, 0.05, 0.1, 0.2)


def lanes_of(name, around):
    """A lane for each rate, each with other numbers of the options."""
    rule = Rule.of(OPTIMIZERS[name], {}, around)
    numbers = {key: value for key, value in NUMBERS.items() if key in rule.fields}
    lanes = [{"lr": 100 * rate if name == "momo" else rate, **numbers} for rate in RATES]  # momo's is a bound only
    for factor, lane in enumerate(lanes, 1):
        for key in ("clip.norm", "clip.layer_norm", "clip.value", "proximal.l1"):
            if key in lane:
                lane[key] *= factor
        if "lookahead.every" in lane:
            lane["lookahead.every"] = 2.0 + factor
    return lanes


def cohort_of(name, around, lanes=None, **options):
    options = {"l2": 1e-2, "init": 0.4, "kernel": SMALL, **options}
    return make_cohort(X, Y, lanes or lanes_of(name, around), name, around=around, **options)


# --- the equations, written out ---------------------------------------------------------------------------------------


def plain_step(name, t, w, g, objective, s, lr):
    """One step of a rule with its defaults: the iterate, and what is reported."""
    if name == "nesterov":
        s["u"] = 0.9 * s["u"] + g
        w = w - lr * (g + 0.9 * s["u"])
        return w, w + lr * 0.9 * s["u"]

    gradient = Mock(return_value=g, objective=Mock(return_value=objective))  # of the same batch, wherever it is asked
    defaults = {key: value for key, value in OPTIMIZERS[name].hyper.items() if key != "lr"}
    w = reference.OPTIMIZERS[name](w, gradient, t, s, lr=lr, **defaults)
    return w, w


def by_numpy(name, around, numbers, start, batches, weights=D):
    """What is reported after a step on each batch, and the state; the parameters behind the `weights` are intercepts.

    `numbers` are a lane's, or a function of the step t; a batch is a function of the parameters: gradient, objective.
    """
    w, s, slow, average = start.copy(), defaultdict(float), start.copy(), start.copy()
    for t, batch in enumerate(batches, 1):
        (g, objective), lane = batch(w), numbers(t) if callable(numbers) else numbers
        if around.get("clip") == "value":
            g = np.clip(g, -lane["clip.value"], lane["clip.value"])
        elif "clip" in around:  # a linear model is one layer
            g = g * min(1, lane[f"clip.{around['clip']}"] / (np.linalg.norm(g) + 1e-6))
        w, reported = plain_step(name, t, w, g, objective, s, lane["lr"])
        if "proximal" in around:
            lr, l1, l2 = lane["lr"], lane["proximal.l1"], lane["proximal.l2"]
            inner = np.sign(w) * np.maximum(np.abs(w) - lr * l1, 0) / (1 + lr * l2)
            w = reported = np.append(inner[:weights], w[weights:])  # an intercept is not penalised
        if "lookahead" in around:
            if t % lane["lookahead.every"] == 0:
                w = slow = slow + lane["lookahead.alpha"] * (w - slow)
            reported = slow
        after = t - lane.get("averaging.start", 0)
        if around.get("averaging") == "ema":
            decay = lane["averaging.decay"]
            reported = average = reported if after <= 1 else decay * average + (1 - decay) * reported
        elif around.get("averaging") == "polyak":
            reported = average = reported if after <= 1 else average + (reported - average) / after
    return reported, w


def trained(name, around, numbers, start, batch_size, l2=1e-2):
    """What is reported after STEPS steps on the problem's rows in the engine's order."""
    model = {"loss": "logistic", "l2": l2, "intercept": True}

    def batch(at):
        return lambda w: (fn(X[at], Y[at], w, **model) for fn in (reference.gradient, reference.objective))

    batches = map(batch, islice(reference.batches(N, batch_size, 3), STEPS))
    return by_numpy(name, around, numbers, start, batches)[0]


@pytest.mark.parametrize(
    ("name", "around", "kernel", "batch_size"),
    [
        pytest.param(
            *case,
            *kernel,
            id=f"{label}-{kernel[0].name}, {kernel[1]} rows",
            marks=[] if label in ALONE and (kernel[0] != SINGLE or label == "norm") else [pytest.mark.full],
        )
        for label, case in COMBINATIONS.items()
        for kernel in KERNELS
    ],
)
def test_it_computes_its_equations(name, around, kernel, batch_size):
    cohort = cohort_of(name, around, kernel=kernel, batch_size=batch_size)
    start = cohort.parameters()[0]
    cohort.advance(STEPS)
    for found, lane in zip(cohort.parameters(), lanes_of(name, around), strict=True):
        assert relative_error(found, trained(name, around, lane, start, batch_size)) < 1e-11


def test_a_linear_model_is_one_layer():
    kinds_of_norm = ("norm", "layer_norm")
    lanes = [[{"lr": rate, f"clip.{kind}": 0.1} for rate in RATES] for kind in kinds_of_norm]
    one, other = (cohort_of("momentum", {"clip": kind}, own) for kind, own in zip(kinds_of_norm, lanes, strict=True))
    for cohort in (one, other):
        cohort.advance(STEPS)
    np.testing.assert_array_equal(one.parameters(), other.parameters())


@CASES
def test_every_option_of_a_case_does_something(name, around):
    """Else a case would prove nothing: without any one of its options the equations end elsewhere, in each lane."""
    start = cohort_of("sgd", {}, [{"lr": 0.1}]).parameters()[0]
    for lane in lanes_of(name, around):
        end = trained(name, around, lane, start, 64)
        for table in around:
            others = {other: kind for other, kind in around.items() if other != table}
            assert relative_error(trained(name, others, lane, start, 64), end) > 1e-4


def test_every_option_is_among_the_cases():
    tried = {(table, kind) for _, around in COMBINATIONS.values() for table, kind in around.items()}
    assert tried == {(record.table, record.kind) for record in OPTIONS.values()}
    assert {record.table for record in OPTIONS.values()} == set(TABLES)


class Falling(NamedTuple):
    """A schedule of one number, from that of each lane."""

    starts: np.ndarray
    per_step: bool = True

    def __call__(self, first, steps):
        return (self.starts / (1 + 0.1 * np.arange(first, first + steps)[:, None]))[:, None, :]


@pytest.mark.parametrize(
    ("case", "driven"),
    [
        ("norm", "clip.norm"),
        in_full("proximal", "lr"),  # the threshold falls with the rate
        in_full("proximal", "proximal.l1"),
        in_full("lookahead", "lookahead.alpha"),
        in_full("ema", "averaging.decay"),
        ("all", "lr"),
        ("all", "proximal.l1"),
    ],
)
def test_a_schedule_may_drive_a_number_inside_or_of_an_option(case, driven):
    name, around = COMBINATIONS[case]
    lanes = lanes_of(name, around)
    schedule = Falling(np.array([lane[driven] for lane in lanes]))
    cohort = cohort_of(name, around, scheduled=(driven,), schedule=schedule, batch_size=64)
    start = cohort.parameters()[0]
    cohort.advance(STEPS)
    for lane, values, found in zip(lanes, schedule(0, STEPS)[:, 0].T, cohort.parameters(), strict=True):
        at = [{**lane, driven: value} for value in values]
        expected = trained(name, around, lambda t, at=at: at[t - 1], start, 64)
        assert relative_error(found, expected) < 1e-11


def test_the_norm_is_that_of_all_parameters_and_of_the_penalty_too():
    """The first step of plain descent is as long as the bound allows, an intercept and a large penalty included."""
    lanes = [{"lr": 0.5, "clip.norm": bound} for bound in (1e-3, 0.02, 1e3)]
    cohort = cohort_of("sgd", {"clip": "norm"}, lanes, l2=3.0, batch_size=64)
    start = cohort.parameters()
    cohort.advance(1)
    steps = (start - cohort.parameters()) / 0.5
    at = next(reference.batches(N, 64, 3))
    g = reference.gradient(X[at], Y[at], start[0], loss="logistic", l2=3.0, intercept=True)
    length = np.linalg.norm(g)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), [1e-3, 0.02, length], rtol=2e-6)  # of 1e-6 in the bound
    np.testing.assert_allclose(steps, [g / length * r for r in (1e-3, 0.02, length)], rtol=2e-6, atol=1e-12)


# --- what holds for any rule ------------------------------------------------------------------------------------------


@TYPES
@pytest.mark.parametrize(
    ("name", "around", "kernel", "batch_size"),
    [
        pytest.param(
            *case,
            *kernel,
            id=f"{label}-{kernel[0].name}",
            marks=[] if label == "norm" or (label in FEW and kernel[0] != SINGLE) else [pytest.mark.full],
        )
        for label, case in COMBINATIONS.items()
        for kernel in ((SMALL, 64), (SINGLE, 64), (PARTS, N))
    ],
)
def test_bits_do_not_depend_on_threads_pieces_or_neighbours(name, around, kernel, batch_size, dtype):
    lanes = lanes_of(name, around) * 3
    options = {"lanes": lanes, "kernel": kernel, "batch_size": batch_size, "dtype": dtype}
    whole, cut, retired = (cohort_of(name, around, **options, threads=threads) for threads in (1, 2, 3))
    whole.advance(20)
    for steps in (1, 6, 3):
        cut.advance(steps)
        retired.advance(steps)
    keep = np.isin(np.arange(12), (1, 6, 11))
    retired.retire(keep)
    for rest in (cut, retired):
        rest.advance(10)
    assert np.isfinite(whole.parameters()).all()
    np.testing.assert_array_equal(cut.parameters(), whole.parameters())
    np.testing.assert_array_equal(retired.parameters(), whole.parameters()[keep])
    alone = cohort_of(name, around, **{**options, "lanes": lanes[6:7]})
    alone.advance(20)
    np.testing.assert_array_equal(alone.parameters(), whole.parameters()[6:7])


@pytest.mark.parametrize(("name", "around"), spread(COMBINATIONS.values(), [COMBINATIONS["norm"]]), ids=COMBINATIONS)
def test_float32_is_near(name, around):
    ends = []
    for dtype in ("float64", "float32"):
        cohort = cohort_of(name, around, batch_size=64, dtype=dtype)
        cohort.advance(STEPS)
        ends.append(cohort.parameters())
    assert relative_error(ends[1], ends[0]) < 1e-4


def test_a_gradient_that_is_not_a_number_stays_one():
    """Clipping may not bring a lane that has diverged back to life, nor harm another."""
    for kind, number in (("value", "clip.value"), ("norm", "clip.norm")):
        lanes = [{"lr": 1e200, number: 1e200}, {"lr": 0.1, number: 1.0}]
        cohort = make_cohort(X, Y, lanes, "sgd", around={"clip": kind}, loss="squared", kernel=SMALL, batch_size=64)
        cohort.advance(20)
        assert not (np.abs(cohort.parameters()[0]) < 1e100).any()
        assert np.isfinite(cohort.parameters()[1]).all()


IDLE = {"clip.value": 1e6, "clip.norm": 1e6, "proximal.l1": 0.0, "proximal.l2": 0.0, "averaging.start": 1e6}
IDLE |= {"lookahead.every": 1.0, "lookahead.alpha": 1.0}


@pytest.mark.parametrize("case", spread(["value", "norm", "proximal", "lookahead", "ema", "polyak"], ["value", "norm"]))
def test_an_option_that_has_nothing_to_do_changes_nothing(case):
    """Up to rounding: its arithmetic is contracted with the rule's."""
    name, around = COMBINATIONS[case]
    ends = []
    for options in (around, {}):
        cohort = cohort_of(name, options, [{"lr": lr, **IDLE} for lr in RATES], batch_size=64)
        cohort.advance(STEPS)
        ends.append(cohort.parameters())
    assert relative_error(*ends) < 1e-13


def test_a_rule_without_options_is_compiled_once():
    optimizers = [{"name": "momentum", "lr": 0.1}, {"name": "adam", "lr": 0.1}]
    study = fastgd.Study(name="ids", epochs=3, batch_size=8, problem={"loss": "logistic"}, optimizer=optimizers)
    for block in study.optimizer:
        record = OPTIMIZERS[block.name]
        assert repr(Rule.of(record, {}, block.kinds)) == repr(Rule.of(record, {}))


def test_a_rule_knows_the_options_around_it():
    record, around = OPTIMIZERS["adam"], Rule.of(OPTIMIZERS["adam"], {}, ALL)
    assert around.options == ("clip, norm", "proximal", "lookahead", "averaging, ema")
    assert around.base.options == ()
    assert list(around.fields)[: len(record.hyper)] == list(record.hyper)
    assert [option.table for option in chosen(ALL)] == list(TABLES)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_a_rule_allows_is_what_its_functions_do(name):
    """A step that is a rate times a direction, and a step that goes on from where the parameter is."""
    rule = Rule.of(OPTIMIZERS[name], {})
    placed_from_sums = {"ftrl", "cocob", "dadapt_sgd"}
    assert rule.moves == (not rule.has_readout and name not in placed_from_sums)
    if rule.linear_in_rate:
        assert "lr" in rule.fields
        assert not rule.measures
    else:
        assert name not in {"sgd", "momentum", "adam", "adamw", "adagrad", "rmsprop", "signsgd", "lion"}


# --- study files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            {"name": "lamb", "proximal": {"l1": 0.1}},
            r"\.proximal: does not go with 'lamb': its step is not the rate times",
        ),
        (
            {"name": "momentum", "form": ["torch", "lecture"], "proximal": {}},
            r"\.proximal: does not go with 'momentum'",
        ),
        ({"name": "nesterov", "lookahead": {}}, r"\.lookahead: does not go with 'nesterov': it reports another point"),
        ({"averaging": {"start": 5}}, r"\.averaging: start does not tell which kind is meant; give kind = 'ema'"),
        ({"averaging": {"kind": "polyak", "decay": 0.9}}, r"\.averaging\.decay is not a known key"),
        ({"averaging": {"decay": 1.0}}, r"\.averaging\.decay must be less than 1, found 1"),
        ({"averaging": {"kind": "ema", "start": -1}}, r"\.averaging\.start must be at least 0, found -1"),
        ({"lookahead": {"alpha": 1.5}}, r"\.lookahead\.alpha must be at most 1, found 1\.5"),
        ({"proximal": {"l1": [0.1, -1.0]}}, r"\.proximal\.l1\.1 must be at least 0, found -1"),
        ({"clip": {"norm": float("inf")}}, r"\.clip\.norm must be a finite number, found inf"),
        ({"clip": [{"norm": 1.0}, {"value": 0.0}]}, r"\.clip\.1\.value must be greater than 0, found 0"),
    ],
)
def test_a_study_that_cannot_have_it_names_the_key(optimizer, message):
    with pytest.raises(fastgd.InputError, match=f"optimizer{message}"):
        small_studies.study_of(optimizer={"name": "sgd", "lr": 0.1, **optimizer})


# --- arrays of one's own ----------------------------------------------------------------------------------------------


ON_ARRAYS = {  # options, and what changes before the fourth step
    "momentum": ({"clip": {"norm": 0.5}, "lookahead": {"every": 2}, "averaging": {"decay": 0.5}}, {"clip.norm": 0.1}),
    "adam": (
        {"clip": {"value": 0.7}, "proximal": {"l1": 0.4}, "averaging": {"kind": "polyak", "start": 2}},
        {"lr": 0.2},
    ),
}


@pytest.mark.full
@TYPES
@pytest.mark.parametrize("size", [7, 200_000])
@pytest.mark.parametrize(
    ("name", "options", "later"), [(name, *case) for name, case in ON_ARRAYS.items()], ids=ON_ARRAYS
)
def test_a_step_on_an_array_takes_options(name, options, later, size, dtype):
    rng = np.random.default_rng(size)
    start, *gradients = rng.standard_normal((6, size)).astype(dtype)
    ends = []
    for threads in (1, 2, 3):
        made = getattr(fastgd.optimizers, name)(start.copy(), lr=0.1, threads=threads, **options)
        for t, g in enumerate(gradients, 1):
            made.step(g, **(later if t == 4 else {}))
        ends.append((made.iterate(), made.w))
    for end in ends[1:]:
        np.testing.assert_array_equal(end, ends[0])
    around = {table: kind_of(table, values) for table, values in options.items()}
    numbers = {f"{table}.{key}": value for table, values in options.items() for key, value in values.items()}
    lane = {"lr": 0.1, "lookahead.alpha": 0.5, "proximal.l2": 0.0, **numbers}
    batches = [lambda w, g=g: (g.astype(float), 0.0) for g in gradients]
    expected = by_numpy(name, around, lambda t: lane | (later if t >= 4 else {}), start.astype(float), batches, size)
    # Adam's 1 - 0.999^t keeps 5 digits of float32, as 0.999 itself is rounded.
    np.testing.assert_allclose(ends[0], expected, rtol=0, atol=1e-13 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "lamb",
            {"proximal": {"l1": 0.1}},
            "lamb does not go with proximal: its step is not the rate times a direction",
        ),
        ("ftrl", {"lookahead": {}}, "ftrl does not go with lookahead: it computes the parameters anew"),
        (
            "nesterov",
            {"lookahead": {}},
            "nesterov does not go with lookahead: it reports another point than the one from which",
        ),
        (
            "adam",
            {"averaging": {}},
            "adam: averaging: an empty table does not tell which kind is meant; give kind = 'ema'",
        ),
        ("adam", {"clip": {"kind": "size"}}, "adam: clip: there is no kind 'size'"),
        ("adam", {"clip": {"norm": -1.0}}, "adam: clip.norm = -1.0: input should be greater than 0"),
        ("adam", {"clip": {"norm": 1.0, "value": 1.0}}, "adam: clip: norm and value do not tell which"),
    ],
)
def test_what_does_not_fit_an_array_is_named(name, options, message):
    with pytest.raises(fastgd.InputError, match=f"^{message}".replace("(", r"\(")):
        getattr(fastgd.optimizers, name)(np.zeros(3), lr=0.1, **options)


def test_kinds_are_told_by_their_keys_and_slots_by_their_tables():
    assert list(kinds("clip")) == ["value", "norm", "layer_norm"]
    made = fastgd.optimizers.momentum(np.ones(3), lr=0.1, averaging={"decay": 0.9}, lookahead={}, clip={"norm": 1.0})
    assert list(made.slots) == ["velocity", "lookahead.slow", "averaging.average"]
    np.testing.assert_array_equal(made.slots["lookahead.slow"], made.w)
