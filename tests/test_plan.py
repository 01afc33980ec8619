"""The plan: which trials there are, what they are called, and which pass over the data each of them shares."""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastgd
from fastgd import InputError
from fastgd.datasets import from_arrays, prepare
from fastgd.engine.shapes import choose_kernel
from fastgd.plan import cohorts
from fastgd.plan.planner import make_plan

N, D = 100, 3
X = np.random.default_rng(0).standard_normal((N, D))
Y = (X[:, 0] > 0).astype(float)


def study_of(**changes):
    fields = {
        "name": "plan",
        "epochs": 3,
        "batch_size": 32,
        "problem": {"loss": "logistic"},
        "optimizer": {"name": "momentum", "lr": [0.1, 0.2], "momentum": [0.5, 0.9]},
    }
    return fastgd.Study(**{**fields, **changes})


def data_for(study, **options):
    targets = {"squared": "real", "logistic": "binary"}
    dataset = from_arrays(X, Y)
    return [prepare(dataset, targets=targets[problem.loss], dtype=study.dtype, **options) for problem in study.problem]


def plan_of(**changes):
    study = study_of(**changes)
    return make_plan(study, data_for(study))


def ids_of(**changes):
    return set(plan_of(**changes).table["trial_id"])


# --- which trials there are -------------------------------------------------------------------------------------------


def test_what_is_crossed_and_what_is_alternative():
    plan = plan_of(
        problem=[{"loss": "logistic", "l2": [0.0, 1e-3, 1e-2]}, {"loss": "squared"}],
        optimizer=[{"name": "momentum", "lr": [0.1, 0.2], "momentum": [0.5, 0.9]}, {"name": "adam", "lr": 1.0}],
        schedule=[{"name": "constant"}, {"name": "step", "every": [2, 3]}],
        batch_size=[8, 32],
        seed=[0, 1, 2],
    )
    trials = plan.table
    assert len(trials) == (3 + 1) * (4 + 1) * 3 * 2 * 3
    assert trials["trial_id"].is_unique
    assert not trials.drop(columns="trial_id").duplicated().any()
    counts = trials.groupby(["problem", "optimizer"]).size()
    assert counts["arrays/logistic", "momentum"] == 3 * 4 * 3 * 2 * 3
    assert counts["arrays/squared", "adam"] == 3 * 2 * 3
    assert trials["beta1"].isna().eq(trials["optimizer"] == "momentum").all()
    assert set(trials["schedule.every"].dropna()) == {2, 3}
    lanes = sorted(trial for cohort in plan.units for lane in cohort.ids for trial in lane)
    assert lanes == sorted(trials["trial_id"])


def test_a_schedule_of_an_optimizers_own_replaces_the_studys():
    plan = plan_of(
        optimizer=[
            {"name": "momentum", "lr": 0.1, "schedule": {"name": "cosine", "final": 0.1}},
            {"name": "sgd", "lr": 0.1},
        ],
        schedule=[{"name": "constant"}, {"name": "step", "every": 2, "per": "step", "horizon": "torch"}],
    )
    named = plan.table.groupby("optimizer")["schedule"].agg(list)
    assert named["momentum"] == ["cosine"]
    assert named["sgd"] == ["constant", "step (per=step, horizon=torch)"]


def test_cohorts_share_what_a_pass_shares():
    plan = plan_of(
        optimizer=[
            {"name": "momentum", "lr": [0.1, 0.2]},
            {"name": "momentum", "lr": 0.3, "momentum": 0.1, "schedule": {"name": "cosine"}},
            {"name": "momentum", "lr": 0.1, "form": ["torch", "lecture"]},
            {"name": "sgd", "lr": [0.1, 0.2, 0.3]},
        ],
        batch_size=[8, 32],
        seed=[5, 6],
    )
    found = {
        (
            cohort.spec.rule.optimizer.name,
            cohort.spec.rule.choices,
            cohort.spec.batch_size,
            *cohort.all_seeds,
        ): cohort.lanes
        for cohort in plan.units
    }
    assert len(found) == len(plan.units) == 3 * 2 * 2
    for (name, choices, _, *seeds), lanes in found.items():
        # two blocks of one rule are one cohort; (0.1, torch) stands in two of them, and runs once
        assert lanes == {"sgd": 3, "momentum": 3 if ("form", "torch") in choices else 1}[name]
        assert len(seeds) == 1


def test_overlapping_grids_run_once():
    blocks = [{"name": "sgd", "lr": [0.1, 0.2, 0.4]}, {"name": "sgd", "lr": [0.2, 0.3]}]
    plan = plan_of(optimizer=blocks, batch_size=[N, "full"])
    assert sorted(plan.table["lr"]) == [0.1, 0.2, 0.3, 0.4]
    assert plan.table["trial_id"].is_unique
    assert sum(cohort.lanes for cohort in plan.units) == 4


def test_seeds_of_a_full_batch_share_a_lane():
    plan = plan_of(batch_size="full", seed=[3, 4, 5])
    assert len(plan.table) == 4 * 3
    assert plan.table["trial_id"].is_unique
    (cohort,) = plan.units
    assert cohort.lanes == 4
    assert cohort.seeds == [[3, 4, 5]] * 4
    assert all(len(trials) == 3 for trials in cohort.ids)
    seeds = plan.table.set_index("trial_id")["seed"]
    assert [[seeds[trial] for trial in trials] for trials in cohort.ids] == [[3, 4, 5]] * 4
    random = plan_of(batch_size="full", seed=[3, 4, 5], init={"normal": 0.1})
    assert [cohort.all_seeds for cohort in random.units] == [[3], [4], [5]]


def test_problems_are_told_apart():
    problems = [{"loss": "logistic"}, {"loss": "squared"}]
    assert plan_of(problem=problems).table["problem"].unique().tolist() == ["arrays/logistic", "arrays/squared"]
    problems = [{"loss": "logistic"}, {"loss": "squared"}, {"loss": "logistic", "intercept": True}]
    with pytest.raises(InputError, match=r"problem\.2 is called 'arrays/logistic', as problem\.0 is; give each a name"):
        plan_of(problem=problems)
    problems = [{"loss": "logistic", "name": "with"}, {"loss": "logistic", "intercept": True, "name": "without"}]
    assert plan_of(problem=problems).table["problem"].unique().tolist() == ["with", "without"]


# --- what they are called ---------------------------------------------------------------------------------------------

SEMANTIC = {
    "epochs": 4,
    "batch_size": 31,
    "seed": 1,
    "dtype": "float32",
    "order": "sequential",
    "init": {"normal": 0.1},
    "problem": {"loss": "logistic", "intercept": True},
    "schedule": {"name": "cosine"},
    "stop": {"target": 0.1},
    "record": {"metrics": ["accuracy"]},
    "optimizer": {"name": "nesterov", "lr": [0.1, 0.2], "momentum": [0.5, 0.9]},
}


@pytest.mark.parametrize("key", SEMANTIC)
def test_an_id_depends_on_what_decides_the_numbers(key):
    assert not ids_of() & ids_of(**{key: SEMANTIC[key]})


@pytest.mark.parametrize(
    "options", [{"standardize": True}, {"validation": 0.2}, {"validation": 0.2, "split_seed": 1}, {"positive": 0}]
)
def test_an_id_depends_on_the_data(options):
    study = study_of()
    plans = [make_plan(study, data_for(study, **some)) for some in ({}, options)]
    assert not set(plans[0].table["trial_id"]) & set(plans[1].table["trial_id"])


def test_an_id_does_not_depend_on_anything_else():
    same = [
        {"name": "another"},
        {"max_seconds": 1},
        {"optimizer": {"name": "momentum", "momentum": [0.9, 0.5], "lr": [0.2, 0.1], "form": "torch"}},
        {"problem": {"loss": "logistic", "name": "labelled", "l2": 0.0}},
        {"schedule": [{"name": "constant"}]},
        {"record": {"metrics": ["loss"]}},
    ]
    for changes in same:
        assert ids_of(**changes) == ids_of()


def test_an_extended_study_has_the_trials_that_it_had():
    more = [
        {"seed": [0, 1]},
        {"batch_size": [8, 32]},
        {"problem": [{"loss": "logistic", "l2": [0.0, 0.1]}, {"loss": "squared"}]},
        {"schedule": [{"name": "cosine"}, {"name": "constant"}]},
        {"optimizer": [{"name": "adam", "lr": 0.1}, *study_of().model_dump()["optimizer"]]},
    ]
    for changes in more:
        assert ids_of() < ids_of(**changes)


def test_an_id_is_the_same_in_every_process(tmp_path):
    """This one and another, in which text has other hashes."""
    code = """
import sys, json
sys.path.insert(0, sys.argv[1])
import test_plan
print(json.dumps(sorted(test_plan.ids_of(problem={"loss": "logistic", "l2": [0, 0.1]}, schedule={"name": "cosine"}))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, os.path.dirname(__file__)],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": "1"},
    )  # fmt: skip
    here = ids_of(problem={"loss": "logistic", "l2": [0, 0.1]}, schedule={"name": "cosine"})
    assert json.loads(done.stdout) == sorted(here)


MINE = """
from typing import NamedTuple
import fastgd

FACTOR = 1.0

@fastgd.optimizer(family="mine")
class Mine(NamedTuple):
    lr: float

    def rule(h, c, w, g, s):
        return w - FACTOR * h.lr * g, s
"""


def test_an_edited_rule_makes_other_trials(tmp_path, monkeypatch):
    """Whatever was edited in its module: results of one rule are not taken for those of another."""
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for text in (MINE, MINE, MINE.replace("1.0", "10.0")):
        (tmp_path / "edited_rule.py").write_text(text)
        sys.modules.pop("edited_rule", None)
        importlib.invalidate_caches()
        found.append(ids_of(optimizer={"name": "edited_rule:Mine", "lr": 0.1}))
    assert found[0] == found[1]
    assert not found[0] & found[2]


def test_a_rule_of_ones_own_needs_no_rate(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rate_free.py").write_text(MINE.replace("lr: float", "pull: float").replace("h.lr", "h.pull"))
    plan = plan_of(optimizer={"name": "rate_free:Mine", "pull": [0.1, 0.2]})
    assert plan.table["pull"].tolist() == [0.1, 0.2]
    assert set(plan.table["schedule"]) == {"constant"}


# --- kernels, memory and numbers --------------------------------------------------------------------------------------


def patch_budget(monkeypatch, size):
    monkeypatch.setattr(cohorts, "MOST_COHORT_BYTES", size)


def test_a_kernel_is_the_studys_choice(monkeypatch):
    """Neither a memory budget nor what is left to do changes it; the bits depend on it."""
    grid = {"optimizer": {"name": "momentum", "lr": {"log": [1e-4, 1], "num": 90}}}
    whole = plan_of(**grid)
    (cohort,) = whole.units
    assert cohort.spec.kernel == choose_kernel(90, 32, 8)
    assert cohort.select(np.arange(90) < 2).spec.kernel == cohort.spec.kernel
    tile = cohort.spec.kernel.lanes
    patch_budget(monkeypatch, cohort.bytes // 2)
    split = plan_of(**grid)
    assert len(split.units) > 1
    assert all(part.spec.kernel == cohort.spec.kernel for part in split.units)
    assert all(part.bytes <= cohort.bytes // 2 for part in split.units)
    assert all(part.lanes % tile == 0 for part in split.units[:-1]), "whole tiles"
    assert split.table.equals(whole.table)
    assert [lane for part in split.units for lane in part.ids] == cohort.ids
    patch_budget(monkeypatch, 1)
    assert {part.lanes for part in plan_of(**grid).units[:-1]} == {tile}, "a tile is the least"


def test_cohorts_have_different_names():
    cohorts = plan_of(seed=[0, 1], batch_size=[8, 32]).units
    assert len({cohort.name for cohort in cohorts}) == len(cohorts)


def test_summary_adds_up():
    summary = plan_of(optimizer={"name": "sgd", "lr": [0.1, 0.2, 0.3, 0.4, 0.5]}, seed=[0, 1]).summary()
    kernel = choose_kernel(5, 32, 8)
    assert (summary.trials, summary.lanes, len(summary.cohorts)) == (10, 10, 2)
    assert summary.padding == pytest.approx(kernel.padding(5) / (kernel.padding(5) + 5))
    # three epochs and four checkpoints, for each of two seeds
    assert summary.passes == 2 * (3 + 4)
    # a checkpoint costs half of what an epoch costs
    assert summary.flops == 2 * 5 * N * D * (3 * 4 + 4 * 2)
    assert summary.bytes == max(row.bytes for row in summary.cohorts) > 5 * D * 8
    assert [row.seed for row in summary.cohorts] == ["0", "1"]


def test_checkpoints():
    def checkpoints(**changes):
        (cohort,) = plan_of(optimizer={"name": "sgd", "lr": 0.1}, **changes).units
        return cohort.checkpoints.tolist()

    assert checkpoints() == [0, 4, 8, 12], "100 rows in batches of 32 are four steps"
    assert checkpoints(epochs=None, steps=10) == [0, 4, 8, 10]
    assert checkpoints(epochs=None, steps=2) == [0, 2]
    assert checkpoints(batch_size="full") == [0, 1, 2, 3], "a full batch is one step an epoch"
    logs = checkpoints(epochs=None, steps=100_000, record={"every": {"log": 6}})
    assert logs == [0, 1, 10, 100, 1000, 10_000, 100_000]
    logs = checkpoints(epochs=None, steps=50, record={"every": {"log": 40}})
    assert logs[0] == 0
    assert logs[-1] == 50
    assert (np.diff(logs) > 0).all()


def test_a_hundred_thousand_trials_are_planned_at_once():
    study = study_of(
        optimizer={
            "name": "momentum",
            "lr": {"log": [1e-4, 1], "num": 1000},
            "momentum": {"linear": [0, 0.9], "num": 10},
        },
        seed=list(range(10)),
    )
    data = data_for(study)
    plan = make_plan(study, data)
    assert plan.table["trial_id"].nunique() == 100_000


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_a_batch_larger_than_the_training_rows():
    with pytest.raises(
        InputError, match=r"batch_size: 1,000 is larger than the 100 training rows of 'arrays/logistic'"
    ):
        plan_of(batch_size=[10, 1000])
    study = study_of(batch_size=[90])
    with pytest.raises(InputError, match="batch_size: 90 is larger than the 80 training rows"):
        make_plan(study, data_for(study, validation=0.2))
