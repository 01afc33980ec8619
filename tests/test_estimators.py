"""SVRG and SAGA: against their equations written out, and what their papers prove."""

from itertools import islice

import numpy as np
import pytest
import reference
import small_studies
from cohorts import SMALL, TYPES, make_cohort, problem, relative_error, spread
from scipy.special import expit
from small_studies import assert_same, numbers, study_of
from test_runner_resume import Interrupt

import fastgd
from fastgd.datasets import from_arrays, prepare
from fastgd.engine.shapes import Kernel
from fastgd.optimizers.estimators import ESTIMATORS
from fastgd.plan.planner import make_plan
from fastgd.runs.reporting.events import Progress

N, D, L2 = 600, 9, 1e-2
# (kernel, batch): a batch in one piece, one row, several chunks of 256 rows, and parts that are summed side by side.
CASES = [(SMALL, 32), (SMALL, 1), (SMALL, 300), (Kernel(4, 2), 550), (Kernel(16), 64)]
KERNELS = pytest.mark.parametrize(
    ("kernel", "batch_size"), spread(CASES, CASES[:-1]), ids=[f"{k.name}, {b} rows" for k, b in CASES]
)
BOTH = pytest.mark.parametrize("estimator", ["svrg", "saga"])
LANES = [{"lr": lr} for lr in (0.02, 0.05, 0.1, 0.15)]


def cohort_of(estimator, lanes=LANES, optimizer="sgd", loss="logistic", **options):
    options = {"l2": L2, "init": 0.4, "kernel": SMALL, "batch_size": 32, **options}
    return make_cohort(*problem(N, D, loss), lanes, optimizer, loss=loss, estimator=estimator, **options)


def with_ones(X, intercept):
    return np.column_stack([X, np.ones(len(X))]) if intercept else X


def by_numpy(estimator, step, start, batch_size, steps, *, loss="logistic", intercept=True):
    """The state after some steps; `step(t, w, g)` is the rule."""
    X, y = problem(N, D, loss)
    rows, (_, derivative) = with_ones(X, intercept), reference.LOSSES[loss]
    penalised = np.append(np.full(D, L2), 0.0) if intercept else L2
    w, epoch = start.copy(), -(-N // batch_size)
    for t, at in enumerate(islice(reference.batches(N, batch_size, 3), steps)):
        if t == 0 or (estimator == "svrg" and t % epoch == 0):
            table = derivative(rows @ w, y)
            mean = rows.T @ table / N
        residuals = derivative(rows[at] @ w, y[at])
        change = rows[at].T @ (residuals - table[at]) / len(at)
        g = change + mean + penalised * w
        if estimator == "saga":
            mean = mean + change * len(at) / N
            table[at] = residuals
        w = step(t + 1, w, g)
    return w


def rule_of(name, lr):
    """The rule's step with its defaults, with a memory of its own."""
    s = {"u": 0.0, "m": 0.0, "v": 0.0}

    def sgd(t, w, g):
        return w - lr * g

    def momentum(t, w, g):
        s["u"] = 0.9 * s["u"] + g
        return w - lr * s["u"]

    def nesterov(t, w, g):
        s["u"] = 0.9 * s["u"] + g
        return w - lr * (g + 0.9 * s["u"])

    def adam(t, w, g):
        s["m"], s["v"] = 0.9 * s["m"] + 0.1 * g, 0.999 * s["v"] + 0.001 * g * g
        return w - lr * s["m"] / (1 - 0.9**t) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8)

    return {"sgd": sgd, "momentum": momentum, "nesterov": nesterov, "adam": adam}[name]


def state_of(cohort):
    """The points at which the next gradients are taken (alive, d + intercept)."""
    return cohort.layout.columns(cohort.layout.blocks(cohort.lanes.state, 0))[:, cohort.places].T


@KERNELS
@BOTH
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no intercept"])
def test_it_computes_its_equations(estimator, kernel, batch_size, intercept):
    cohort = cohort_of(estimator, kernel=kernel, batch_size=batch_size, intercept=intercept)
    start, steps = cohort.parameters()[0], 2 * cohort.batches + 3
    cohort.advance(steps)
    for w, lane in zip(cohort.parameters(), LANES, strict=True):
        rule = rule_of("sgd", lane["lr"])
        assert relative_error(w, by_numpy(estimator, rule, start, batch_size, steps, intercept=intercept)) < 1e-12


@BOTH
@pytest.mark.parametrize("name", spread(["momentum", "nesterov", "adam"], ["nesterov", "adam"]))
def test_it_goes_with_any_rule(name, estimator):
    lanes = [{"lr": lr} for lr in (0.002, 0.005)]
    cohort = cohort_of(estimator, lanes, name)
    start, steps = state_of(cohort)[0], 3 * cohort.batches
    cohort.advance(steps)
    for w, lane in zip(state_of(cohort), lanes, strict=True):
        assert relative_error(w, by_numpy(estimator, rule_of(name, lane["lr"]), start, 32, steps)) < 1e-11


@BOTH
@pytest.mark.parametrize("name", spread(["momentum", "nesterov", "adam"], ["nesterov", "adam"]))
@pytest.mark.parametrize("kernel", [SMALL, Kernel(4, 2)], ids=lambda kernel: kernel.name)
def test_it_goes_with_any_rule_in_chunks_and_parts(name, kernel, estimator):
    """A batch of 280 rows is one of 256 and one of 24; the last of an epoch has 40 rows."""
    lanes = [{"lr": lr} for lr in (0.002, 0.005)]
    cohort = cohort_of(estimator, lanes, name, kernel=kernel, batch_size=280, intercept=False)
    start = state_of(cohort)[0]
    cohort.advance(25)
    for w, lane in zip(state_of(cohort), lanes, strict=True):
        rule = rule_of(name, lane["lr"])
        assert relative_error(w, by_numpy(estimator, rule, start, 280, 25, intercept=False)) < 1e-11


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_batch_of_all_rows_has_the_exact_gradient(estimator):
    """However many rows, there is nothing to estimate."""
    found, exact = (cohort_of(name, kernel=Kernel(4, 2), batch_size=N) for name in (estimator, "none"))
    for cohort in (found, exact):
        cohort.advance(20)
    assert relative_error(found.parameters(), exact.parameters()) < 1e-12


@TYPES
def test_the_mean_that_saga_carries_on_is_that_of_its_table(dtype):
    """It is never summed anew: rounding must not add up over thousands of steps."""
    cohort = cohort_of("saga", dtype=dtype, batch_size=1)
    cohort.advance(20 * N)
    table, mean = (cohort.layout.gather(rows)[:, cohort.places] for rows in (cohort.lanes.table, cohort.lanes.mean))
    exact = with_ones(problem(N, D)[0], True).T @ table.astype(np.float64) / N
    assert np.abs(mean - exact).max() < (1e-14 if dtype == "float64" else 2e-6)


@BOTH
@pytest.mark.parametrize("loss", spread(["squared", "hinge", "poisson"], ["squared", "poisson"]))
def test_it_goes_with_any_loss(loss, estimator):
    lanes = [{"lr": 0.01}]
    cohort = cohort_of(estimator, lanes, loss=loss)
    start, steps = cohort.parameters()[0], 2 * cohort.batches
    cohort.advance(steps)
    expected = by_numpy(estimator, rule_of("sgd", 0.01), start, 32, steps, loss=loss)
    assert relative_error(cohort.parameters()[0], expected) < 1e-12


@KERNELS
@BOTH
@TYPES
def test_bits_do_not_depend_on_threads_pieces_or_neighbours(estimator, kernel, batch_size, dtype):
    lanes = [{"lr": 0.005 * i} for i in range(1, 41)]
    options = {"kernel": kernel, "batch_size": batch_size, "dtype": dtype}
    whole, cut, retired = (cohort_of(estimator, lanes, **options, threads=threads) for threads in (1, 2, 3))
    epoch = whole.batches
    whole.advance(2 * epoch + 2)
    for steps in (1, epoch - 1, 0, 2):
        cut.advance(steps)
        retired.advance(steps)
    keep = np.isin(np.arange(40), (1, 18, 39))
    retired.retire(keep)
    for rest in (cut, retired):
        rest.advance(epoch)
    np.testing.assert_array_equal(cut.parameters(), whole.parameters())
    np.testing.assert_array_equal(retired.parameters(), whole.parameters()[keep])
    alone = cohort_of(estimator, lanes[18:19], **options)
    alone.advance(2 * epoch + 2)
    np.testing.assert_array_equal(alone.parameters(), whole.parameters()[18:19])


@BOTH
def test_the_length_of_calls_changes_nothing(estimator, monkeypatch):
    """Each part has two chunks of rows, which are taken in two calls."""
    ends = []
    for seconds in (1e3, 1e-9):
        monkeypatch.setattr("fastgd.engine.calls.CALL_SECONDS", seconds)
        cohort = cohort_of(estimator, kernel=Kernel(4, 2), batch_size=550)
        cohort.advance(9)
        ends.append(cohort.parameters())
    np.testing.assert_array_equal(ends[1], ends[0])


@BOTH
def test_a_lane_that_diverges_harms_no_other(estimator):
    calm, wild = (cohort_of(estimator, [*LANES[:3], {"lr": lr}], loss="squared") for lr in (0.01, 1e6))
    for cohort in (calm, wild):
        cohort.advance(120)
    np.testing.assert_array_equal(wild.parameters()[:3], calm.parameters()[:3])
    assert not np.isfinite(wild.parameters()[3]).all()
    assert (wild.first_bad_step() > 1).tolist() == [False, False, False, True]


@BOTH
def test_float32_is_near(estimator):
    ends = []
    for dtype in ("float64", "float32"):
        cohort = cohort_of(estimator, dtype=dtype)
        cohort.advance(3 * cohort.batches)
        ends.append(cohort.parameters())
    assert relative_error(ends[1], ends[0]) < 1e-5


def optimum():
    """The minimum of the logistic objective, by Newton's method."""
    X, y = problem(N, D)
    rows, penalised, w = with_ones(X, True), np.append(np.full(D, L2), 0.0), np.zeros(D + 1)
    for _ in range(20):
        slope = reference.gradient(X, y, w, loss="logistic", l2=L2, intercept=True)
        curvature = expit(rows @ w) * expit(-(rows @ w))
        w = w - np.linalg.solve((rows.T * curvature) @ rows / N + np.diag(penalised), slope)
    assert np.linalg.norm(slope) < 1e-15
    return w


def test_they_converge_linearly_where_plain_gradients_circle():
    """Johnson & Zhang and Defazio et al., theorem 1: at a constant rate, on a strongly convex objective."""
    best = optimum()
    distances = {}
    for estimator in ESTIMATORS:
        cohort = cohort_of(estimator, [{"lr": 0.1}], batch_size=8)
        distances[estimator] = []
        for _ in range(6):
            cohort.advance(30 * cohort.batches)
            distances[estimator].append(np.linalg.norm(cohort.parameters()[0] - best))
    assert min(distances["none"]) > 1e-3
    for estimator in ("svrg", "saga"):
        first, *_, last = distances[estimator]
        assert last < 1e-9
        assert distances[estimator][1] < first / 10


@BOTH
def test_its_optimum_is_that_of_scikit_learn(estimator):
    """Whose objective is the sum of the losses + |w|^2 / (2 C), with a free intercept."""
    from sklearn.linear_model import LogisticRegression

    X, y = problem(N, D)
    expected = LogisticRegression(C=1 / (N * L2), tol=1e-12, max_iter=10_000).fit(X, y)
    cohort = cohort_of(estimator, [{"lr": 0.1}], batch_size=8)
    cohort.advance(200 * cohort.batches)
    found = cohort.parameters()[0]
    np.testing.assert_allclose(found[:D], expected.coef_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[D], expected.intercept_[0], rtol=1e-6)


# --- whole studies ----------------------------------------------------------------------------------------------------

OPTIMIZER = {"name": "sgd", "lr": [0.05, 0.1], "estimator": ["none", "svrg", "saga"]}


def test_a_study_crosses_estimators(tmp_path):
    results = small_studies.run(tmp_path / "r", optimizer=OPTIMIZER, seed=[0, 1])
    trials = results.trials
    assert trials.groupby("variant").size().to_dict() == {"": 4, "saga": 4, "svrg": 4}
    seen = results.curves.merge(trials[["trial_id", "variant"]], on="trial_id").groupby(["variant", "epoch"])
    n = small_studies.N
    passes = {key: values.unique().tolist() for key, values in seen["samples_seen"] if key[1] in (0.0, 3.0)}
    assert passes == {
        ("", 0.0): [0], ("", 3.0): [3 * n], ("saga", 0.0): [0], ("saga", 3.0): [4 * n], ("svrg", 0.0): [0],
        ("svrg", 3.0): [6 * n],
    }  # fmt: skip
    assert set(trials.loc[trials["variant"] != "", "kernel"]) == {"dense-tile-4"}
    assert (results.best()["variant"] != "").any()


def test_a_trial_alone_and_a_resumed_run_have_the_same_bits(tmp_path):
    whole = small_studies.run(tmp_path / "whole", optimizer=OPTIMIZER)
    small_studies.run(tmp_path / "grown", optimizer={**OPTIMIZER, "estimator": "saga"})
    grown = small_studies.run(tmp_path / "grown", optimizer=OPTIMIZER)
    for mine, theirs in zip(numbers(grown), numbers(whole), strict=True):
        assert mine.equals(theirs)
    trial = whole.trials.query("variant == 'svrg'")["trial_id"].iloc[1]
    alone = small_studies.run(tmp_path / "alone", optimizer=OPTIMIZER, trial=trial)
    expected = whole.curves[whole.curves["trial_id"] == trial]
    np.testing.assert_array_equal(alone.curves["loss"], expected["loss"])


def test_an_interrupted_run_goes_on_with_the_same_bits(tmp_path, monkeypatch):
    changes = {"optimizer": OPTIMIZER, "seed": [0, 1]}
    whole = small_studies.run(tmp_path / "whole", **changes)
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    for count in (9, 20):
        with pytest.raises(KeyboardInterrupt):
            small_studies.run(tmp_path / "r", log=Interrupt(Progress, count), **changes)
    assert_same(small_studies.run(tmp_path / "r", **changes), whole)


def test_a_snapshot_is_counted_when_it_is_taken(tmp_path):
    """Within epochs of five batches: after steps 1 and 7, of which the second is in the second epoch."""
    changes = {"epochs": None, "steps": 7, "record": {"every": {"log": 2}}}
    results = small_studies.run(tmp_path / "r", optimizer={**OPTIMIZER, "lr": 0.1}, **changes)
    curves, n = results.curves.set_index("trial_id"), small_studies.N
    trials = results.trials.set_index("variant")["trial_id"]
    found = {variant: curves.loc[trial, "samples_seen"].tolist() for variant, trial in trials.items()}
    assert found == {"": [0, 32, n + 64], "svrg": [0, n + 32, 3 * n + 64], "saga": [0, n + 32, 2 * n + 64]}


def test_the_plan_counts_the_table_and_the_passes():
    study = study_of(optimizer={**OPTIMIZER, "lr": [0.01, 0.1, 0.2, 0.3]})  # all of them in a tile
    data = prepare(from_arrays(*small_studies.rows()), targets="binary", dtype="float64")
    plain, svrg, saga = make_plan(study, [data]).units
    table = small_studies.N * 4 * 8  # a tile of four lanes
    assert table < svrg.bytes - plain.bytes < 1.1 * table, "and the gradient that it makes"
    assert svrg.bytes == saga.bytes
    assert [cohort.passes for cohort in (plain, svrg, saga)] == [3 + 4, 6 + 4, 4 + 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": "sag"}, r"optimizer\.estimator: there is no estimator 'sag'; did you mean 'saga'"),
        ({"name": "polyak", "estimator": "saga"}, "'polyak' needs the loss of each batch, of which 'saga'"),
        ({"name": "momo", "estimator": ["none", "svrg"]}, "'momo' needs the loss of each batch, of which 'svrg'"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(fastgd.InputError, match=message):
        study_of(optimizer={"name": "sgd", "lr": 0.1, **changes})


def test_full_batches_need_no_estimator():
    with pytest.raises(fastgd.InputError, match=r"estimator: 'svrg' is for mini-batches, and batch_size has 'full'"):
        study_of(optimizer=OPTIMIZER, batch_size=[32, "full"])


def test_trials_without_an_estimator_have_the_ids_that_they_had(tmp_path):
    plain = {"name": "sgd", "lr": [0.05, 0.1]}
    before = small_studies.run(tmp_path / "before", optimizer=plain)
    after = small_studies.run(tmp_path / "after", optimizer={**plain, "estimator": ["none", "saga"]})
    assert set(before.trials["trial_id"]) < set(after.trials["trial_id"])


def test_trials_without_an_estimator_keep_their_names_beside_those_that_have_one():
    data = prepare(from_arrays(*small_studies.rows()), targets="binary", dtype="float64")
    block = {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3]}
    known = make_plan(study_of(optimizer=block), [data]).table["trial_id"].tolist()
    for estimator in ({}, {"estimator": "none"}, {"estimator": ["saga", "none", "svrg"]}):
        trials = make_plan(study_of(optimizer=block | estimator), [data]).table
        assert trials.loc[trials["variant"] == "", "trial_id"].tolist() == known
        assert trials["trial_id"].is_unique
