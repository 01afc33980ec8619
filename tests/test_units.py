"""Units of work: each runs alone, in a process of its own, in any order, with the bits of the whole study."""

import multiprocessing
import pickle
import random

import numpy as np
import pytest
import small_studies
from collected import Collected
from small_studies import assert_same

import fastgd
from fastgd.plan import turns
from fastgd.plan.estimates import compiled
from fastgd.plan.planner import make_plan
from fastgd.runs import executor
from fastgd.runs.clock import Clock
from fastgd.runs.data.loading import load_data
from fastgd.runs.units.unit_run import run_unit
from fastgd.runs.warmup import compile_units


def work(unit, data):
    """Run a unit where nothing else of the study is; called in a process of its own."""
    sink, clock = Collected(), Clock()
    run_unit(unit, data, sink, clock)
    return sink, clock.done, clock.diverged


@pytest.fixture(scope="module")
def processes():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield pool


@pytest.fixture
def elsewhere(processes, monkeypatch):
    """Runs go unit by unit in other processes, in random order; returns the units that they ran."""
    ran = []

    def run_elsewhere(unit, data, sink, clock, _):
        collected, done, diverged = processes.apply(work, (unit, data))
        collected.replay(sink)
        clock.ended(done, diverged)
        ran.append(unit)

    def shuffled(units, _):
        return random.Random(3).sample(list(units), len(units))

    monkeypatch.setattr(executor, "run_unit", run_elsewhere)
    monkeypatch.setattr(turns, "in_turns", shuffled)
    return ran


DATA = {
    "optimizer": [
        {"name": "momentum", "lr": [0.01, 0.1, 1e6], "clip": {"kind": "norm", "norm": 1.0}},
        {"name": "adam", "lr": 0.01, "schedule": {"name": "cosine"}},
        {"name": "random_search", "low": -1, "high": 1},
    ],
    "batch_size": [16, "full"],
    "seed": [0, 1],
    "record": {"parameters": "best"},
    "surface": {"low": -1, "high": 1, "num": 5, "at": "zeros"},
}


def test_units_over_data_run_in_other_processes(tmp_path, elsewhere, monkeypatch):
    found = small_studies.run(tmp_path / "elsewhere", **DATA)
    assert len(elsewhere) > 6
    monkeypatch.undo()
    expected = small_studies.run(tmp_path / "here", **DATA)
    assert_same(found, expected)
    np.testing.assert_array_equal(found.surfaces[0].loss, expected.surfaces[0].loss)
    best = expected.best()["trial_id"][0]
    np.testing.assert_array_equal(found.parameters(best), expected.parameters(best))


LANDSCAPES = {
    "name": "walks",
    "steps": 60,
    "problem": {"landscape": "himmelblau", "noise": 0.1},
    "optimizer": [{"name": "momentum", "lr": [1e-3, 1e-2]}, {"name": "adam", "lr": 0.1}],
    "starts": {"uniform": 50},
    "record": {"trajectories": [0, 7]},
}


@pytest.mark.full
def test_parts_of_swarms_run_in_other_processes(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr("fastgd.plan.units.swarm.MOST_LANES_AT_ONCE", 32)
    study = fastgd.Study(**LANDSCAPES)
    found = fastgd.run(study, tmp_path / "elsewhere", progress=False)
    assert len(elsewhere) > 4
    monkeypatch.undo()
    expected = fastgd.run(study, tmp_path / "here", progress=False)
    for name, key in (("trials", []), ("curves", ["step"]), ("trajectories", ["step", "coordinate"])):
        tables = [
            getattr(each, name).sort_values(["trial_id", "start", *key], ignore_index=True)
            for each in (found, expected)
        ]
        own = [table.drop(columns=[column for column in small_studies.PASSING if column in table]) for table in tables]
        for column in own[0]:
            assert own[0][column].astype(object).equals(own[1][column].astype(object)), (name, column)


def test_a_unit_weighs_little():
    study = fastgd.Study(**{**LANDSCAPES, "starts": {"uniform": 100_000}, "record": {"trajectories": 0}})
    part, _ = make_plan(study).units[0].cut(1_000)
    assert len(pickle.dumps(part)) < 100_000
    again = pickle.loads(pickle.dumps(part))
    assert again.name.rpartition("-")[2] == "1000"
    assert again.trial_ids == part.ids[:1]


def test_a_cohort_weighs_what_its_lanes_do():
    study = small_studies.study_of(optimizer={"name": "adam", "lr": {"log": [1e-3, 1], "num": 100}})
    (unit,) = make_plan(study, load_data(study, small_studies.rows(), lambda _: None)).units
    assert len(pickle.dumps(unit)) < 60_000
    np.testing.assert_equal(pickle.loads(pickle.dumps(unit)).trial_columns(), unit.trial_columns())


def test_the_kernels_of_a_plan_are_compiled_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled.cache, "CACHE", tmp_path)  # of the notes alone
    monkeypatch.setattr(compiled, "_compiled", set())
    study, names = small_studies.study_of(**DATA), []
    plan = make_plan(study, load_data(study, small_studies.rows(), lambda _: None))
    assert compile_units(plan, names.append) == len(plan.methods) == len(names)
    assert any(name.startswith("random_search, ") for name in names)
    assert plan.summary().to_compile == 0
