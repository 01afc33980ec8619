"""Studies of every engine in processes whose memory the system limits: to shares of what they need."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

import fastgd
from campaign.attack import Attack, Found, python

RATES = {"lr": {"log": [1e-3, 1e-1], "num": 12}}
MANY = {"lr": {"log": [1e-4, 1e-1], "num": 400}}
ROWS = {"loss": "logistic", "synthetic": {"n": 20_000, "d": 200}}
SPARSE = {"loss": "logistic", "synthetic": {"n": 20_000, "d": 20_000, "nonzeros": 30}}
WIDE = {"loss": "squared", "synthetic": {"n": 500, "d": 10_000}, "validation": 0.2}
DATA: list[dict[str, Any]] = [
    {"problem": ROWS, "optimizer": {"name": "sgd", "lr": 0.1}},
    {"problem": ROWS, "optimizer": {"name": "adam", **RATES}, "dtype": "float32"},
    {"problem": ROWS, "optimizer": {"name": "sgd", **RATES}, "batch_size": "full"},
    {"problem": ROWS, "optimizer": {"name": "sgd", **RATES, "estimator": ["svrg", "saga"]}},
    {"problem": ROWS, "optimizer": {"name": "sgd", "lr": 1.0, "line_search": {"kind": "armijo"}}, "batch_size": "full"},
    {"problem": SPARSE, "optimizer": {"name": "adam", **RATES}},
    {"problem": SPARSE, "optimizer": {"name": "lamb", **RATES}},
    {"problem": WIDE, "optimizer": {"name": "adam", **MANY}},
    {"problem": WIDE, "optimizer": {"name": "sgd", **MANY}, "record": {"parameters": "all"}},
    {"problem": ROWS, "optimizer": {"name": "random_search", "low": -1.0, "high": 1.0}},
    {"problem": ROWS, "optimizer": {"name": "sgd", "lr": 0.1}, "surface": {"low": -1, "high": 1, "num": 300}},
]  # fmt: skip
LANDSCAPES: list[dict[str, Any]] = [
    {"problem": {"landscape": "himmelblau"}, "optimizer": {"name": "momentum", "lr": 0.01}},
    {"problem": {"landscape": "rosenbrock", "dimension": 40}, "optimizer": {"name": "adam", "lr": 0.01}},
]
STARTS = [300, 200_000]
LIMITED = """
import resource, runpy, sys
kind, size = getattr(resource, sys.argv.pop(1)), int(sys.argv.pop(1))
resource.setrlimit(kind, (size, size))
sys.argv[0] = "fastgd"
runpy.run_module("fastgd", run_name="__main__")
"""
OTHERS = {"RLIMIT_AS": 1.5e9, "RLIMIT_DATA": 0.2e9}  # bytes of libraries and threads that count beside the plan's


def study_of(random: np.random.Generator) -> fastgd.Study:
    """Draw a study."""
    number = int(random.integers(len(DATA) + len(LANDSCAPES)))
    if number < len(DATA):
        return fastgd.Study(**{"name": "limited", "steps": 3, "batch_size": 64, **DATA[number]})
    fields = LANDSCAPES[number - len(DATA)]
    starts = {"uniform": int(random.choice(STARTS))}
    return fastgd.Study(**{"name": "limited", "steps": 5, "starts": starts, "record": {"every": {"log": 3}}, **fields})


def planned(study: fastgd.Study) -> tuple[float, int]:
    """Return the bytes that a study is said to take, and how many trials it has."""
    from fastgd.plan.planner import make_plan
    from fastgd.runs.data.loading import load_data

    plan = make_plan(study) if study.landscapes else make_plan(study, load_data(study, None, lambda _: None))
    summary = plan.summary(2)
    return summary.cost.memory, summary.trials


def make(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Run studies under limits."""
    failures = []
    for number in range(tries):
        study = study_of(random)
        memory, trials = planned(study)
        kind = str(random.choice(list(OTHERS)))
        limit = int(random.uniform(0.15, 1.3) * (min(memory, 1e9) + OTHERS[kind]))
        own = folder / str(number)
        own.mkdir()
        if fault := _fault(study, own, kind, limit, trials):
            failures.append(f"{kind} = {limit:,}: {fault}; the study: {study.to_toml()!r}")
    return Found(tries, failures)


def _fault(study: fastgd.Study, folder: Path, kind: str, limit: int, trials: int) -> str:
    """Run a study in a folder; return what went wrong."""
    (folder / "study.toml").write_text(study.to_toml())
    command = ("-c", LIMITED, kind, str(limit), "run", "study.toml", "--out", "r", "--threads", "2")
    try:
        done = python(*command, cwd=folder, timeout=120)
    except subprocess.TimeoutExpired:
        return "it stalled"
    end = done.stderr.strip().splitlines()[-1:] or [""]
    if done.returncode == 0:
        stored = len(fastgd.load(folder / "r").trials)
        return "" if stored == trials else f"{stored} of {trials} trials are there"
    if done.returncode != 2 or "Traceback" in done.stderr or not end[0].startswith("error: "):
        return f"exit code {done.returncode}, {done.stderr.strip()[-600:]!r}"
    return f"refused after something was written: {end[0]}" if (folder / "r").exists() else ""


ATTACK = Attack(
    name="memory limits",
    promise="a run under a limit ends well, or with one message before anything is written",
    test="tests/test_memory.py",
    make=make,
    tries=24,
    few=2,
    beyond="limits of control groups below what is planned by less than a fifth; memory that other processes take",
)
