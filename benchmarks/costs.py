"""What the plan says that studies cost, beside what they take: `python -m benchmarks.costs [NAME ...] [--wall]`.

The constants of `fastgd/plan/estimates/costs.py` were found by this. Each study runs in a process of its own, twice:
the second counts, as its kernels are in the cache then. Unless `--wall` is given there is one thread, and seconds are
those of the processor's clock, which other processes do not disturb.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import fastgd
from fastgd import Study
from fastgd.runs import clock as the_clock
from fastgd.runs.reporting.events import Planned

FILES = Path(tempfile.gettempdir())
RATES: dict[str, Any] = {"lr": {"log": [1e-4, 1e-2], "num": 16}}
MANY_RATES: dict[str, Any] = {"lr": {"log": [1e-4, 1e-2], "num": 64}}


def over_data(n: int, d: int, optimizers: dict[str, dict[str, Any]], **fields: Any) -> Study:
    """Return a study over synthetic rows; `optimizers` gives the keys of each."""
    blocks = [{"name": name, **keys} for name, keys in optimizers.items()]
    synthetic = {"n": n, "d": d, **fields.pop("synthetic", {})}
    problem = {"loss": fields.pop("loss", "logistic"), "synthetic": synthetic, "validation": 0.1}
    return Study(name="costs", problem=problem | fields.pop("problem", {}), optimizer=blocks, **fields)


def over_network(n: int, layers: list[int], optimizers: dict[str, dict[str, Any]], **fields: Any) -> Study:
    """Return a study of networks over synthetic rows: layers are the numbers of features and of hidden units."""
    network = {"hidden": layers[1:], "activation": fields.pop("activation", "relu")}
    return over_data(n, layers[0], optimizers, problem={"network": network}, **fields)


def over_file(n: int, d: int, optimizers: dict[str, dict[str, Any]], **fields: Any) -> Study:
    """Return a study over rows in a file that is mapped, in an order of blocks."""
    file = FILES / f"{n}-{d}-weighed.npz"
    if not file.exists():
        random = np.random.default_rng(0)
        X = random.standard_normal((n, d))
        np.savez(file, X=X, y=(X[:, 0] > 0).astype(float), w=random.random(n))
    problem = {"synthetic": None, "path": str(file), "source": "map", **fields.pop("problem", {})}
    return over_data(n, d, optimizers, problem=problem, order="blocks", **fields)


def over_digits(optimizers: dict[str, dict[str, Any]], **fields: Any) -> Study:
    """Return a study of softmax over few rows of ten classes."""
    problem = {"synthetic": None, "dataset": "digits", "standardize": True}
    return over_data(0, 0, optimizers, loss="softmax", problem=problem, **fields)


def on_landscape(landscape: str, starts: dict[str, Any], optimizers: list[str], **fields: Any) -> Study:
    """Return a study on a landscape; `noise` is that of its gradients."""
    problem = {"landscape": landscape, "noise": fields.pop("noise", 0.0)}
    blocks = [{"name": name, "lr": {"log": [1e-4, 1e-2], "num": 4}} for name in optimizers]
    return Study(name="costs", problem=problem, starts=starts, optimizer=blocks, **fields)


STUDIES = {
    "tiles": lambda: over_data(100_000, 50, {"sgd": RATES, "adam": RATES}, epochs=5, batch_size=[64, 1024]),
    "one row": lambda: over_data(30_000, 50, {"sgd": RATES, "adam": RATES}, epochs=3, batch_size=1),
    "short steps": lambda: over_data(
        200_000, 8, {"sgd": RATES, "momentum": RATES, "adam": RATES}, epochs=3, batch_size=1
    ),
    "few rows": lambda: over_data(100_000, 50, {"sgd": RATES, "rmsprop": RATES}, epochs=3, batch_size=[2, 8]),
    "sums": lambda: over_data(30_000, 50, {"dog": RATES, "lamb": RATES, "lars": RATES}, epochs=3, batch_size=[1, 16]),
    "far rows": lambda: over_data(150_000, 400, {"momentum": MANY_RATES}, epochs=3, batch_size=64),
    "far narrow rows": lambda: over_data(1_000_000, 50, {"momentum": RATES}, epochs=3, batch_size=64),
    "ordered rows": lambda: over_data(
        150_000, 400, {"momentum": MANY_RATES}, epochs=3, batch_size=64, order="sequential"
    ),
    "longer": lambda: over_data(
        200_000, 50, {"momentum": MANY_RATES}, epochs=12, batch_size=64, record={"state": True}
    ),
    "weights": lambda: over_file(500_000, 50, {"momentum": RATES}, epochs=3, batch_size=64, problem={"weights": "w"}),
    "wide": lambda: over_data(20_000, 1_000, {"sgd": RATES, "adam": RATES}, epochs=3, batch_size=64),
    "float32": lambda: over_data(100_000, 50, {"adam": RATES}, epochs=5, batch_size=64, dtype="float32"),
    "single": lambda: over_data(100_000, 50, {"sgd": {"lr": 1e-3}, "adam": {"lr": 1e-3}}, epochs=10, batch_size=64),
    "single rows": lambda: over_data(30_000, 200, {"sgd": {"lr": 1e-3}, "adam": {"lr": 1e-3}}, epochs=5, batch_size=1),
    "lone sparse": lambda: over_data(
        20_000, 20_000, {"sgd": {"lr": 1e-3}, "adam": {"lr": 1e-3}}, epochs=5, batch_size=[1, 64],
        synthetic={"nonzeros": 50},
    ),
    "roots": lambda: over_data(
        20_000, 200, {"adagrad": RATES, "rmsprop": RATES, "lamb": RATES}, epochs=5, batch_size=16
    ),
    "softmax": lambda: over_digits({"sgd": RATES}, epochs=50, batch_size=64),
    "lone softmax": lambda: over_digits({"adam": {"lr": 1e-3}}, epochs=200, batch_size=32),
    "few lanes": lambda: over_data(200_000, 100, {"sgd": {"lr": [1e-3, 3e-3, 1e-2, 3e-2]}}, epochs=8, batch_size=64),
    "many": lambda: over_data(
        200, 10, {"sgd": RATES, "adam": RATES}, epochs=20, batch_size=[1, 8, 64], seed=[*range(20)]
    ),
    "tiny rows": lambda: over_data(
        500, 10, {"momentum": {"lr": {"log": [1e-4, 1e-2], "num": 1_000}}}, epochs=20, batch_size=1
    ),
    "curve": lambda: over_data(2_000, 20, {"sgd": RATES}, epochs=500, batch_size=64),
    "race": lambda: over_data(
        50_000, 50, {"sgd": RATES, "adam": RATES}, epochs=27, batch_size=64,
        search={"halving": {"factor": 3, "start": 1}},
    ),
    "states": lambda: over_data(
        20_000, 500, {"adam": RATES}, epochs=5, batch_size=[16, 64], record={"state": True}
    ),
    "squares": lambda: over_data(
        100_000, 50, {"sgd": RATES, "adam": RATES}, steps=4_000, loss="squared", record={"every": {"log": 20}}
    ),
    "all squares": lambda: over_data(
        20_000, 200, {"sgd": RATES, "adam": MANY_RATES}, steps=8_000, loss="squared", record={"every": {"log": 3}}
    ),
    "folds": lambda: over_data(
        50_000, 50, {"momentum": RATES}, epochs=5, batch_size=64,
        problem={"standardize": True, "validation": {"folds": 5}},
    ),
    "file": lambda: over_file(500_000, 50, {"momentum": RATES}, epochs=3, batch_size=64),
    "staged file": lambda: over_file(
        500_000, 50, {"momentum": RATES}, epochs=3, batch_size=64, problem={"standardize": True}
    ),
    "network": lambda: over_network(20_000, [50, 64], {"momentum": RATES, "adam": RATES}, epochs=3, batch_size=64),
    "deep": lambda: over_network(
        10_000, [8, 64, 64], {"adam": RATES}, epochs=3, batch_size=64, activation="tanh", dtype="float32"
    ),
    "rows of a network": lambda: over_network(
        2_000, [8, 64, 64], {"adam": RATES}, epochs=3, batch_size=1, activation="tanh"
    ),
    "lone network": lambda: over_network(
        20_000, [50, 64, 64], {"adam": {"lr": 1e-3}}, epochs=5, batch_size=64, activation="tanh"
    ),
    "sparse network": lambda: over_network(
        5_000, [2_000, 32], {"sgd": RATES}, epochs=2, batch_size=64, synthetic={"nonzeros": 50}
    ),
    "large batches": lambda: over_data(100_000, 50, {"sgd": RATES, "adam": RATES}, steps=40),
    "estimators": lambda: over_data(
        50_000, 50, {"sgd": {**RATES, "estimator": ["svrg", "saga"]}}, epochs=5, batch_size=64
    ),
    "line search": lambda: over_data(
        50_000, 50, {"sgd": {"lr": 1.0, "line_search": {"kind": "armijo"}}}, steps=60, loss="squared"
    ),
    "baseline": lambda: over_data(20_000, 20, {"random_search": {"low": -1.0, "high": 1.0}}, steps=2_000),
    "surface": lambda: over_data(
        20_000, 20, {"sgd": {"lr": 1e-3}}, steps=5, surface={"low": -1, "high": 1, "num": 100}
    ),
    "sparse": lambda: over_data(
        20_000, 20_000, {"sgd": RATES, "momentum": RATES, "adam": RATES}, epochs=2, batch_size=[1, 64],
        synthetic={"nonzeros": 50},
    ),
    "all sparse rows": lambda: over_data(
        20_000, 5_000, {"momentum": RATES}, steps=60, synthetic={"nonzeros": 50}
    ),
    "sparse penalty": lambda: over_data(
        20_000, 20_000, {"sgd": RATES}, epochs=5, batch_size=1, synthetic={"nonzeros": 50}, problem={"l2": 1e-4}
    ),
    "checkpoints": lambda: over_data(
        100_000, 20, {"sgd": RATES}, epochs=2, batch_size=64, record={"every": {"log": 200}, "metrics": ["accuracy"]}
    ),
    "subsample": lambda: over_data(
        100_000, 20, {"sgd": RATES}, epochs=2, batch_size=64, record={"every": {"log": 200}, "rows": 5_000}
    ),
    "norms": lambda: over_data(
        20_000, 50, {"sgd": RATES}, epochs=50, batch_size=256, record={"metrics": ["grad_norm"], "parameters": "all"}
    ),
    "basins": lambda: on_landscape("himmelblau", {"grid": 200}, ["momentum"], steps=500),
    "noise": lambda: on_landscape("himmelblau", {"uniform": 5_000}, ["sgd"], steps=1_000, noise=0.1),
    "heavy": lambda: on_landscape(
        "ackley", {"uniform": 20_000}, ["adam", "adadelta"], steps=2_000, record={"every": {"log": 3}}
    ),
    "dimensions": lambda: on_landscape(
        "rosenbrock", {"uniform": 2_000}, ["sgd", "adam"], steps=1_000, record={"every": {"log": 5}}
    ),
    "trajectories": lambda: on_landscape(
        "rosenbrock", {"uniform": 3}, ["sgd", "momentum", "adam"], steps=1_000, record={"trajectories": "all"}
    ),
}  # fmt: skip
BEFORE: dict[str, dict[str, Any]] = {"longer": {"epochs": 8}}  # changes of a run that each goes on from


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--wall", action="store_true", help="all threads, and the seconds that pass")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_run(given.names[0], given.wall)))
        return
    print(f"{'':14} seconds: predicted (train, evaluate, store), measured, ratio; disk and memory: MB, ratio")
    for name in given.names or STUDIES:
        command = [sys.executable, "-m", "benchmarks.costs", name, "--one", *(["--wall"] if given.wall else [])]
        for _ in range(2):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(_line(name, json.loads(done.stdout)), flush=True)


def _run(name: str, wall: bool) -> dict[str, Any]:
    """Run a study; return what was predicted and what was measured."""
    clock = time.perf_counter if wall else time.process_time
    the_clock.time = SimpleNamespace(perf_counter=clock)  # type: ignore[assignment]
    planned: list[Planned] = []
    for first in (
        over_data(100, 2, {"sgd": {"lr": 0.1}}, epochs=1),
        on_landscape("booth", {"grid": 2}, ["sgd"], steps=1),
    ):
        with tempfile.TemporaryDirectory() as folder:  # what is imported late
            fastgd.run(first, folder + "/run").best()
    with tempfile.TemporaryDirectory() as folder:
        events = lambda event: planned.append(event) if isinstance(event, Planned) else None  # noqa: E731
        study = STUDIES[name]()
        if name in BEFORE:
            fastgd.run(study.model_copy(update=BEFORE[name]), folder + "/run", threads=None if wall else 1)
        began = clock()
        results = fastgd.run(study, folder + "/run", threads=None if wall else 1, on_event=events)
        spent = clock() - began
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*"))
        results.best()
    cost, stages = planned[0].summary.cost, results.timings
    before = sum(stages[stage] for stage in ("load", "plan", "compile", "train", "evaluate"))
    return {
        "predicted": [cost.training, cost.evaluation, cost.storing],
        "measured": [stages["train"], stages["evaluate"], spent - before],
        "disk": [cost.disk / 1e6, disk / 1e6],
        "memory": [cost.memory / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6],
    }


def _line(name: str, found: dict[str, Any]) -> str:
    def ratio(pair: list[float]) -> str:
        return f"{pair[0]:8.2f} {pair[1]:8.2f} {pair[0] / pair[1]:5.2f}"

    parts = [f"({', '.join(f'{value:.2f}' for value in found[key])})" for key in ("predicted", "measured")]
    sums = [sum(found["predicted"]), sum(found["measured"])]
    return f"{name:14} {ratio(sums)} {' '.join(parts):46} | {ratio(found['disk'])} | {ratio(found['memory'])}"


if __name__ == "__main__":
    main()
