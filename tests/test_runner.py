"""A study from end to end: what is run, what is kept, and that it is the same however it comes about."""

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import sparse
from small_studies import D, Log, N, assert_same, numbers, rows, run, study_of

import fastgd
from fastgd import InputError
from fastgd.engine.rows.order import start_values
from fastgd.plan import cohorts as the_cohorts
from fastgd.runs.reporting.events import (
    CohortFinished,
    CohortStarted,
    Compiling,
    Finished,
    Loading,
    Planned,
    Progress,
    Warning_,
)

SEEDS = {"seed": [0, 1], "batch_size": [32, 64]}  # four cohorts


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_parameters_and_curves_are_those_of_the_reference(tmp_path):
    """Every trial of a study with two seeds, batch sizes and penalties, checkpoint by checkpoint."""
    problem = {"loss": "logistic", "intercept": True, "l2": [0.0, 0.01]}
    results = run(
        tmp_path / "r", problem=problem, init={"normal": 0.2}, record={"parameters": "all"}, order="shuffle", **SEEDS
    )
    X, y = rows()
    assert len(results.trials) == 4 * 2 * 2 * 2
    assert (results.trials["status"] == "completed").all()
    for trial in results.trials.itertuples():
        iterates = reference.train(
            X, y, "momentum", {"lr": trial.lr, "momentum": trial.momentum},
            loss="logistic", batch_size=trial.batch_size, steps=trial.steps, seed=trial.seed, l2=trial.l2,
            intercept=True, start=start_values(0.2, trial.seed, D + 1),
        )  # fmt: skip
        np.testing.assert_allclose(results.parameters(trial.trial_id), iterates[-1], rtol=1e-11)
        curve = results.curves[results.curves["trial_id"] == trial.trial_id]
        assert curve["step"].tolist() == np.arange(0, trial.steps + 1, trial.steps // 3).tolist()
        at = iterates[curve["step"]]
        losses = [reference.objective(X, y, w, loss="logistic", l2=trial.l2, intercept=True) for w in at]
        np.testing.assert_allclose(curve["loss"], losses, rtol=1e-12)
        np.testing.assert_allclose(curve["param_norm"], np.linalg.norm(at, axis=1), rtol=1e-11)
        assert curve["epoch"].tolist() == [0, 1, 2, 3]
        assert curve["samples_seen"].tolist() == [0, N, 2 * N, 3 * N]
        assert (curve["lr"] == trial.lr).all()
        assert trial.final_loss == losses[-1] or trial.final_loss == pytest.approx(losses[-1], rel=1e-12)
        assert trial.best_loss == curve["loss"].min()
        assert (trial.steps, trial.epochs) == (3 * -(-N // trial.batch_size), 3)


def test_a_full_batch_is_one_step_an_epoch_and_runs_once_for_all_seeds(tmp_path):
    log = Log()
    results = run(tmp_path / "r", log=log, batch_size="full", seed=[4, 5, 6], record={"parameters": "all"})
    assert log.computed == [4]
    assert len(results.trials) == 12
    assert (results.trials["steps"] == 3).all()
    X, y = rows()
    for trial in results.trials.itertuples():
        expected = reference.train(
            X, y, "momentum", {"lr": trial.lr, "momentum": 0.9},
            loss="logistic", batch_size=N, steps=3, intercept=True,
        )  # fmt: skip
        np.testing.assert_allclose(results.parameters(trial.trial_id), expected[-1], rtol=1e-11)
    trials, curves = numbers(results)
    seeds = [of_seed(trials, curves, seed) for seed in (4, 5, 6)]
    assert len(seeds[0]) == 4 * 4
    pd.testing.assert_frame_equal(seeds[1], seeds[0], check_exact=True)
    pd.testing.assert_frame_equal(seeds[2], seeds[0], check_exact=True)


def of_seed(trials, curves, seed):
    """The curves of a seed with all that is known of their trials, by rate and step."""
    chosen = trials[trials["seed"] == seed].merge(curves.drop(columns="lr"), on="trial_id")
    return chosen.drop(columns=["trial_id", "seed"]).sort_values(["lr", "step"], ignore_index=True)


def test_large_batches_run_in_parts(tmp_path):
    X, y = rows(n=40_000, d=3)
    results = run(tmp_path / "r", (X, y), batch_size=["full", 20_000], record={"parameters": "all"})
    assert results.trials["kernel"].str.contains("parts").all()
    for trial in results.trials.itertuples():
        expected = reference.train(
            X, y, "momentum", {"lr": trial.lr, "momentum": 0.9},
            loss="logistic", batch_size=trial.batch_size, steps=trial.steps, intercept=True,
            seed=None if trial.batch_size == 40_000 else 0,
        )  # fmt: skip
        np.testing.assert_allclose(results.parameters(trial.trial_id), expected[-1], rtol=1e-10)


def test_the_trials_table(tmp_path):
    results = run(tmp_path / "r", optimizer=[{"name": "momentum", "lr": 0.1}, {"name": "adam", "lr": [0.1, 0.2]}])
    momentum, adam = results.trials.iloc[0], results.trials.iloc[1]
    assert (momentum["n"], momentum["d"], momentum["batch_size"], momentum["seed"]) == (
        N,
        D,
        32,
        0,
    )
    assert (momentum["dataset"], momentum["loss"], momentum["problem"]) == ("arrays", "logistic", "arrays/logistic")
    assert (momentum["momentum"], adam["beta1"], adam["beta2"]) == (0.9, 0.9, 0.999)
    assert np.isnan(momentum["beta1"])
    assert np.isnan(adam["momentum"])
    assert (momentum["kernel"], momentum["dtype"], momentum["layout"]) == ("dense-single", "float64", "dense")
    assert (momentum["cohort_lanes"], adam["cohort_lanes"]) == (1, 2)
    assert momentum["cohort_id"] != adam["cohort_id"]
    assert results.trials["final_validation_loss"].isna().all()
    assert results.trials["in_study"].all()


def test_several_problems(tmp_path):
    problems = [
        {"name": "plain", "loss": "logistic"},
        {"name": "wide", "loss": "hinge", "synthetic": {"n": 200, "d": 9, "seed": 3}, "l2": [1e-3, 1e-1]},
    ]
    with pytest.raises(InputError, match=r"problem.0 names no data"):
        run(tmp_path / "r", problem=problems)
    problems[0]["synthetic"] = {"n": 100, "d": 2}
    log = Log()
    results = run(tmp_path / "r", log=log, problem=problems)
    assert log.computed == [4, 8]
    assert results.trials.groupby("problem")[["n", "d"]].first().to_dict("index") == {
        "plain": {"n": 100, "d": 2},
        "wide": {"n": 200, "d": 9},
    }
    alone = run(tmp_path / "alone", problem=problems[1])
    assert_same_rows(results, alone)


def assert_same_rows(results, part):
    """The part's trials and curves are those of the whole."""
    for whole, some in zip(numbers(results), numbers(part), strict=True):
        kept = whole[whole["trial_id"].isin(some["trial_id"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(kept[some.columns], some, check_exact=True)


def test_positive_takes_one_label_against_all_others(tmp_path):
    X, y = rows()
    names = np.where(y > 0, "yes", np.where(X[:, 0] > 0, "no", "never"))
    labelled = run(tmp_path / "a", (X, names), problem={"loss": "logistic", "positive": "yes"})
    plain = run(tmp_path / "b", (X, y), problem={"loss": "logistic"})
    keep = ["lr", "final_loss", "best_loss"]
    pd.testing.assert_frame_equal(labelled.trials[keep], plain.trials[keep], check_exact=True)
    with pytest.raises(InputError, match=r"problem.0 .loss 'logistic'.*'yes'"):
        run(tmp_path / "c", (X, names), problem={"loss": "logistic"})


def test_arrays_of_many_kinds(tmp_path):
    X, y = rows()
    expected = run(tmp_path / "array", (X, y))
    for kind, given in {
        "frame": (pd.DataFrame(X), pd.Series(y)),
        "sparse": (sparse.csr_matrix(X), y),
        "booleans": (X, y > 0),
        "signs": (np.asfortranarray(X), 2 * y - 1),
        "lists": (X.tolist(), y.tolist()),
    }.items():
        found = run(tmp_path / kind, given)
        np.testing.assert_array_equal(found.trials["final_loss"], expected.trials["final_loss"], err_msg=kind)


def test_data_are_named_once(tmp_path):
    with pytest.raises(InputError, match="names data and arrays were given too"):
        fastgd.run(study_of(problem={"loss": "logistic", "dataset": "breast_cancer"}), tmp_path / "r", data=rows())
    with pytest.raises(InputError, match="names no data; give one of dataset, path and synthetic"):
        fastgd.run(study_of(), tmp_path / "r")


def test_a_batch_larger_than_the_rows_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="batch_size: 131 is larger than the 130 training rows"):
        run(tmp_path / "r", batch_size=131)
    assert not (tmp_path / "r").exists()


# --- parameters -------------------------------------------------------------------------------------------------------


def test_parameters_none(tmp_path):
    results = run(tmp_path / "r")
    with pytest.raises(InputError, match="were not recorded"):
        results.parameters(results.trials["trial_id"][0])


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_parameters_of_the_best(tmp_path, validation):
    """Those of all seeds of each optimizer's best configuration: what `best` names."""
    problem = {"loss": "logistic", "intercept": True, "validation": validation}
    optimizer = [{"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3]}, {"name": "sgd", "lr": [0.03, 0.1, 0.3]}]
    changes = {"problem": problem, "optimizer": optimizer, **SEEDS}
    best = run(tmp_path / "best", record={"parameters": "best"}, **changes)
    every = run(tmp_path / "all", record={"parameters": "all"}, **changes)
    wanted = set()
    for _, ranked in best.best().groupby("optimizer"):
        wanted |= set(best.seeds_of(ranked.sort_values("rank")["trial_id"].iloc[0]))
    assert len(wanted) == 2 * len(SEEDS["seed"])
    for trial in best.trials["trial_id"]:
        if trial in wanted:
            np.testing.assert_array_equal(best.parameters(trial), every.parameters(trial))
        else:
            with pytest.raises(InputError, match="were not recorded"):
                best.parameters(trial)


def test_what_is_kept_changes_no_trial(tmp_path):
    """A folder whose parameters are asked for later runs what lacks them, for them alone, with the same bits."""
    first, log = run(tmp_path / "r", **SEEDS), Log()
    best = run(tmp_path / "r", log=log, record={"parameters": "best"}, **SEEDS)
    assert_same(best, first)
    assert sum(log.computed) == len(SEEDS["seed"]) == best.table("parameters").num_rows
    assert set(best.table("parameters")["trial_id"].to_pylist()) == set(best.seeds_of(best.best()["trial_id"][0]))
    log = Log()
    every = run(tmp_path / "r", log=log, record={"parameters": "all"}, **SEEDS)
    assert_same(every, first)
    assert "for record.parameters" in log.of(Warning_)[0].message
    assert every.table("parameters").num_rows == len(first.trials) == len(set(every.trials["trial_id"]))
    fresh = run(tmp_path / "fresh", record={"parameters": "all"}, **SEEDS)
    for trial in fresh.trials["trial_id"]:
        np.testing.assert_array_equal(every.parameters(trial), fresh.parameters(trial))
    log = Log()
    run(tmp_path / "r", log=log, record={"parameters": "none"}, **SEEDS)
    assert log.computed == []


def test_the_best_of_a_study_that_grows(tmp_path):
    """Another configuration becomes the best one: its parameters are stored too."""
    record = {"parameters": "best"}
    few = run(tmp_path / "r", optimizer={"name": "momentum", "lr": [1e-4, 2e-4, 3e-4]}, record=record)
    first = few.best()["trial_id"][0]  # read now: the folder is about to grow
    more = run(tmp_path / "r", optimizer={"name": "momentum", "lr": [1e-4, 2e-4, 3e-4, 1e-2]}, record=record)
    assert first != more.best()["trial_id"][0]
    assert len(more.parameters(more.best()["trial_id"][0])) == D + 1


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_the_best_iterate(tmp_path, validation):
    """The parameters of each trial are those after its best step, as a shorter run ends with them."""
    changes = {"problem": {"loss": "logistic", "intercept": True, "validation": validation}}
    results = run(tmp_path / "r", epochs=12, record={"parameters": "best_iterate"}, **changes)
    metric = "validation_loss" if validation else "loss"
    finals = [
        run(tmp_path / str(epochs), epochs=epochs, record={"parameters": "all"}, **changes) for epochs in range(1, 13)
    ]
    for trial in results.trials.itertuples():
        curve = results.curves[results.curves["trial_id"] == trial.trial_id]
        assert trial.best_step == curve["step"].iloc[curve[metric].argmin()] > 0
        shorter = finals[int(curve["epoch"].iloc[curve[metric].argmin()]) - 1]
        (same,) = shorter.trials.loc[shorter.trials["lr"] == trial.lr, "trial_id"]
        np.testing.assert_array_equal(results.parameters(trial.trial_id), shorter.parameters(same))
    assert (results.trials["best_step"] < results.trials["steps"]).any() or not validation
    log = Log()
    every = run(tmp_path / "r", log=log, epochs=12, record={"parameters": "all"}, **changes)
    assert sum(log.computed) == 4, "final parameters are other numbers, of other trials"
    assert log.of(Warning_)[0].message.endswith("will run again because record.parameters changed")
    assert every.table("parameters").num_rows == 8
    assert fastgd.verify(tmp_path / "r").ok


def test_parameters_of_the_best_where_trials_end_at_different_times(tmp_path):
    """The best one reaches the target early; the others go on."""
    stop = {"target": 0.6}
    results = run(tmp_path / "r", epochs=20, stop=stop, record={"parameters": "best"})
    assert results.trials["steps"].nunique() > 1
    winner = results.trials.loc[results.trials["final_loss"].idxmin(), "trial_id"]
    assert len(results.parameters(winner)) == D + 1
    assert results.table("parameters").num_rows == 1


# --- the same bits ----------------------------------------------------------------------------------------------------

GRIDS = {
    "single": {"optimizer": {"name": "momentum", "lr": [0.1, 0.2]}},
    "tile": {"optimizer": {"name": "momentum", "lr": [0.1, 1e5, 0.2, 0.3, 0.4]}, "seed": [0, 1]},
    "full": {"batch_size": "full", "seed": [0, 1]},
    "schedule": {"schedule": [{"name": "cosine", "per": "step"}, {"name": "constant"}]},
    "nesterov": {
        "optimizer": {"name": "nesterov", "lr": [0.1, 0.2, 0.5, 1e4, 1.0], "schedule": {"name": "step", "every": 1}},
        "stop": {"target": 0.6},
        "record": {"parameters": "all", "metrics": ["grad_norm", "accuracy"]},
    },
}


@pytest.mark.parametrize("grid", GRIDS)
def test_a_trial_alone_has_its_bits(tmp_path, grid):
    whole = run(tmp_path / "whole", **GRIDS[grid])
    for trial in whole.trials["trial_id"][::3]:
        alone = run(tmp_path / trial, trial=trial, **GRIDS[grid])
        assert alone.trials["trial_id"].tolist() == [trial]
        assert_same_rows(whole, alone)
        if GRIDS[grid].get("record", {}).get("parameters"):
            np.testing.assert_array_equal(alone.parameters(trial), whole.parameters(trial))


def test_a_trial_that_the_study_does_not_have(tmp_path):
    with pytest.raises(InputError, match="the study has no trial 'nonsense'"):
        run(tmp_path / "r", trial="nonsense")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("grid", ["tile", "nesterov"])
def test_threads_and_memory_change_no_bits(tmp_path, grid, monkeypatch):
    expected = run(tmp_path / "two", **GRIDS[grid])
    assert_same(run(tmp_path / "one", threads=1, **GRIDS[grid]), expected)
    assert_same(run(tmp_path / "three", threads=3, **GRIDS[grid]), expected)
    monkeypatch.setattr(the_cohorts, "MOST_COHORT_BYTES", 1)
    log = Log()
    assert_same(run(tmp_path / "split", log=log, **GRIDS[grid]), expected)
    assert max(log.computed) <= 4 < max(expected.trials["cohort_lanes"])


def test_float32_is_close_to_float64(tmp_path):
    double, single = (run(tmp_path / dtype, dtype=dtype) for dtype in ("float64", "float32"))
    assert set(single.trials["dtype"]) == {"float32"}
    np.testing.assert_allclose(single.trials["final_loss"], double.trials["final_loss"], rtol=1e-5)
    assert not np.array_equal(single.trials["final_loss"], double.trials["final_loss"])
    assert single.curves["loss"].dtype == np.float64


# --- events and times -------------------------------------------------------------------------------------------------


def test_events_tell_what_happens(tmp_path, monkeypatch):
    monkeypatch.setattr("fastgd.runs.clock.PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("fastgd.runs.executor.GATHER_SECONDS", 0.0)
    log = Log()
    X, y = rows()
    X[:, 2] = 1.0
    results = run(
        tmp_path / "r", (X, y), log=log, problem={"loss": "logistic", "standardize": True},
        optimizer={"name": "momentum", "lr": [0.1, 0.2, 1e6]}, stop={"diverge": 10.0}, **SEEDS,
    )  # fmt: skip
    kinds = [type(event) for event in log if not isinstance(event, Progress)]
    assert kinds == [Loading, Planned, Warning_] + 4 * [CohortStarted, Compiling, CohortFinished] + [Finished]
    assert log[0].dataset == "arrays"
    assert "constant" in log[2].message
    assert log[2].message in results.manifest.notes
    assert log[2].message in log[1].summary.notes
    assert log.of(Planned)[0].summary.trials == 12
    assert [event.index for event in log.of(CohortStarted)] == [0, 1, 2, 3]
    assert {event.diverged for event in log.of(CohortFinished)} == {1}
    assert log.of(Finished)[0].results.path == results.path
    steps = log.of(Progress)
    assert {event.cohort for event in steps} == {0, 1, 2, 3}
    assert {event.trials for event in steps} == {12}
    assert all(0 <= event.epoch <= event.epochs == 3 for event in steps)
    assert all(event.diverged <= event.done <= 12 and 0 <= event.alive <= 3 for event in steps)
    assert np.all(np.diff([event.done for event in steps]) >= 0)
    assert steps[-1].rate > 0
    assert all(event.seconds_left is None or event.seconds_left >= 0 for event in steps)


class Ticks:
    """A clock that goes on by a second whenever it is looked at, so that no other work on the machine counts."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def perf_counter(self) -> float:
        self.seconds += 1.0
        return self.seconds


def test_times_add_up(tmp_path, monkeypatch):
    ticks = Ticks()
    monkeypatch.setattr("fastgd.runs.clock.time", ticks)
    results = run(tmp_path / "r", epochs=400, record={"every": {"log": 20}}, **SEEDS)
    assert set(results.timings) == {"load", "plan", "compile", "train", "evaluate", "store"}
    assert min(results.timings.values()) > 0
    assert ticks.seconds - 10 < sum(results.timings.values()) <= ticks.seconds
    cohorts = results.trials.groupby("cohort_id")[["compile_seconds", "train_seconds", "evaluate_seconds"]]
    assert (cohorts.nunique() == 1).all(axis=None), "shared by a cohort's lanes"
    totals = cohorts.first().sum()
    for stage in ("compile", "train", "evaluate"):
        assert totals[f"{stage}_seconds"] == pytest.approx(results.timings[stage], rel=0.05, abs=0.02)
    last = results.curves.groupby("trial_id")["train_seconds"].max()
    trained = results.trials.set_index("trial_id")["train_seconds"]
    assert (last <= trained[last.index]).all()
    assert (results.curves.groupby("trial_id")["train_seconds"].diff().dropna() >= 0).all()
