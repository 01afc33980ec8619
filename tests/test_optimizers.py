"""The registry's records, and every rule in every variant against its published equation."""

from collections import defaultdict
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import pytest
import reference
from cohorts import (
    PARTS,
    SINGLE,
    SMALL,
    each_rule,
    each_variant,
    grid,
    in_python,
    make_cohort,
    problem,
    relative_error,
    variants,
)

from fastgd import InputError, optimizer, optimizers
from fastgd.optimizers import OPTIMIZERS, find
from fastgd.optimizers.record import Rate

STEPS = 300
L2 = (0.0, 1e-3, 0.0, 1e-2)


@pytest.fixture(scope="module")
def rows():
    return problem()


# --- the rules --------------------------------------------------------------------------------------------------------


def test_every_optimizer_has_a_reference():
    assert set(reference.OPTIMIZERS) == set(OPTIMIZERS)


@pytest.mark.parametrize(("name", "options"), variants(), ids=str)
def test_the_functions_of_a_variant_are_its_published_equation(rows, name, options):
    """As Python calls them, on arrays."""
    X, y = rows
    for lane in grid(name):
        how = {"loss": "logistic", "l2": 1e-3, "intercept": True}
        expected = reference.train(X, y, name, lane | options, batch_size=64, steps=60, seed=3, **how)[-1]
        at = list(islice(reference.batches(len(y), 64, 3), 60))

        def gradient(t, w, at=at, how=how):
            batch = X[at[t - 1]], y[at[t - 1]], w
            return reference.gradient(*batch, **how), reference.objective(*batch, **how)

        if "weight_decay" in lane:  # an intercept does not decay
            lane |= {"weight_decay": np.append(np.full(X.shape[1], lane["weight_decay"]), 0.0)}
        found = in_python(name, np.zeros(X.shape[1] + 1), gradient, 60, lane, options.items())
        assert relative_error(found, expected) < 1e-10


@each_variant()
def test_variant_agrees_with_its_published_equation(rows, name, options):
    """As kernels compute it."""
    X, y = rows
    lanes = grid(name)
    cohort = make_cohort(X, y, lanes, name, options=options, l2=L2, kernel=SMALL)
    cohort.advance(STEPS)
    for found, lane, l2 in zip(cohort.parameters(), lanes, L2, strict=True):
        expected = reference.train(
            X, y, name, lane | options, loss="logistic", batch_size=64, steps=STEPS, seed=3, l2=l2, intercept=True
        )
        assert relative_error(found, expected[-1]) < 1e-10


@each_rule()
def test_rates_of_the_grids_train(rows, name):
    """What is compared are runs that get somewhere: no lane of any grid stands still or diverges."""
    X, y = rows
    cohort = make_cohort(X, y, grid(name), name, kernel=SMALL)
    cohort.advance(1000)
    losses = [reference.objective(X, y, w, loss="logistic", intercept=True) for w in cohort.parameters()]
    assert max(losses) < 0.68 < np.log(2)
    assert len({f"{loss:.6g}" for loss in losses}) > 1, "the hyper-parameters make a difference"


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_forms_are_the_same_while_the_rate_is_constant(rows, name):
    X, y = rows
    ends = []
    for form in ("torch", "lecture"):
        cohort = make_cohort(X, y, grid(name), name, options={"form": form}, kernel=SMALL)
        cohort.advance(200)
        ends.append(cohort.parameters())
    assert not np.array_equal(*ends), "two ways to compute it"
    assert relative_error(*ends) < 1e-12


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adamw", "nadam", "radam"])
def test_an_intercept_does_not_decay(rows, name):
    """One step from the origin's neighbourhood: the decay of a weight is seen, the intercept's is absent."""
    X, y = rows
    lanes = [{"lr": 0.01, "weight_decay": decay} for decay in (0.0, 0.5, 0.5, 0.0)]
    cohort = make_cohort(X, y, lanes, name, init=1.0, kernel=SMALL)
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


def test_lecture_form_of_nesterov_under_a_schedule_of_the_momentum():
    """w stays what it is when the momentum changes: the point at which the gradient was taken is made from the last."""
    A, start = np.diag([1.0, 0.1, 0.01]), np.array([1.0, -2.0, 3.0])
    w, memory = start, defaultdict(float)
    made = optimizers.nesterov(start.copy(), lr=0.3, form="lecture")
    for t in range(1, 100):
        values = {"lr": 0.3 / t**0.1, "momentum": 1 - 0.5 / (1 + t // 10)}
        made.step(A @ made.w, **values)
        w = reference.nesterov(w, lambda x: A @ x, t, memory, form="lecture", **values)
        np.testing.assert_allclose(made.iterate(), w, rtol=1e-12, atol=1e-15)


# --- what the papers say of the rules ---------------------------------------------------------------------------------


@pytest.mark.full
def test_adam_goes_the_wrong_way_where_amsgrad_converges():
    """Section 3 of Reddi, Kale & Kumar: one large gradient in 101 outweighs all others, and the best point is -1.

    Adam forgets it, for its second moment falls until the next one; that of AMSGrad does not.
    """
    slopes, means = np.array([1010.0] + 100 * [-10.0]), {}
    for name in ("adam", "amsgrad"):
        w, path = np.zeros(1), np.empty((150, len(slopes)))
        made = getattr(optimizers, name)(w, lr=0.05, beta1=0.9, beta2=0.99, threads=1)
        for cycle, t in np.ndindex(path.shape):
            made.step(slopes[t, None])
            np.clip(w, -1, 1, out=w)
            path[cycle, t] = w[0]
        means[name] = path.mean(axis=1)
    assert means["adam"][-1] > 0.8
    assert means["amsgrad"][-1] < -0.6
    assert (np.diff(means["amsgrad"])[2:] < 0).all(), "no end is in sight but the best point"


def test_ftrl_has_exact_zeros(rows):
    X, y = rows
    lanes = [{"lr": 0.1, "lambda1": strength} for strength in (0.0, 10.0, 40.0, 1e4)]
    cohort = make_cohort(X, y, lanes, "ftrl", kernel=SMALL)
    cohort.advance(STEPS)
    zeros = (cohort.parameters() == 0).sum(axis=1)
    assert zeros[0] == 0
    assert 0 < zeros[1] < zeros[2] < 10
    assert zeros[3] == 10


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_ftrl_without_penalties_is_adagrad(beta):
    """From any start, and under any schedule: section 3.1 of McMahan et al. has AdaGrad's rates."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal(20)
    ftrl = optimizers.ftrl(start.copy(), lr=0.5, beta=beta)
    adagrad = optimizers.adagrad(start.copy(), lr=0.5, eps=beta)
    for t in range(1, 200):
        lr, g = 0.5 / (1 + t // 50), rng.standard_normal(20)
        ftrl.step(g + 0.1 * ftrl.w, lr=lr)
        adagrad.step(g + 0.1 * adagrad.w, lr=lr)
        np.testing.assert_allclose(ftrl.w, adagrad.w, rtol=1e-10, atol=1e-12)


def test_madgrad_keeps_the_bound_of_its_theorem():
    """Theorem 1 of Defazio & Jelassi, for `f(x) = |x - a|_1`, whose gradients are no larger than G = 1."""
    steps, D = 1000, 20
    a, x = np.random.default_rng(0).standard_normal(D), np.zeros(D)
    R = np.linalg.norm(a)
    made = optimizers.madgrad(x, lr=(R / np.sqrt(steps * D)) ** 1.5, eps=0.0)
    for k in range(steps):
        made.step(np.sign(x - a), momentum=1 - 1.5 / (k + 1.5))
    assert np.abs(x - a).sum() <= 6 / np.sqrt(steps) * R * np.sqrt(D) < np.abs(a).sum()


def test_steps_of_laprop_are_bounded_where_those_of_adam_are_not():
    """Ziyin, Wang & Ueda: no step is longer than lr / sqrt(1 - beta2), also if beta1^2 > beta2."""
    rng = np.random.default_rng(0)
    gradients = np.exp(3 * rng.standard_normal((200, 1000))) * rng.choice([-1, 1], (200, 1000))
    gradients[:, :500] *= rng.random((200, 500)) < 0.02  # seldom, and then zeros
    values, longest = {"lr": 1.0, "beta1": 0.9, "beta2": 0.5}, {"adam": 0.0, "laprop": 0.0}
    for name in longest:
        made = getattr(optimizers, name)(np.zeros(1000), **values, eps=1e-30)
        for g in gradients:
            before = made.w.copy()
            made.step(g)
            longest[name] = max(longest[name], np.abs(made.w - before).max())
    assert longest["laprop"] <= (1 + 1e-9) / np.sqrt(1 - 0.5)
    assert longest["adam"] > 100


def test_average_of_averaged_descent_is_that_of_its_iterates():
    rng = np.random.default_rng(0)
    made = optimizers.asgd(rng.standard_normal(5), lr=0.1, lambd=0.0, t0=3.0)
    iterates = [made.w.copy()]
    np.testing.assert_array_equal(made.iterate(), made.w)
    for t in range(1, 12):
        made.step(rng.standard_normal(5))
        iterates.append(made.w.copy())
        expected = np.mean(iterates[5:], axis=0) if t > 5 else made.w
        np.testing.assert_allclose(made.iterate(), expected, rtol=1e-12)


def test_radam_is_rectified_from_the_same_step_on_in_float32():
    """rho_t is 4.996 in step 5: what is lost to rounding may not make it 5."""
    g, ends = np.random.default_rng(0).standard_normal((12, 30)), []
    for dtype in ("float64", "float32"):
        made = optimizers.radam(np.zeros(30, dtype), lr=0.1)
        path = [(made.step(row.astype(dtype)), made.w.copy())[1] for row in g]
        ends.append(np.array(path, float))
    np.testing.assert_allclose(*ends, rtol=1e-3, atol=1e-5)


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
    assert OPTIMIZERS["adam"].options == {
        "eps_inside": (False, True),
        "bias_correction": (True, False),
        "eps_hat": (False, True),
    }
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
        ("adm", "there is no optimizer 'adm'; did you mean 'adam'?"),
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
