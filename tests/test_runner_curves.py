"""What a curve records: schedules in the kernels and in the column `lr`, metrics, checkpoints."""

from itertools import product

import numpy as np
import pytest
import reference
from cohorts import spread
from small_studies import D, N, rows, run

from fastgd.engine.rows.order import start_values
from fastgd.schedules import SCHEDULES

BATCHES, EPOCHS = 5, 4
LAST = {"epoch": EPOCHS - 1, "step": EPOCHS * BATCHES - 1}

# --- schedules --------------------------------------------------------------------------------------------------------

KEYS = {
    "constant": {},
    "exponential": {"final": 0.05},
    "step": {"every": 2.0, "factor": 0.5},
    "cosine": {"final": 0.1},
}


def test_the_schedules_of_the_reference_are_here():
    assert set(KEYS) == set(reference.SCHEDULES) <= set(SCHEDULES)  # the others: test_schedules_runs.py


def value_at(name, per, t, horizon="last"):
    """The schedule's value for step t, from 1."""
    k = t - 1 if per == "step" else (t - 1) // BATCHES
    return reference.SCHEDULES[name](k, LAST[per] + (horizon == "torch"), **KEYS[name])


def trained(trial, hyper, optimizer="momentum"):
    X, y = rows()
    return reference.train(
        X, y, optimizer, hyper,
        loss="logistic", batch_size=trial["batch_size"], steps=int(trial["steps"]), seed=trial["seed"], intercept=True,
    )  # fmt: skip


LANES = {"single": (0.05, 0.3), "tile": (0.01, 0.03, 0.1, 0.3, 0.5)}
WAYS = list(product(["epoch", "step"], ["last", "torch"], LANES))


@pytest.mark.parametrize(
    ("per", "horizon", "lanes"), spread(WAYS, [("epoch", "last", "tile"), ("step", "torch", "single")])
)
@pytest.mark.parametrize("name", KEYS)
def test_schedules_of_the_rate(tmp_path, name, per, horizon, lanes):
    rates = LANES[lanes]
    schedule = {"name": name, "per": per, "horizon": horizon, **KEYS[name]}
    results = run(
        tmp_path / "r", epochs=EPOCHS, schedule=schedule, record={"parameters": "all"},
        optimizer={"name": "momentum", "lr": list(rates)},
    )  # fmt: skip
    assert len(results.trials) == len(rates)
    for _, trial in results.trials.iterrows():
        iterates = trained(
            trial, lambda t, lr=trial["lr"]: {"lr": lr * value_at(name, per, t, horizon), "momentum": 0.9}
        )
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-10)
        found = results.curves[results.curves["trial_id"] == trial["trial_id"]]
        produced = [trial["lr"] * value_at(name, per, max(1, step), horizon) for step in found["step"]]
        np.testing.assert_allclose(found["lr"], produced, rtol=1e-13)


@pytest.mark.parametrize("batch_size", [32, "full"])
def test_a_schedule_gives_another_hyper_parameter_its_value(tmp_path, batch_size):
    schedule = {"name": "exponential", "of": "momentum", "start": 0.5, "final": 0.9}
    results = run(tmp_path / "r", epochs=EPOCHS, schedule=schedule, batch_size=batch_size, record={"parameters": "all"})
    batches = BATCHES if batch_size == 32 else 1
    assert set(results.trials["schedule"]) == {"exponential (of=momentum)"}
    for _, trial in results.trials.iterrows():

        def hyper(t, lr=trial["lr"]):
            share = (t - 1) // batches / (EPOCHS - 1)
            return {"lr": lr, "momentum": 0.5 ** (1 - share) * 0.9**share}

        np.testing.assert_allclose(results.parameters(trial["trial_id"]), trained(trial, hyper)[-1], rtol=1e-10)
        assert (results.curves.loc[results.curves["trial_id"] == trial["trial_id"], "lr"] == trial["lr"]).all()


def test_schedules_side_by_side(tmp_path):
    """Lanes of one cohort under different schedules, by the epoch, by the step, and of different hyper-parameters."""
    schedules = [
        {"name": "constant"},
        {"name": "cosine", **KEYS["cosine"]},
        {"name": "step", "per": "step", **KEYS["step"]},
        {"name": "exponential", "of": "momentum", "start": 0.5, "final": 0.9},
    ]
    results = run(
        tmp_path / "r", epochs=EPOCHS, schedule=schedules, record={"parameters": "all"},
        optimizer={"name": "momentum", "lr": [0.05, 0.2], "momentum": 0.8},
    )  # fmt: skip
    assert results.trials["cohort_id"].nunique() == 1
    for _, trial in results.trials.iterrows():

        def hyper(t, trial=trial):
            match trial["schedule"]:
                case "constant":
                    return {"lr": trial["lr"], "momentum": 0.8}
                case "cosine":
                    return {"lr": trial["lr"] * value_at("cosine", "epoch", t), "momentum": 0.8}
                case "step (per=step)":
                    return {"lr": trial["lr"] * value_at("step", "step", t), "momentum": 0.8}
            share = (t - 1) // BATCHES / (EPOCHS - 1)
            return {"lr": trial["lr"], "momentum": 0.5 ** (1 - share) * 0.9**share}

        np.testing.assert_allclose(results.parameters(trial["trial_id"]), trained(trial, hyper)[-1], rtol=1e-10)


@pytest.mark.parametrize("form", ["torch", "lecture"])
@pytest.mark.parametrize("per", ["epoch", "step"])
def test_nesterov_reports_with_the_rate_of_its_last_step(tmp_path, per, form):
    """At every checkpoint, not at the end alone; the two forms are different algorithms when the rate changes."""
    results = run(
        tmp_path / "r", epochs=EPOCHS, schedule={"name": "step", "per": per, **KEYS["step"]},
        optimizer={"name": "nesterov", "lr": [0.01, 0.03, 0.1, 0.3], "form": form}, record={"parameters": "all"},
    )  # fmt: skip
    for _, trial in results.trials.iterrows():

        def hyper(t, lr=trial["lr"]):
            return {"lr": lr * value_at("step", per, t), "momentum": 0.9, "form": form}

        iterates = trained(trial, hyper, "nesterov")
        found = results.curves[results.curves["trial_id"] == trial["trial_id"]]
        np.testing.assert_allclose(found["param_norm"], np.linalg.norm(iterates[found["step"]], axis=1), rtol=1e-10)
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-10)


def test_a_schedule_of_the_decay_leaves_the_intercept_alone(tmp_path):
    """An intercept does not decay, whatever gives the decay its value."""
    schedule = {"name": "exponential", "of": "weight_decay", "start": 0.5, "final": 0.1}
    results = run(
        tmp_path / "r", epochs=EPOCHS, schedule=schedule, record={"parameters": "all"},
        optimizer={"name": "adamw", "lr": [0.01, 0.02, 0.05]},
    )  # fmt: skip
    for _, trial in results.trials.iterrows():

        def hyper(t, trial=trial):
            share = (t - 1) // BATCHES / (EPOCHS - 1)
            values = {name: trial[name] for name in ("lr", "beta1", "beta2", "eps")}
            return values | {"weight_decay": 0.5 ** (1 - share) * 0.1**share}

        np.testing.assert_allclose(results.parameters(trial["trial_id"]), trained(trial, hyper, "adamw")[-1], rtol=1e-9)


def test_lanes_that_end_do_not_shift_the_schedules_of_others(tmp_path):
    """Nine lanes in tiles of eight or so, of which some leave at once, and some later."""
    rates = [1e30, 0.01, 0.02, 1e30, 0.03, 1e3, 0.05, 1e300, 0.08]
    changes = {"epochs": EPOCHS, "schedule": {"name": "cosine", "per": "step"}, "record": {"parameters": "all"}}
    results = run(
        tmp_path / "r", problem={"loss": "squared", "intercept": True},
        optimizer={"name": "momentum", "lr": sorted(set(rates))}, stop={"diverge": 5.0}, **changes,
    )  # fmt: skip
    calm = results.trials[results.trials["lr"] < 0.1]
    assert set(calm["status"]) == {"completed"}
    assert set(results.trials["status"]) == {"completed", "diverged"}
    X, y = rows("squared")
    for _, trial in calm.iterrows():
        iterates = reference.train(
            X, y, "momentum",
            lambda t, lr=trial["lr"]: {"lr": lr * (1 + np.cos(np.pi * (t - 1) / LAST["step"])) / 2, "momentum": 0.9},
            loss="squared", batch_size=32, steps=EPOCHS * BATCHES, seed=0, intercept=True,
        )  # fmt: skip
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), iterates[-1], rtol=1e-10, atol=1e-12)


# --- metrics ----------------------------------------------------------------------------------------------------------


MEASURED = list(product(["logistic", "hinge", "squared", "huber"], [0.0, 0.1]))


@pytest.mark.parametrize(
    ("loss", "l2"), spread(MEASURED, [("logistic", 0.0), ("hinge", 0.1), ("squared", 0.1), ("huber", 0.0)])
)
def test_metrics(tmp_path, loss, l2):
    """All of them, at every checkpoint, of training and held-out rows, against NumPy."""
    labels = loss in ("logistic", "hinge")
    names = ["accuracy", "validation_accuracy"] if labels else ["r2", "validation_r2"]
    results = run(
        tmp_path / "r", data := rows(loss),
        problem={"loss": loss, "intercept": True, "l2": l2, "validation": 0.3, "split_seed": 4, "standardize": True},
        record={"metrics": ["grad_norm", *names], "parameters": "all"},
        init={"normal": 0.3},
    )  # fmt: skip
    (X, y), (V, v) = split_and_standardised(*data, 0.3, 4)
    assert set(results.trials["n"]) == {len(X)}
    for _, trial in results.trials.iterrows():
        found = results.curves[results.curves["trial_id"] == trial["trial_id"]].reset_index(drop=True)
        W = reference.train(
            X, y, "momentum", {"lr": trial["lr"], "momentum": 0.9},
            loss=loss, batch_size=32, steps=int(trial["steps"]), seed=0, l2=l2, intercept=True,
            start=start_values(0.3, 0, D + 1),
        )[found["step"]]  # fmt: skip
        for at, w in enumerate(W):
            z, u = reference.with_intercept(X, True) @ w, reference.with_intercept(V, True) @ w
            expected = {
                "loss": reference.objective(X, y, w, loss=loss, l2=l2, intercept=True),
                "validation_loss": reference.objective(V, v, w, loss=loss, intercept=True),
                "param_norm": np.linalg.norm(w),
                "grad_norm": np.linalg.norm(reference.gradient(X, y, w, loss=loss, l2=l2, intercept=True)),
            }
            if labels:
                expected |= {"accuracy": np.mean((z > 0) == y), "validation_accuracy": np.mean((u > 0) == v)}
            else:
                expected |= {"r2": r2(z, y), "validation_r2": r2(u, v)}
            assert found.loc[at, list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)
        assert trial["final_validation_loss"] == found["validation_loss"].iloc[-1]
        assert trial["best_validation_loss"] == found["validation_loss"].min()


def r2(z, y):
    return 1 - np.sum((z - y) ** 2) / np.sum((y - y.mean()) ** 2)


def split_and_standardised(X, y, fraction, seed):
    """Held out are the rows with the smallest keys; the training rows' mean and deviation are taken off both."""
    keys = np.random.PCG64(seed).random_raw(len(y))
    held = np.sort(np.argsort(keys, kind="stable")[: round(fraction * len(y))])
    train = np.setdiff1d(np.arange(len(y)), held)
    mean, deviation = X[train].mean(axis=0), X[train].std(axis=0)
    Z = (X - mean) / deviation
    return (Z[train], y[train]), (Z[held], y[held])


def test_what_was_not_measured_is_null(tmp_path):
    results = run(tmp_path / "r")
    table = results.curves_dataset.to_table()
    assert table["validation_loss"].null_count == len(table)
    assert table["loss"].null_count == 0
    assert "accuracy" not in table.column_names
    assert results.trials["best_validation_loss"].isna().all()


def test_a_metric_that_a_problem_does_not_have_is_null_for_it(tmp_path):
    data = {"n": 100, "d": 3}
    problems = [
        {"name": "labels", "loss": "logistic", "synthetic": data},
        {"name": "numbers", "loss": "squared", "synthetic": data | {"task": "regression"}},
    ]
    results = run(tmp_path / "r", problem=problems, record={"metrics": ["accuracy", "r2"]})
    curves = results.curves.merge(results.trials[["trial_id", "problem"]])
    numbers = curves["problem"] == "numbers"
    assert curves.loc[numbers, "r2"].notna().all()
    assert curves.loc[numbers, "accuracy"].isna().all()
    assert curves.loc[~numbers, "accuracy"].notna().all()


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_checkpoints_in_steps(tmp_path):
    results = run(tmp_path / "r", epochs=None, steps=17, record={"every": {"log": 5}})
    # 1, 2.03, 4.12, 8.37, 17
    for _, found in results.curves.groupby("trial_id"):
        assert found["step"].tolist() == [0, 1, 2, 4, 8, 17]
        assert found["epoch"].tolist() == [step / BATCHES for step in found["step"]]
        # four batches of 32 rows and one of 2 are an epoch
        assert found["samples_seen"].tolist() == [0, 32, 64, 128, N + 96, 3 * N + 64]
    assert set(results.trials["steps"]) == {17}
    assert set(results.trials["epochs"]) == {17 / BATCHES}


def test_the_end_alone_is_recorded_on_request(tmp_path):
    whole, end = run(tmp_path / "whole"), run(tmp_path / "end", record={"every": "end"})
    last = whole.curves.groupby("lr")[["step", "loss"]].last()
    for rate, found in end.curves.groupby("lr"):
        assert found["step"].tolist() == [0, last.loc[rate, "step"]]
        assert found["loss"].iloc[-1] == last.loc[rate, "loss"]


def test_checkpoints_change_nothing(tmp_path):
    """However often a trial is looked at, it goes the same way."""
    often = run(tmp_path / "often", record={"every": {"log": 15}, "parameters": "all"})
    seldom = run(tmp_path / "seldom", record={"every": {"log": 2}, "parameters": "all"})
    assert len(often.curves) > 2 * len(seldom.curves)
    for rate in often.trials["lr"]:
        one, other = (
            results.parameters(results.trials.set_index("lr").loc[rate, "trial_id"]) for results in (often, seldom)
        )
        np.testing.assert_array_equal(one, other)
    shared = seldom.curves.merge(seldom.trials[["trial_id", "lr"]], on=["trial_id", "lr"])
    both = shared.merge(often.curves, on=["lr", "step"], suffixes=("", "_often"))
    assert len(both) == len(seldom.curves)
    np.testing.assert_array_equal(both["loss"], both["loss_often"])


def test_a_sequential_order_visits_the_rows_as_they_stand(tmp_path):
    X, y = rows()
    results = run(tmp_path / "r", order="sequential", seed=[0, 1], record={"parameters": "all"})
    for _, trial in results.trials.iterrows():
        expected = reference.train(
            X, y, "momentum", {"lr": trial["lr"], "momentum": 0.9},
            loss="logistic", batch_size=32, steps=int(trial["steps"]), intercept=True,
        )  # fmt: skip
        np.testing.assert_allclose(results.parameters(trial["trial_id"]), expected[-1], rtol=1e-11)
