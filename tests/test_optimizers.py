"""The registry's records, and every rule in every variant against its published equation."""

from typing import Literal, NamedTuple

import numpy as np
import pytest
import reference
from cohorts import PARTS, SINGLE, SMALL, grid, make_cohort, problem, relative_error, variants

from fastgd import InputError, optimizer
from fastgd.optimizers import OPTIMIZERS, find
from fastgd.optimizers._record import Rate

STEPS = 300
L2 = (0.0, 1e-3, 0.0, 1e-2)
VARIANTS = [pytest.param(name, options, id=f"{name}-{options}") for name, options in variants()]


@pytest.fixture(scope="module")
def rows():
    return problem()


# --- the rules --------------------------------------------------------------------------------------------------------


def test_every_optimizer_has_a_reference():
    assert set(reference.OPTIMIZERS) == set(OPTIMIZERS)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_variant_agrees_with_its_published_equation(rows, name, options):
    X, y = rows
    lanes = grid(name)
    cohort = make_cohort(X, y, lanes, name, options=options, l2=L2, kernel=PARTS)
    cohort.advance(STEPS)
    for found, lane, l2 in zip(cohort.parameters(), lanes, L2, strict=True):
        expected = reference.train(
            X, y, name, lane | options, loss="logistic", batch_size=64, steps=STEPS, seed=3, l2=l2, intercept=True
        )
        assert relative_error(found, expected[-1]) < 1e-10


def test_rates_of_the_grids_train(rows):
    """What is compared are runs that get somewhere: no lane of any grid stands still or diverges."""
    X, y = rows
    for name in OPTIMIZERS:
        lanes = grid(name)
        cohort = make_cohort(X, y, lanes, name, kernel=PARTS)
        cohort.advance(1000)
        losses = [reference.objective(X, y, w, loss="logistic", intercept=True) for w in cohort.parameters()]
        assert max(losses) < 0.68 < np.log(2)
        assert len({f"{loss:.6g}" for loss in losses}) > 1, "the hyper-parameters make a difference"


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_forms_are_the_same_while_the_rate_is_constant(rows, name):
    X, y = rows
    ends = []
    for form in ("torch", "lecture"):
        cohort = make_cohort(X, y, grid(name), name, options={"form": form}, kernel=PARTS)
        cohort.advance(200)
        ends.append(cohort.parameters())
    assert not np.array_equal(*ends), "two ways to compute it"
    assert relative_error(*ends) < 1e-12


def test_an_intercept_does_not_decay(rows):
    """One step from the origin's neighbourhood: the decay of a weight is seen, the intercept's is absent."""
    X, y = rows
    lanes = [{"lr": 0.01, "weight_decay": decay} for decay in (0.0, 0.5, 0.5, 0.0)]
    cohort = make_cohort(X, y, lanes, "adamw", init=1.0, kernel=PARTS)
    start = cohort.parameters()[0]
    cohort.advance(1)
    plain, decayed = cohort.parameters()[:2]
    np.testing.assert_allclose(plain[:-1] - decayed[:-1], 0.01 * 0.5 * start[:-1], rtol=1e-9)
    assert plain[-1] == decayed[-1] != start[-1]


@pytest.mark.parametrize("kernel", [SINGLE, SMALL, PARTS], ids=lambda kernel: kernel.name)
def test_nesterov_reports_w_and_keeps_the_look_ahead_point(rows, kernel):
    X, y = rows
    lr, gamma = 0.1, 0.9
    cohort = make_cohort(X, y, [{"lr": lr, "momentum": gamma}], "nesterov", batch_size=600, kernel=kernel)
    np.testing.assert_array_equal(cohort.parameters(), 0)
    cohort.advance(1)
    g = reference.gradient(X, y, np.zeros(10), loss="logistic", intercept=True)
    # x = -lr (g + gamma g), u = g, and so w = x + lr gamma u is one plain step: there is no velocity yet
    np.testing.assert_allclose(cohort.parameters()[0], -lr * g, rtol=1e-12)
    state = cohort.layout.columns(cohort.layout.blocks(cohort.lanes.state, 0))[:, 0]
    np.testing.assert_allclose(state, -lr * (1 + gamma) * g, rtol=1e-12)


# --- the records ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", OPTIMIZERS.values(), ids=lambda record: record.name)
def test_record_says_what_there_is_to_know(record):
    assert record.summary.endswith(".")
    assert record.witness != "none"
    assert record.reference
    assert next(iter(record.hyper)) == "lr"
    assert set(record.hyper) | set(record.options) == set(record.cls._fields) == set(record.annotations)
    for name, values in record.options.items():
        assert values[0] == record.cls._field_defaults[name]
        assert len(set(values)) == len(values) > 1
    assert record.variant({}) == "", "the defaults are no variant"
    assert find(record.name) is record


def test_variant_names_what_is_not_the_default():
    adam = OPTIMIZERS["adam"]
    assert adam.variant({"eps_inside": True}) == "eps_inside=True"
    assert adam.variant({"eps_inside": True, "bias_correction": False}) == "eps_inside=True, bias_correction=False"
    assert OPTIMIZERS["momentum"].variant({"form": "torch"}) == ""


def test_the_lectures_have_their_switches():
    assert OPTIMIZERS["adam"].options == {"eps_inside": (False, True), "bias_correction": (True, False)}
    assert OPTIMIZERS["adagrad"].options == {"eps_inside": (False, True), "root": (True, False)}
    assert OPTIMIZERS["rmsprop"].options == {"eps_inside": (False, True)}
    assert OPTIMIZERS["nesterov"].options == OPTIMIZERS["momentum"].options == {"form": ("torch", "lecture")}


@optimizer(slots=("u",), family="tests")
class Own(NamedTuple):
    """An optimizer that is defined outside the package."""

    lr: Rate
    drag: float = 0.5
    how: Literal["this", "that"] = "this"
    nested: bool = True

    def rule(h, c, w, g, s):  # noqa: N805
        return w - h.lr * g, s


def test_a_class_of_ones_own_is_described_and_not_registered():
    record = find("test_optimizers:Own")
    assert record.name == "test_optimizers:Own"
    assert record.hyper == {"lr": None, "drag": 0.5}
    assert record.options == {"how": ("this", "that"), "nested": (True, False)}
    assert record.slots == ("u",)
    assert "test_optimizers:Own" not in OPTIMIZERS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adma", "there is no optimizer 'adma'; did you mean 'adam'?"),
        ("test_optimizers:Won", "the module has no 'Won'; valid: Own"),
        ("test_optimizers:STEPS", "decorate the NamedTuple 'STEPS' with @fastgd.optimizer"),
        ("no.such.module:Own", "cannot import the module 'no.such.module'"),
    ],
)
def test_find_says_what_is_wrong(name, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        find(name)


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="optimizer 'sgd' is registered twice"):
        optimizer(name="sgd")(Own)
