"""The metric `effective_lr`: each rule against its equation, quantiles by frequency, and its place in a study."""

import math
from collections import defaultdict
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import reference
import small_studies
from cohorts import SINGLE, SMALL, TYPES, each_variant, grid, make_cohort
from scipy.sparse import csr_array

from fastgd.common.errors import InputError
from fastgd.datasets import from_arrays, prepare
from fastgd.engine.shapes import Kernel
from fastgd.optimizers import OPTIMIZERS
from fastgd.plan.units.recording import RATE_CLASSES as CLASSES
from fastgd.plan.units.recording import RATE_COLUMNS as COLUMNS
from fastgd.plan.units.recording import RATE_QUANTILES as QUANTILES
from fastgd.runs.measured.effective_rates import classes_of, measure

N, D, BATCH, STEPS = 1500, 24, 64, 20


def rows():
    """Rows (N, D) with eight frequent features, eight medium ones, seven that one row has, and one that none has."""
    rng = np.random.default_rng(7)
    share = np.repeat([0.3, 0.02, 0.0], 8)
    X = rng.standard_normal((N, D)) * (rng.random((N, D)) < share)
    X[rng.integers(0, BATCH * STEPS, 7), np.arange(16, 23)] = 2.0
    margin = X @ rng.standard_normal(D) + 0.3 * rng.standard_normal(N)
    return X, (margin > 0).astype(float)


X, y = rows()
MEMBERS = {"frequent": np.arange(8), "medium": np.arange(8, 16), "rare": np.arange(16, 23)}


def data_of(X, y):
    return prepare(from_arrays(X, y), targets="binary", dtype="float64")


def adam_like(slot):
    return lambda o, s, t: o.lr / (np.sqrt(s[slot] / (1 - o.beta2**t)) + o.eps)


def by_root(slot):
    return lambda o, s, t: o.lr / (np.sqrt(s[slot] + o.eps) if o.eps_inside else np.sqrt(s[slot]) + o.eps)


def adagrad(o, s, t):
    lr = o.lr / (1 + o.lr_decay * (t - 1))
    return lr / (s["v"] + o.eps) if not o.root else by_root("v")(SimpleNamespace(**{**vars(o), "lr": lr}), s, t)


def adam(o, s, t):
    corrected = 1 - o.beta2**t if o.bias_correction else 1
    lr, v = (o.lr * np.sqrt(corrected), s["v"]) if o.eps_hat else (o.lr, s["v"] / corrected)
    return by_root("v")(SimpleNamespace(**{**vars(o), "lr": lr}), {"v": v}, t)


def radam(o, s, t):
    end = 2 / (1 - o.beta2) - 1
    rho = end - 2 * t * o.beta2**t / (1 - o.beta2**t)
    if rho <= 5:
        return o.lr
    r = math.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
    return r * o.lr * math.sqrt(1 - o.beta2**t) / (np.sqrt(s["v"]) + o.eps)


# By the names of the memory `s` of the references, which are the published equations.
RATES = {
    **{name: lambda o, s, t: o.lr for name in ("sgd", "momentum", "nesterov", "schedule_free_sgd")},
    **{name: adam_like("v") for name in ("adamw", "nadam", "nadamw", "yogi", "ademamix", "schedule_free_adamw")},
    "asgd": lambda o, s, t: o.lr / (1 + o.lambd * o.lr * (t - 1)) ** o.alpha,
    "adagrad": adagrad,
    "rmsprop": by_root("v"),
    "rmsprop_momentum": lambda o, s, t: o.lr / (np.sqrt(s["v"]) + o.eps),
    "rmsprop_centered": lambda o, s, t: o.lr / (np.sqrt(s["v"] - s["m"] ** 2) + o.eps),
    "adadelta": lambda o, s, t: o.lr * np.sqrt(s["e"] + o.eps) / np.sqrt(s["v"] + o.eps),
    "adam": adam,
    "amsgrad": adam_like("largest"),
    "adamax": lambda o, s, t: o.lr / s["u"],
    "radam": radam,
    "laprop": adam_like("n"),
    "adabelief": adam_like("s"),
    "adan": lambda o, s, t: o.lr / (np.sqrt(s["n"] / (1 - o.beta3**t) + o.eps_root) + o.eps),
    "adopt": lambda o, s, t: o.lr / np.maximum(np.sqrt(s["v"]), o.eps),
    "optimistic_adam": lambda o, s, t: o.alpha * adam_like("v")(o, s, t),
    "ftrl": lambda o, s, t: o.lr / (o.beta + np.sqrt(s["n"])),
    "madgrad": lambda o, s, t: (o.lr + o.eps) * math.sqrt(t) / (s["v"] ** (1 / 3) + o.eps),
    "sm3": lambda o, s, t: o.lr / np.sqrt(s["v"] + o.eps),
    "novograd": lambda o, s, t: o.lr / (np.sqrt(s["v"]) + o.eps),
    "dog": lambda o, s, t: o.lr * s["r"] / np.sqrt(s["G"] + o.eps),
    "dowg": lambda o, s, t: o.lr * s["q"] / (np.sqrt(s["V"]) + o.eps),
}


def by_numpy(name, values):
    """The rates (D,) after STEPS batches in the rows' order."""
    w, s = np.zeros(D + 1), defaultdict(float)
    own = dict(values)
    if "weight_decay" in own:
        own["weight_decay"] = np.append(np.full(D, own["weight_decay"]), 0.0)
    for t, batch in enumerate(islice(reference.batches(N, BATCH), STEPS), start=1):

        def gradient(at, batch=batch):
            return reference.gradient(X[batch], y[batch], at, loss="logistic", intercept=True)

        w = reference.OPTIMIZERS[name](w, gradient, t, s, **own)
    return np.broadcast_to(RATES[name](SimpleNamespace(**values), s, STEPS), D + 1)[:D]


def quantiles(rates):
    """The columns, by sorting: a quantile is the least rate that so many features do not exceed."""
    found = {}
    for name, features in MEMBERS.items():
        ordered = np.sort(rates[features])
        for quantile, share in QUANTILES.items():
            found[f"effective_lr.{name}.{quantile}"] = ordered[math.ceil(share * len(ordered) - 1e-9) - 1]
    return found


def cohort_of(name, lanes, **options):
    given = {"shuffled": False, "kernel": SMALL, "batch_size": BATCH, **options}
    return make_cohort(X, y, lanes, name, **given)


def measured(cohort):
    return measure(cohort, classes_of(data_of(X, y)), lambda: None)


# --- rules ------------------------------------------------------------------------------------------------------------


def test_rules_with_a_rate_are_those_that_have_an_equation_here():
    assert {name for name, record in OPTIMIZERS.items() if record.has_effective_rate} == RATES.keys()


@each_variant(RATES)
def test_the_rate_is_that_of_the_equation(name, options):
    lanes = grid(name)
    cohort = cohort_of(name, lanes, options=options)
    cohort.advance(STEPS)
    found = measured(cohort)
    assert list(found) == [column for column in COLUMNS if column in found]
    assert len(found) == len(COLUMNS)
    for lane, values in enumerate(lanes):
        for column, expected in quantiles(by_numpy(name, {**values, **options})).items():
            assert found[column][lane] == pytest.approx(expected, rel=1e-9), (column, values)


AT_ONCE = ("sgd", "adagrad", "rmsprop", "adam", "amsgrad", "adamw", "adamax", "laprop", "radam", "adopt")


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_step_along_a_steady_gradient_has_the_rate(name):
    """What the metric says is what the rule does: with one gradient again and again, a step is the rate times it."""
    record, g, w = OPTIMIZERS[name], np.array([[0.3], [-2.0]]), np.zeros((2, 1))
    options = {key: values[0] for key, values in record.options.items()}
    values = {key: value or 0.0 for key, value in record.hyper.items()} | {"lr": 0.1}
    h = record.cls(**{**values, **({"weight_decay": 0.0} if "weight_decay" in values else {})}, **options)
    s, m = tuple(np.zeros((2, 1)) for _ in record.slots), tuple(record.memory.values())
    for t in range(1, 2001):
        c = ()
        if hasattr(record.cls, "prepare"):
            c, m = record.cls.prepare(h, t, m) if record.memory else (record.cls.prepare(h, t), m)
        before = w
        w, s = record.cls.rule(h, c, w, g, s)
    np.testing.assert_allclose(before - w, record.cls.effective(h, 2000, m, s) * g, rtol=1e-5)


def test_options_leave_the_rate_to_the_rule_inside():
    lanes = [{"lr": lr, "clip.norm": 1e9, "averaging.decay": 0.9} for lr in (0.01, 0.03, 0.1, 0.3)]
    plain, around = cohort_of("adam", lanes), cohort_of("adam", lanes, around={"clip": "norm", "averaging": "ema"})
    for cohort in (plain, around):
        cohort.advance(STEPS)
    for column, values in measured(plain).items():
        np.testing.assert_allclose(measured(around)[column], values, rtol=1e-9)


def test_before_the_first_step_a_rate_is_that_of_a_rule_that_has_seen_nothing():
    found = measured(cohort_of("adam", [{"lr": 0.1, "eps": 1e-3}] * 4))
    assert all((values == 100.0).all() for values in found.values())


def test_a_rule_without_eps_is_infinite_there_and_nothing_is_said():
    found = measured(cohort_of("adagrad", [{"lr": 0.1, "eps": 0.0}] * 4))
    assert all(np.isinf(values).all() for values in found.values())


@pytest.mark.parametrize("kernel", [SINGLE, SMALL, Kernel(8)], ids=lambda kernel: kernel.name)
@TYPES
def test_kernels_and_groups_of_lanes_agree(kernel, dtype, monkeypatch):
    lanes = [{"lr": lr} for lr in (0.01, 0.03, 0.1, 0.2, 0.3)]
    cohort = cohort_of("rmsprop", lanes, kernel=kernel, dtype=dtype)
    cohort.advance(STEPS)
    cohort.retire(np.array([True, False, True, True, True]))
    whole = measured(cohort)
    for column, expected in quantiles(
        by_numpy("rmsprop", {"alpha": 0.99, "eps": 1e-8, "eps_inside": False, **lanes[2]})
    ).items():
        assert whole[column][1] == pytest.approx(expected, rel=1e-9 if dtype == "float64" else 1e-3)
    monkeypatch.setattr("fastgd.runs.measured.effective_rates.MOST_RATES_AT_ONCE", 2 * (D + 1))
    for column, values in measured(cohort).items():
        np.testing.assert_array_equal(values, whole[column])


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_classes_are_those_of_the_shares(form, monkeypatch):
    monkeypatch.setattr("fastgd.datasets.columns.VALUES_PER_BLOCK", 100)
    data = data_of(form(X), y)
    np.testing.assert_array_equal(data.frequencies, (X != 0).mean(axis=0))
    classes = classes_of(data)
    assert classes.keys() == MEMBERS.keys()
    for name, features in MEMBERS.items():
        np.testing.assert_array_equal(classes[name], features)


def test_the_cuts_themselves_are_medium():
    shares = np.zeros((2000, 3))
    shares[:2, 0] = shares[:100, 1] = shares[:101, 2] = 1.0
    classes = classes_of(data_of(shares, np.arange(2000) % 2))
    assert {name: list(features) for name, features in classes.items()} == {"medium": [0, 1], "frequent": [2]}


# --- studies ----------------------------------------------------------------------------------------------------------

METRICS = {"metrics": ["effective_lr"]}
SEVERAL = [{"name": name, "lr": [0.01, 0.1]} for name in ("adagrad", "adam", "ftrl", "signum")]


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """The same study on dense and on sparse rows."""
    path = tmp_path_factory.mktemp("layouts")
    common = {"optimizer": SEVERAL, "record": METRICS, "batch_size": 16}
    forms = {"dense": X, "sparse": csr_array(X)}
    return {name: small_studies.run(path / name, (form, y), **common) for name, form in forms.items()}


def curves_of(results):
    keys = ["optimizer", "lr"]
    curves = results.curves.merge(results.trials[["trial_id", "optimizer", "lr"]], on="trial_id", suffixes=("", "_"))
    return curves.drop(columns="lr").rename(columns={"lr_": "lr"}).sort_values([*keys, "step"], ignore_index=True)


@pytest.mark.full
def test_sparse_rates_are_those_of_dense_rows(layouts):
    dense, sparse = (curves_of(layouts[name]) for name in ("dense", "sparse"))
    assert set(layouts["sparse"].trials["layout"]) == {"sparse"}
    adaptive = dense["optimizer"] != "signum"
    assert dense.loc[adaptive, list(COLUMNS)].notna().all(axis=None)
    for column in COLUMNS:
        np.testing.assert_allclose(sparse[column], dense[column], rtol=1e-8)


def test_what_has_no_rate_is_null(layouts):
    table = layouts["dense"].table("curves", columns=["trial_id", *COLUMNS])
    signs = layouts["dense"].trials.query("optimizer == 'signum'")["trial_id"]
    own = table.filter(np.isin(table["trial_id"].to_numpy(zero_copy_only=False), signs))
    assert own.num_rows == 2 * 4
    assert all(own[column].null_count == own.num_rows for column in COLUMNS)


def test_a_class_without_features_is_null(tmp_path):
    results = small_studies.run(tmp_path, record=METRICS)  # Gaussian features: no row is without one
    table = results.table("curves", columns=list(COLUMNS))
    for column in COLUMNS:
        assert table[column].null_count == (0 if ".frequent." in column else table.num_rows)


@pytest.mark.parametrize("form", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_measuring_changes_no_bits(form, tmp_path):
    common = {"optimizer": [*SEVERAL, {"name": "nesterov", "lr": 0.1}], "batch_size": 16}
    plain = small_studies.run(tmp_path / "plain", (form(X), y), **common)
    found = small_studies.run(tmp_path / "measured", (form(X), y), record=METRICS, **common)
    left, right = (curves_of(results) for results in (plain, found))
    same = [name for name in left if name not in ("trial_id", "train_seconds")]
    pd.testing.assert_frame_equal(left[same], right[same], check_exact=True)


def test_the_rate_of_plain_descent_is_the_scheduled_one(tmp_path):
    schedule = {"name": "linear", "start": 0.5, "final": 0.1}
    results = small_studies.run(
        tmp_path, optimizer={"name": "sgd", "lr": [0.1, 0.2]}, schedule=schedule, record=METRICS
    )
    for quantile in QUANTILES:
        np.testing.assert_allclose(
            results.curves[f"effective_lr.frequent.{quantile}"], results.curves["lr"], rtol=1e-15
        )


def test_a_study_grows_by_the_metric_and_ranks_as_before(tmp_path):
    small_studies.run(tmp_path)
    results = small_studies.run(tmp_path, record=METRICS)
    assert set(COLUMNS) < set(results.curves.columns)
    assert len(results.best()) == 4


def test_a_study_of_which_no_rule_has_a_rate_is_refused():
    with pytest.raises(InputError, match=r"record.metrics: no optimizer of the study has 'effective_lr': signum, lion"):
        small_studies.study_of(optimizer=[{"name": "signum", "lr": 0.1}, {"name": "lion", "lr": 0.1}], record=METRICS)


def test_the_columns_are_named_by_class_and_quantile():
    assert len(COLUMNS) == len(CLASSES) * len(QUANTILES) == 9
    assert COLUMNS[0] == "effective_lr.rare.q10"
