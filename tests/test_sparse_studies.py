"""Sparse data through whole studies: what the plan says, what is stored, and what PyTorch makes of the same rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from small_studies import assert_same
from test_runner_resume import Interrupt

import fastgd
from fastgd.common.errors import InputError
from fastgd.datasets import from_arrays, prepare
from fastgd.engine.rows.spec import WINDOW_BYTES, window_steps
from fastgd.engine.warmup import compile_kernels
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.coasting import EVERY_STEP, UNCHANGED, declares_coast, lift_of, prove_coasting
from fastgd.optimizers.rule import Rule
from fastgd.plan import cohorts as planning
from fastgd.plan.planner import make_plan
from fastgd.runs.reporting.events import CohortFinished, Warning_

N, D = 200, 30


def rows(seed=0):
    """Rows (N, D) in CSR form, from frequent features to rare ones, and labels."""
    rng = np.random.default_rng(seed)
    X = (rng.random((N, D)) < np.minimum(1, 2 / (1 + np.arange(D)))) * rng.standard_normal((N, D))
    return sp.csr_matrix(X), (X @ rng.standard_normal(D) > 0).astype(float)


def study_of(**changes):
    fields = {
        "name": "sparse",
        "epochs": 3,
        "batch_size": [1, 16],
        "problem": {"loss": "logistic", "intercept": True, "validation": 0.2},
        "optimizer": {"name": "adam", "lr": [1e-3, 1e-2, 1e-1]},
    }
    return fastgd.Study(**{**fields, **changes})


def planned(study, X=None):
    matrix, y = rows()
    problem = study.problem[0]
    data = prepare(from_arrays(matrix if X is None else X, y), targets="binary", layout=problem.layout)
    return make_plan(study, [data])


def run(path, study=None, **options):
    return fastgd.run(study or study_of(), path, data=rows(), threads=2, **options)


def by_trial(results, columns):
    """Curves in an order that does not depend on ids, which dense and sparse trials do not share."""
    wide = results.curves.merge(results.trials[["trial_id", "lr", "batch_size", "l2", "optimizer"]], on="trial_id")
    wide = wide.rename(columns={"lr_y": "rate"})
    return wide.sort_values(["optimizer", "rate", "batch_size", "l2", "step"])[columns].to_numpy(float)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "lamb", "nesterov"])
def test_a_study_on_sparse_rows_gives_the_curves_of_the_same_rows_made_dense(tmp_path, optimizer):
    common = {"optimizer": {"name": optimizer, "lr": [1e-3, 1e-2]}, "schedule": {"name": "cosine"}}
    problem = {"loss": "logistic", "intercept": True, "validation": 0.2, "l2": [0.0, 1e-2]}
    record = {"metrics": ["grad_norm", "accuracy"]}
    sparse = run(tmp_path / "sparse", study_of(problem=problem, record=record, **common))
    dense = run(tmp_path / "dense", study_of(problem=problem | {"layout": "dense"}, record=record, **common))
    columns = ["step", "loss", "validation_loss", "param_norm", "grad_norm", "accuracy", "samples_seen"]
    np.testing.assert_allclose(by_trial(sparse, columns), by_trial(dense, columns), rtol=1e-9)
    assert set(sparse.trials["layout"]) == {"sparse"}
    assert set(dense.trials["layout"]) == {"dense"}
    assert dense.trials["sparse"].isna().all()
    assert not set(sparse.trials["trial_id"]) & set(dense.trials["trial_id"])


def test_the_column_says_how_untouched_parameters_were_treated():
    optimizers = [{"name": name, "lr": 0.1} for name in ("sgd", "adam", "lamb")]
    problem = {"loss": "logistic", "l2": [0.0, 0.1]}
    plan = planned(study_of(optimizer=optimizers, problem=problem, batch_size=1))
    found = plan.table.set_index(["optimizer", "l2"])["sparse"].to_dict()
    dense = "exact, dense updates"
    assert found == {
        ("sgd", 0.0): "exact", ("sgd", 0.1): "exact", ("adam", 0.0): "exact", ("adam", 0.1): dense,
        ("lamb", 0.0): dense, ("lamb", 0.1): dense,
    }  # fmt: skip
    notes = plan.summary().notes
    assert any("adam has no closed form with l2 > 0" in note for note in notes)
    assert any("lamb sums over all parameters" in note for note in notes)
    masked = planned(study_of(problem={"loss": "logistic", "sparse": "masked"}, batch_size=1))
    assert set(masked.table["sparse"]) == {"masked"}
    assert masked.summary().notes == ()


def test_a_run_warns_of_dense_updates(tmp_path):
    events = []
    study = study_of(optimizer={"name": "lamb", "lr": 0.01}, batch_size=16, epochs=1)
    run(tmp_path, study, on_event=events.append)
    assert any(isinstance(event, Warning_) and "updates all parameters" in event.message for event in events)


def test_exact_and_masked_trials_are_not_the_same_and_not_confused(tmp_path):
    exact = run(tmp_path / "exact")
    masked = run(tmp_path / "masked", study_of(problem={"loss": "logistic", "intercept": True, "sparse": "masked"}))
    assert not set(exact.trials["trial_id"]) & set(masked.trials["trial_id"])
    merged = exact.trials.merge(masked.trials, on=["lr", "batch_size"])
    assert (merged["final_loss_x"] != merged["final_loss_y"]).all()


@pytest.mark.parametrize("batch_size", [1, 16])
def test_masked_adam_is_pytorchs_sparse_adam(tmp_path, batch_size):
    torch = pytest.importorskip("torch", reason="the witness of masked Adam is PyTorch's SparseAdam")
    X, y = rows()
    problem = {"loss": "logistic", "sparse": "masked"}
    study = study_of(
        problem=problem, batch_size=batch_size, order="sequential", optimizer={"name": "adam", "lr": [1e-2, 1e-1]},
        record={"parameters": "all"},
    )  # fmt: skip
    results = run(tmp_path, study)
    target = torch.from_numpy(y)
    for trial in results.trials.itertuples():
        weights = torch.nn.Embedding(D, 1, sparse=True, dtype=torch.float64)
        torch.nn.init.zeros_(weights.weight)
        adam = torch.optim.SparseAdam(weights.parameters(), lr=trial.lr)
        for _ in range(3):
            for start in range(0, N, batch_size):
                block = X[start : start + batch_size]
                entries = torch.from_numpy(block.indices.astype(np.int64))
                owners = torch.from_numpy(np.repeat(np.arange(block.shape[0]), np.diff(block.indptr)))
                values = weights(entries)[:, 0] * torch.from_numpy(block.data)
                margins = torch.zeros(block.shape[0], dtype=torch.float64).index_add(0, owners, values)
                part = target[start : start + batch_size]
                loss = torch.nn.functional.binary_cross_entropy_with_logits(margins, part)
                adam.zero_grad()
                loss.backward()
                adam.step()
        expected = weights.weight.detach().numpy()[:, 0]
        np.testing.assert_allclose(results.parameters(trial.trial_id), expected, rtol=1e-10, atol=1e-14)


REFUSED = {
    "sums": ({"optimizer": {"name": "lamb", "lr": 0.1}, "batch_size": 1}, "'lamb' sums over all parameters"),
    "estimator": (
        {"optimizer": {"name": "sgd", "lr": 0.1, "estimator": "saga"}, "batch_size": 1},
        "estimator = 'saga' moves every parameter",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_masked_form_is_refused(case):
    changes, text = REFUSED[case]
    with pytest.raises(InputError, match=r"problem.sparse = \"masked\"") as error:
        planned(study_of(problem={"loss": "logistic", "sparse": "masked"}, **changes))
    assert text in str(error.value)


def test_line_searches_work_on_sparse_rows(tmp_path):
    optimizer = {"name": "sgd", "lr": 1.0, "line_search": {"kind": "armijo"}}
    changes = {"optimizer": optimizer, "batch_size": "full", "epochs": 8}
    sparse = run(tmp_path / "sparse", study_of(**changes))
    problem = {"loss": "logistic", "intercept": True, "validation": 0.2, "layout": "dense"}
    dense = run(tmp_path / "dense", study_of(problem=problem, **changes))
    columns = ["loss", "lr", "loss_evaluations"]
    np.testing.assert_allclose(sparse.curves[columns], dense.curves[columns], rtol=1e-9)


def test_kernels_of_sparse_cohorts_are_compiled_ahead():
    plan = planned(study_of(optimizer=[{"name": name, "lr": [0.1, 0.2]} for name in ("sgd", "momentum")]))
    noted = []
    assert compile_kernels([(cohort.spec, cohort.dtype) for cohort in plan.units], noted.append) == len(noted) == 4
    assert all("sparse-tile" in name for name in noted)


def test_interrupted_resumed_and_single_trials_have_the_same_bits(tmp_path, monkeypatch):
    study = study_of(optimizer=[{"name": "adam", "lr": [1e-3, 1e-2, 1e-1]}, {"name": "momentum", "lr": [0.1, 0.3]}])
    whole = run(tmp_path / "whole", study)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", study, on_event=Interrupt(CohortFinished, 1))
    cut = run(tmp_path / "cut", study)
    assert_same(cut, whole)
    for trial in whole.trials["trial_id"][[0, 7]]:
        alone = run(tmp_path / trial, study, trial=trial)
        found = alone.curves.drop(columns="train_seconds").reset_index(drop=True)
        expected = whole.curves[whole.curves["trial_id"] == trial].drop(columns="train_seconds").reset_index(drop=True)
        assert found.equals(expected)


def test_a_plan_that_needs_more_memory_is_cut_and_narrowed(monkeypatch):
    study = study_of(optimizer={"name": "adam", "lr": {"log": [1e-4, 1], "num": 64}}, batch_size=1)
    whole = planned(study)
    assert len(whole.units) == 1
    monkeypatch.setattr(planning, "MOST_COHORT_BYTES", int(whole.units[0].bytes * 0.6))
    cut = planned(study)
    assert len(cut.units) == 2
    assert max(cohort.bytes for cohort in cut.units) <= planning.MOST_COHORT_BYTES
    assert set(cut.table["kernel"]) == set(whole.table["kernel"])
    narrow = whole.units[0].bytes // whole.units[0].spec.kernel.tiles(64) // 2
    monkeypatch.setattr(planning, "MOST_COHORT_BYTES", narrow)
    assert planned(study).units[0].spec.kernel.lanes < whole.units[0].spec.kernel.lanes


def test_the_window_stays_within_memory_for_grids_over_betas():
    """Lanes with betas of their own keep matrices of their own: the window is shorter, and its bytes are bounded."""
    grid = {"name": "adam", "lr": {"log": [1e-4, 1], "num": 16}}
    shared, own = (
        planned(study_of(optimizer=optimizer, batch_size=1)).units[0]
        for optimizer in (grid, grid | {"beta1": [0.5, 0.9], "beta2": [0.99, 0.999]})
    )
    assert shared.spec.untouched.shared
    assert not own.spec.untouched.shared
    for cohort in (shared, own):
        numbers = len(cohort.spec.untouched.entries) * (1 if cohort.spec.untouched.shared else cohort.spec.kernel.lanes)
        assert 8 * cohort.spec.window * 2 * numbers <= WINDOW_BYTES
        assert cohort.bytes <= planning.MOST_COHORT_BYTES
    assert window_steps(own.spec.untouched, own.spec, 10**5, 10.0, 8) < window_steps(
        shared.spec.untouched, shared.spec, 10**5, 10.0, 8
    )


def test_flights_sparse_learns(tmp_path):
    study = fastgd.Study(
        name="flights",
        epochs=1,
        batch_size=64,
        problem={
            "loss": "logistic",
            "dataset": "flights_sparse",
            "target": "late",
            "positive": "yes",
            "validation": 0.1,
        },
        optimizer=[{"name": "adam", "lr": [1e-3, 3e-3]}, {"name": "sgd", "lr": [1.0]}],
    )
    results = fastgd.run(study, tmp_path, threads=2)
    assert (results.trials["final_validation_loss"] < 0.52).all()  # the share of late flights alone: 0.55
    assert set(results.trials["d"]) == {4222}


def proven_lazy(record):
    """What is proven of how parameters coast, as the record says it: with the default values, l2 = 0 and l2 > 0."""
    rule = Rule.of(record, {})
    values = [[rate if value is None else value for value in rule.fields.values()] for rate in (0.1, 0.01)]

    def proven(l2):
        found = prove_coasting(rule, np.array(values, np.float64), np.full(2, l2))
        if found == EVERY_STEP:
            return "none"
        if found == UNCHANGED or not declares_coast(rule):
            return "closed"
        state = lift_of(rule)(rule.example(), 0.5, (1e3,) * rule.slots)
        return "cutoff" if np.isnan(np.array(state, np.float64)).any() else "closed"

    return proven(0.0), proven(0.01)


def test_every_record_says_how_it_coasts():
    closed = {name for name, record in OPTIMIZERS.items() if record.lazy[0] == "closed"}
    cutoff = {name for name, record in OPTIMIZERS.items() if record.lazy[0] == "cutoff"}
    penalised = {name for name, record in OPTIMIZERS.items() if record.lazy[1] != "none"}
    assert penalised == {"sgd", "momentum", "nesterov", "asgd", "schedule_free_sgd"}
    assert cutoff == {"adabelief", "adan"}
    assert closed >= {
        "sgd", "adagrad", "adadelta", "rmsprop", "ftrl", "rprop", "cocob", "momentum", "nesterov", "amsgrad", "yogi",
        "laprop", "adopt", "madgrad", "adamax", "adam", "adamw", "nadam", "radam", "schedule_free_sgd", "lion",
        "signum",
    }  # fmt: skip
    none = set(OPTIMIZERS) - closed - cutoff
    assert {"lars", "lamb", "novograd"} <= none
    assert all("measure" in vars(OPTIMIZERS[name].cls) for name in none)
    assert {name: record.lazy for name, record in OPTIMIZERS.items()} == {
        name: proven_lazy(record) for name, record in OPTIMIZERS.items()
    }


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_data_without_an_entry_are_data(tmp_path, batch_size):
    data = (sp.csr_matrix((40, 6)), np.arange(40) % 2.0)
    study = study_of(batch_size=batch_size, problem={"loss": "logistic", "intercept": True})
    results = fastgd.run(study, tmp_path, data=data, threads=2)
    assert (results.trials["status"] == "completed").all()
    np.testing.assert_allclose(results.trials["final_loss"], np.log(2), rtol=1e-2)


def test_masked_is_refused_on_dense_data():
    matrix, _ = rows()
    study = study_of(problem={"loss": "logistic", "sparse": "masked", "layout": "dense"})
    with pytest.raises(InputError, match="is for sparse data"):
        planned(study, matrix.toarray())
