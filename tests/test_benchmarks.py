"""What the benchmarks track: costs, since asv takes what grows for a regression."""

import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from doc_blocks import ROOT

from benchmarks import compare_revisions, planted

MODULES = [
    "convergence",
    "dense",
    "landscapes",
    "losses",
    "methods",
    "networks",
    "rules",
    "schedules",
    "sparse",
    "studies",
]
# what is neither a time nor a ratio of times, and grows where things get worse
COUNTS = {"track_evaluations_a_step", "track_bytes_of_a_row"}
OF_CONVERGENCE = {"epochs", "steps", "of the gap at the start", "of the loss at the start", "relative difference"}


def classes(name):
    """The benchmark classes of a module, with the module."""
    module = importlib.import_module(f"benchmarks.{name}")
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__ and not cls.__name__.startswith("_"):
            yield module, cls


def tracked():
    """Every benchmark that returns a number of its own: its module, its class and its name."""
    for name in MODULES:
        for module, cls in classes(name):
            yield from ((module, cls, found) for found in dir(cls) if found.startswith("track_"))


TRACKED = list(tracked())
IDS = [f"{cls.__name__}.{name}" for _, cls, name in TRACKED]


@pytest.mark.parametrize(("module", "cls", "name"), TRACKED, ids=IDS)
def test_units_are_those_of_costs(module, cls, name):
    unit = getattr(cls, name).unit
    counted = name in COUNTS or (module.__name__ == "benchmarks.convergence" and unit in OF_CONVERGENCE)
    assert unit == "seconds" or unit.startswith("times") or counted
    assert {"speed", "speedup", "rate", "throughput", "per", "peak"}.isdisjoint(name.removesuffix("_peak").split("_"))


DENSE = [(cls, name) for module, cls, name in TRACKED if module.__name__ == "benchmarks.dense"]


@pytest.mark.parametrize(("cls", "name"), DENSE, ids=[f"{cls.__name__}.{name}" for cls, name in DENSE])
def test_what_takes_longer_is_tracked_as_more(monkeypatch, cls, name):
    from benchmarks import dense

    found = []
    for ours in (1.0, 2.0, 4.0):
        made = cls()
        made.threads, made.X = SimpleNamespace(count=2), np.zeros(8)
        made.start = lambda threads: SimpleNamespace(advance=lambda steps: None, batches=1)
        monkeypatch.setattr(dense, "Threads", lambda count: None)
        monkeypatch.setattr(dense.machine, "measure", lambda threads: SimpleNamespace(gflops_float64=1.0, gbytes=1.0))
        monkeypatch.setattr(dense, "fastest", lambda run, epoch=made.epoch, ours=ours: ours if run == epoch else 1.0)
        found.append(getattr(made, name)(1000, "float64"))
    assert all(after == 2 * before for before, after in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("asked", "profile"), [("quick", "quick"), ("small", "quick"), ("regular", "regular"), ("full", "full")]
)
def test_profiles(asked, profile):
    code = "from benchmarks.profiles import PROFILE, sized; print(PROFILE, sized('quick', 'regular', 'full'))"
    environment = os.environ | {"FASTGD_BENCH": asked}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [profile, profile]


def test_a_profile_that_there_is_not_is_refused():
    environment = os.environ | {"FASTGD_BENCH": "huge"}
    command = [sys.executable, "-c", "import benchmarks.profiles"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "'huge'; valid: quick, regular, full" in done.stderr


def test_every_kind_of_thing_has_a_benchmark():
    """Per engine, rule, loss, schedule, and stage of a study; by times, memory, ratios and convergence."""
    from benchmarks import convergence, losses, rules, schedules
    from fastgd.optimizers import OPTIMIZERS
    from fastgd.problems import LOSSES
    from fastgd.schedules import SCHEDULES

    assert set(rules.SmallArray.params[0]) >= set(OPTIMIZERS) - {"bare"}
    assert losses.Losses.params[1] == list(LOSSES)
    assert schedules.ScheduledStudy.params[1] == list(SCHEDULES)
    assert set(convergence.Rules.params[0]) <= set(OPTIMIZERS)
    names = {name for module in MODULES for _, cls in classes(module) for name in dir(cls)}
    wanted = {
        "plan",
        "run",
        "compare",
        "import",
        "warm_start",
        "cold_start",
        "best",
        "curves",
        "epoch",
        "steps",
        "step",
    }
    assert {f"time_{each}" for each in wanted} <= names
    assert {"peakmem_run", "peakmem_plan", "peakmem_compare", "peakmem_epoch"} <= names


def test_convergence_is_that_of_the_curves():
    from benchmarks.convergence import EPOCHS, Rules

    curves = pd.DataFrame(
        {
            "step": [0, 10, 20, 200, 0, 10, 20, 200],
            "epoch": [0.0, 1, 2, EPOCHS, 0, 1, 2, EPOCHS],
            "loss": [1.0, 0.6, 0.2039, 0.2032, 1.0, 0.3, 0.241, 0.22],
            "rate": [0.1] * 4 + [1.0] * 4,
        }
    )
    found = Rules.found(curves, 0.2)
    assert found == {"epochs": 2.0, "gap": pytest.approx(0.0032 / 0.8)}


def finding(name, base, new, kind="time"):
    return compare_revisions.Finding(name, "", kind, base, new)


def test_revisions_are_compared_by_medians_of_rounds():
    key, other = ("a.time_it", "1"), ("a.time_it", "2")
    base = [{key: 1.0, other: 5.0}, {key: 9.0}, {key: 2.0}]
    new = [{key: 3.0}, {key: 1.0}, {key: 8.0}]
    (found,) = compare_revisions.compared(base, new, {"a.time_it": "time"})
    assert (found.base, found.new, found.ratio) == (2.0, 3.0, 1.5)
    assert found.is_worse({"time": 1.4})
    assert not found.is_worse({"time": 1.6})
    lost = [{key: np.nan, other: np.nan}]
    (found,) = compare_revisions.compared([{key: 1.0, other: np.nan}], lost, {"a.time_it": "count"})
    assert found.ratio == np.inf, "a target is not reached any more; of the other nothing was measured"


@pytest.mark.parametrize(
    ("base", "new", "ratio"),
    [
        (2.0, 1.0, 0.5),
        (0.0, 0.0, 1.0),
        (0.0, 1e-9, np.inf),
        (np.nan, np.nan, 1.0),
        (3.0, np.nan, np.inf),
        (np.nan, 3.0, 0.0),
    ],
)
def test_ratios_of_what_is_nothing_or_was_not_reached(base, new, ratio):
    """NaN is a target that was not reached: worse than any number."""
    assert finding("a", base, new, "count").ratio == ratio


def test_only_what_is_worse_twice_counts(monkeypatch):
    asked = []
    rounds = iter(
        [
            [finding("slow", 1, 2), finding("noisy", 1, 2), finding("same", 1, 1.01)],
            [finding("slow", 1, 1.9), finding("noisy", 1, 1.0)],
        ]
    )

    def alternate(base, new, scratch, selected, *others):
        asked.append(selected)
        return next(rounds)

    monkeypatch.setattr(compare_revisions, "alternate", alternate)
    every, worse = compare_revisions.judge(None, None, None, ["."], 3, "quick", {"time": 1.15})
    assert len(every) == 3
    assert [each.benchmark for each in worse] == ["slow"]
    assert asked == [["."], ["^slow$", "^noisy$"]]


def test_asvs_own_results_are_read(tmp_path):
    """A results folder as asv writes it."""
    from asv.results import Results

    results = Results({"machine": "m"}, {}, "c" * 40, 0, "3.11", "env", {})
    params = [["100"], ["'a'", "'b'"]]
    now = {"params": params, "name": "x.X.time_it", "version": "1", "type": "time"}
    record = SimpleNamespace(
        result=[0.5, None], samples=[None, None], number=[None, None], errcode=0, stderr="", profile=None
    )
    results.add_result(now, record, record_samples=False)
    (tmp_path / "m").mkdir()
    results.save(str(tmp_path))
    (tmp_path / "m" / "machine.json").write_text("{}")
    about = {
        "x.X.time_it": {"unit": "seconds"},
        "x.peakmem": {"unit": "bytes"},
        "x.track": {"unit": "epochs"},
        "version": 2,
    }
    about["x.ratio"] = {"unit": "times"}
    (tmp_path / "benchmarks.json").write_text(json.dumps(about))
    values, kinds = compare_revisions.read_results(tmp_path)
    assert values == {("x.X.time_it", "100, 'a'"): 0.5}
    assert kinds == {"x.X.time_it": "time", "x.peakmem": "memory", "x.track": "count", "x.ratio": "time"}


def test_false_alarms_are_counted_at_each_factor():
    findings = [finding(str(i), 1.0, 1.0 + 0.001 * i) for i in range(98)] + [finding("x", 1, 1.2), finding("y", 1.2, 1)]
    text = compare_revisions.false_alarms(findings)
    assert "factor 1.15:  1.00% false alarms" in text
    assert "factor 1.20:  0.00% false alarms" in text
    least = float(text.rpartition(": ")[2])
    assert sum(max(each.ratio, 1 / each.ratio) > least for each in findings) / (2 * len(findings)) <= 0.02


def test_the_planted_errors_still_fit_the_program(tmp_path):
    for name in (planted.COHORT, planted.ADAM):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    tree = compare_revisions.Tree("scratch", tmp_path, sys.executable)
    planted.plant_slowdown(tree)
    planted.plant_wrong_sign(tree)
    assert "1 + power(h.beta1, t)" in (tmp_path / planted.ADAM).read_text()
    compile((tmp_path / planted.COHORT).read_text(), "cohort.py", "exec")
    assert "Cohort.advance = _slowed(Cohort.advance)" in (tmp_path / planted.COHORT).read_text()
    with pytest.raises(ValueError, match="does not hold once"):
        planted.plant_wrong_sign(tree)


def test_an_environment_imports_its_own_checkout(tmp_path):
    folder = tmp_path / "tree"
    (folder / "fastgd").mkdir(parents=True)
    (folder / "fastgd" / "__init__.py").write_text("where = 'here'\n")
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    python = compare_revisions.environment(folder)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import fastgd, numpy, asv_runner; print(fastgd.where)"
    done = subprocess.run(
        [python, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "here"
