"""What is proven of rules holds for numbers; what is not proven is not done."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_cohorts import pair, run
from test_sparse_studies import planned, study_of

import fastgd
from fastgd.common.errors import InputError
from fastgd.optimizers import OPTIMIZERS, Decay, NonNegative, Rate, optimizer
from fastgd.optimizers.arrays import ArrayOptimizer
from fastgd.optimizers.coasting import EVERY_STEP, UNCHANGED, Coast, prove_coasting, size_of, step_of
from fastgd.optimizers.proofs import adds_gradient, linear_map
from fastgd.optimizers.rule import Rule
from fastgd.user_code.affine_forms import Traced, Unproven, every_way

OPTIONS = ({}, {"clip": "value"}, {"lookahead": ""}, {"averaging": "ema"}, {"averaging": "polyak"}, {"proximal": ""})
STEPS = (1, 2, 3, 6, 7, 14, 49, 100, 1001)


def rules():
    for record in OPTIMIZERS.values():
        for choices in itertools.product(*record.options.values()):
            yield Rule.of(record, dict(zip(record.options, choices, strict=True)))
        for around in OPTIONS[1:]:
            yield Rule.of(record, {}, around)


def values_of(rule, rng):
    """Some values of the hyper-parameters that the bounds of all of them allow, now and then a zero."""
    values = {name: rng.uniform(0.1, 0.9) if value is None else value for name, value in rule.fields.items()}
    drawn = {name: rng.uniform(0.1, 0.9) for name in values if rng.random() < 0.3}
    zero = {name: 0.0 for name in ("weight_decay", "momentum", "beta1", "dampening") if rng.random() < 0.3}
    return {**values, **drawn, **{name: value for name, value in zero.items() if name in values}}


def quantities(rule, h, steps):
    """What a step gets at the first steps, and at later ones where nothing is kept from step to step."""
    memory, last = rule.memory, max(steps) if not rule.memory else 60
    for t in steps if not rule.memory else range(1, last + 1):
        c, memory = rule.functions.prepare(h, t, memory)
        yield c


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_proven_to_be_linear_is_its_matrix(name):
    """At every step, whatever the values: zeros where no entry is proven, and ones on the diagonal."""
    rng = np.random.default_rng(len(name))
    for rule, drift, l2 in itertools.product(
        [r for r in rules() if r.optimizer.name == name], (False, True), (0.0, 0.1)
    ):
        values = values_of(rule, rng)
        coast = prove_coasting(rule, np.array([list(values.values())]), np.array([l2]), drift=drift)
        if coast == EVERY_STEP:
            continue
        h, size, step = rule.instance(values), size_of(rule, drift), step_of(rule, drift)
        entries = [(i, i) for i in range(size)] if coast == UNCHANGED else coast.entries
        for c in quantities(rule, h, STEPS):
            with np.errstate(all="ignore"):
                matrix = np.array([step(h, c, l2, tuple(unit)) for unit in np.eye(size)], float).T
                x = rng.uniform(0.1, 2.0, size)
                found = np.array(step(h, c, l2, tuple(x)), float)
            np.testing.assert_allclose(found, matrix @ x, rtol=1e-9, atol=1e-12)
            outside = matrix.copy()
            for i, k in entries:
                outside[i, k] = 0
            ones = range(size) if coast == UNCHANGED else coast.ones
            expected = np.zeros_like(matrix)
            expected[list(ones), list(ones)] = 1 if coast != UNCHANGED else 0
            np.testing.assert_array_equal(outside, expected)
            assert coast != UNCHANGED or np.array_equal(matrix, np.eye(size))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_proven_to_be_linear_in_the_rate_is(name):
    rng = np.random.default_rng(len(name))
    for rule in (r for r in rules() if r.optimizer.name == name and r.linear_in_rate):
        values = values_of(rule, rng)
        s = tuple(rng.uniform(0.1, 0.5, rule.slots))
        after = []
        for lr in (0.25, 0.5):
            h, steps = rule.instance(values | {"lr": lr}), []
            for c in quantities(rule, h, STEPS):
                for measure, conclude in rule.functions.rounds:
                    c, _ = conclude(h, c, 2, (), measure(h, c, 0.7, 0.3, s, 0.0), 0.5)
                steps.append(rule.functions.update(h, c, 0.7, 0.3, s))
            after.append(steps)
        for (one, kept), (two, others) in zip(*after, strict=True):
            np.testing.assert_allclose(two - 0.7, 2 * (one - 0.7), rtol=1e-9, atol=1e-15)
            assert kept == others


def test_what_rules_of_the_registry_are_able_to_do():
    """A rule that is no longer proven would be slower, or refused with an option, without a word."""
    plain = {name: Rule.of(record, {}) for name, record in OPTIMIZERS.items()}
    assert {name for name, rule in plain.items() if rule.linear_in_rate} == {
        "sgd", "momentum", "adagrad", "rmsprop", "rmsprop_momentum", "rmsprop_centered", "adadelta", "adam", "amsgrad",
        "adamw", "adamax", "nadam", "radam", "laprop", "nadamw", "adabelief", "adan", "yogi", "adopt", "ademamix",
        "optimistic_adam", "sm3", "signsgd", "signum", "lion",
    }  # fmt: skip
    assert {name for name, rule in plain.items() if adds_gradient(rule, rule._defaults, resting=True)} == {"sgd"}
    for option in ({"proximal": ""}, {"clip": "value"}, {"clip": "norm"}, {"averaging": "ema"}, {"lookahead": ""}):
        around = Rule.of(OPTIMIZERS["sgd"], {}, option)
        assert not adds_gradient(around, around._defaults, resting=False)
    reporting = {name for name, rule in plain.items() if rule.has_readout}
    assert {name for name, rule in plain.items() if not rule.moves} == {"ftrl", "cocob", "dadapt_sgd"} | reporting
    assert not Rule.of(OPTIMIZERS["momentum"], {"form": "lecture"}).linear_in_rate
    assert not Rule.of(OPTIMIZERS["adam"], {}, {"proximal": ""}).linear_in_rate
    assert Rule.of(OPTIMIZERS["adam"], {}, {"clip": "norm"}).linear_in_rate


# --- rules of one's own -----------------------------------------------------------------------------------------------


@optimizer(slots=("mean",))
class Sevens(NamedTuple):
    """Decay in every seventh step, and an average that moves in the others."""

    lr: Rate
    beta: Decay = 0.8

    def prepare(h, t):  # noqa: N805
        return (h.lr * 0 + 0.1, h.lr * 0) if t % 7 == 0 else (h.lr * 0, h.lr)

    def rule(h, c, w, g, s):  # noqa: N805
        m = h.beta * s[0] + (1 - h.beta) * g
        return w - c[0] * w - c[1] * m, (m,)


@optimizer()
class Clamped(NamedTuple):
    """Descent by at most a tenth."""

    lr: Rate

    def rule(h, c, w, g, s):  # noqa: N805
        return w - np.minimum(np.maximum(h.lr * g, -0.1), 0.1), s


@optimizer(slots=("mean",))
class Rooted(NamedTuple):
    """A step along the root of an average, which has no closed form."""

    lr: Rate
    eps: NonNegative = 1e-3

    def rule(h, c, w, g, s):  # noqa: N805
        m = 0.9 * s[0] + 0.1 * g
        return w - h.lr * m / np.sqrt(np.abs(m) + h.eps), (m,)


@optimizer(slots=("mean",))
class WronglyCoasting(NamedTuple):
    """Its `coast` forgets that the average falls."""

    lr: Rate

    def rule(h, c, w, g, s):  # noqa: N805
        m = 0.9 * s[0] + 0.1 * g
        return w - h.lr * m, (m,)

    def coast(h, c, w, y):  # noqa: N805
        return w - h.lr * y[0], y


@optimizer()
class Forgetting(NamedTuple):
    """Descent from a share of where the parameter is."""

    lr: Rate
    a: NonNegative = 0.1

    def rule(h, c, w, g, s):  # noqa: N805
        return (1 - h.a) * w - h.lr * g, s


@optimizer()
class Divided(NamedTuple):
    """Descent by an inverse that is infinite at its default."""

    lr: Rate
    damping: NonNegative = 0.0

    def prepare(h, t):  # noqa: N805
        return (1 / h.damping,)

    def rule(h, c, w, g, s):  # noqa: N805
        return w - h.lr / (1 + c[0]) * g, s


@optimizer()
class Shrinking(NamedTuple):
    """Descent that makes each parameter smaller first."""

    lr: Rate
    shrink: Decay = 0.99

    def rule(h, c, w, g, s):  # noqa: N805
        return h.shrink * w - h.lr * g, s


LANES = [{"lr": 0.05}, {"lr": 0.2}]


@pytest.mark.parametrize("own", [Sevens, Clamped, Rooted, Shrinking])
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_rules_of_ones_own_give_the_dense_iterates_on_sparse_rows(own, l2):
    for batch_size in (1, 2):
        pair_of = pair(own.optimizer, LANES, batch_size=batch_size, l2=l2, lanes_of_tile=4, init=0.1)
        assert run(pair_of, 400) < 1e-10


def test_a_step_that_shrinks_parameters_adds_the_gradient_in_a_frame_alone():
    rule = Rule.of(Shrinking.optimizer, {})
    assert adds_gradient(rule, rule._defaults, resting=False)
    assert not adds_gradient(rule, rule._defaults, resting=True)
    assert adds_gradient(rule, {"lr": Traced(), "shrink": np.ones(3)}, resting=True)
    assert pair(Shrinking.optimizer, LANES, batch_size=1)[1].spec.adds_rows
    assert not pair(Shrinking.optimizer, LANES, batch_size=1, framed=False)[1].spec.adds_rows
    assert not pair(Shrinking.optimizer, LANES, batch_size=1, mode="masked")[1].spec.adds_rows


def test_a_branch_that_is_rarely_taken_is_part_of_the_proof():
    """Whichever steps one looked at, the next might be the seventh."""
    coast = prove_coasting(Rule.of(Sevens.optimizer, {}), np.array([[0.1, 0.8], [0.2, 0.8]]), np.zeros(2), same=True)
    assert isinstance(coast, Coast)
    assert {(0, 0), (0, 1), (1, 1)} == set(coast.entries)
    assert not coast.shared  # the decay is not a rate times something
    assert not Rule.of(Sevens.optimizer, {}).linear_in_rate


def test_a_division_by_a_default_of_zero_is_infinite_as_in_kernels():
    rule = Rule.of(Divided.optimizer, {})
    assert rule.counts.quantities == (1,)
    assert prove_coasting(rule, np.array([[0.1, 0.0]]), np.zeros(1)) == UNCHANGED


def test_a_clamped_step_is_not_linear_in_the_rate_but_rests():
    rule = Rule.of(Clamped.optimizer, {})
    assert not rule.linear_in_rate
    assert rule.moves
    assert rule.refuses("proximal")
    assert prove_coasting(rule, np.array([[0.1]]), np.zeros(1)) == UNCHANGED
    assert prove_coasting(rule, np.array([[0.1]]), np.ones(1)) == EVERY_STEP


@pytest.mark.parametrize(
    ("keys", "schedule", "message"),
    [
        (
            {"a": 1.0},
            {"name": "constant"},
            "as far as its text proves, with lr = 0.1, a = 1 less than half of a move is left",
        ),
        (
            {"a": [0.2, 0.8], "lr": [0.1, 0.2]},
            {"name": "constant"},
            "with lr = 0.1, a = 0.8 less than half of a move is left",
        ),
        ({}, {"name": "linear", "of": "a"}, "not known how much of a move is left after a step where a changes"),
    ],
)
def test_a_rule_is_refused_for_look_ahead_by_the_values_of_the_study(keys, schedule, message):
    """What it does at its default values says nothing of others."""

    def ask(schedule, **more):
        block = {"name": "test_proofs:Forgetting", "lr": 0.1, "lookahead": {}, **more}
        fields = {"epochs": 2, "batch_size": 8, "problem": {"loss": "logistic"}}
        fastgd.Study(name="moves", optimizer=block, schedule=schedule, **fields)

    with pytest.raises(InputError, match=rf"lookahead: does not go with 'test_proofs:Forgetting': .*{message}"):
        ask(schedule, **keys)
    ask({"name": "linear"}, a=[0.2, 0.5], lr=[0.1, 1.0])


def test_a_later_value_of_a_step_on_an_array_is_refused_as_the_first_is():
    made = ArrayOptimizer(Forgetting.optimizer, np.zeros(3), lr=0.1, lookahead={})
    with pytest.raises(InputError, match=r"Forgetting does not go with lookahead: .*a = 1 less than half"):
        made.step(np.ones(3), a=1.0)


def test_what_is_not_proven_updates_all_parameters_and_the_plan_says_so():
    rule = Rule.of(Rooted.optimizer, {})
    assert prove_coasting(rule, np.array([[0.1, 1e-3]]), np.zeros(1)) == EVERY_STEP
    plan = planned(study_of(optimizer=[{"name": "test_proofs:Rooted", "lr": [0.1, 0.2]}]))
    assert any("is not proven to take a linear step where there is no gradient" in note for note in plan.notes)
    assert set(plan.table["sparse"]) == {"exact, dense updates"}


def test_a_coast_that_is_not_the_rule_is_refused():
    with pytest.raises(InputError, match="WronglyCoasting': its coast is not its rule without a gradient"):
        prove_coasting(Rule.of(WronglyCoasting.optimizer, {}), np.array([[0.1]]), np.zeros(1))


# --- the algebra ------------------------------------------------------------------------------------------------------

numbers = st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 2))


@given(st.lists(st.tuples(st.sampled_from("+-*/"), numbers), max_size=8), numbers, numbers)
def test_forms_are_what_numbers_are(operations, x, y):
    """Any chain of arithmetic: where a form is affine in two symbols, it is the number's."""
    form, value = Traced.symbol("x"), x
    for step, (sign, number) in enumerate(operations):
        other, known = (Traced.symbol("y"), y) if step % 3 == 2 else (number, number)
        if sign == "/" and (known == 0 or other is not number):
            continue
        form, value = {
            "+": lambda a, b, f, v: (a + f, b + v),
            "-": lambda a, b, f, v: (f - a, v - b),
            "*": lambda a, b, f, v: (a * f, b * v),
            "/": lambda a, b, f, v: (a / f, b / v),
        }[sign](form, value, other, known)
        if isinstance(form, Traced) and form.parts is None:
            return
    parts = form.parts if isinstance(form, Traced) else {}
    const = form.const if isinstance(form, Traced) else form
    assert const + parts.get("x", 0) * x + parts.get("y", 0) * y == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_every_branch_on_the_step_is_taken():
    def run_at(t):
        return (t == 1, t % 2 == 0) if t > 5 else (t >= 3,)

    assert sorted(every_way(run_at)) == [(False,), (False, False), (False, True), (True,), (True, False), (True, True)]
    with pytest.raises(Unproven):
        list(every_way(lambda t: [t == k for k in range(9)]))


def test_a_branch_on_a_value_is_no_proof():
    assert linear_map(lambda h, c, l2, x: (x[0] if x[0] > 0 else -x[0],), None, 0, 0.0, 1) is None
    assert linear_map(lambda h, c, l2, x: (np.where(x[0] > 0, x[0], 2 * x[0]),), None, 0, 0.0, 1) is None
    assert linear_map(lambda h, c, l2, x: (np.where(c[0] > 0, x[0], 2 * x[0]),), None, 1, 0.0, 1) is not None
    assert linear_map(lambda h, c, l2, x: (x[0] + 1,), None, 0, 0.0, 1) is None
    assert linear_map(lambda h, c, l2, x: (x[0] + c[0],), None, 1, 0.0, 1) is None
    assert linear_map(lambda h, c, l2, x: (x[0] * x[1], x[1]), None, 0, 0.0, 2) is None
