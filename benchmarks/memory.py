"""What the plan says that studies take of memory, beside what they took: `python -m benchmarks.memory [NAME ...]`.

The constants of `fastgd/plan/estimates/memory.py` were found by this. Each study runs in a process of its own, twice:
the second counts, as its kernels are in the cache then. With `--cold` the first one does, with an empty cache. What was
found is the process's peak, as Linux tells it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import fastgd
from benchmarks.costs import RATES, on_landscape
from fastgd import Study
from fastgd.common.system import memory_use
from fastgd.runs.reporting.events import Planned

ONE: dict[str, Any] = {"sgd": {"lr": 1e-3}}
SPARSE = {"synthetic": {"nonzeros": 75}}
RULES = ["sgd", "momentum", "nesterov", "adam", "adamw", "adagrad", "rmsprop", "lion", "nadam", "amsgrad", "madgrad"]


def over_data(n: int, d: int, optimizers: dict[str, dict[str, Any]], **fields: Any) -> Study:
    """Return a study over synthetic rows; `optimizers` gives the keys of each, `problem` those of the problem."""
    blocks = [{"name": name, **keys} for name, keys in optimizers.items()]
    synthetic = {"n": n, "d": d, **fields.pop("synthetic", {})}
    problems = fields.pop("problem", {})
    each = problems if isinstance(problems, list) else [problems]
    problem = [{"loss": "logistic", "synthetic": synthetic, **own} for own in each]
    return Study(**{"name": "memory", "problem": problem, "optimizer": blocks, "batch_size": 64, "steps": 3, **fields})


def rates(count: int) -> dict[str, Any]:
    """Return so many rates."""
    return {"lr": {"log": [1e-4, 1e-2], "num": count}}


STUDIES = {
    "small": lambda: over_data(100, 2, ONE),
    "rows": lambda: over_data(200_000, 200, ONE),
    "held out": lambda: over_data(200_000, 200, {"sgd": RATES}, problem={"validation": 0.2, "standardize": True}),
    "float32": lambda: over_data(200_000, 200, {"adam": RATES}, dtype="float32", problem={"validation": 0.2}),
    "problems": lambda: over_data(
        100_000, 200, ONE,
        problem=[{"loss": loss, "validation": 0.1, "name": loss} for loss in ("logistic", "hinge", "squared_hinge")],
    ),
    "wide tiles": lambda: over_data(2_000, 20_000, {"adam": rates(64)}),
    "saved": lambda: over_data(2_000, 20_000, {"adam": rates(64)}, snapshot_seconds=1e-3),
    "lanes that end": lambda: over_data(2_000, 20_000, {"adam": {"lr": {"log": [1e-4, 1e60], "num": 64}}}, steps=60),
    "average": lambda: over_data(2_000, 20_000, {"adam": {**RATES, "averaging": {"kind": "ema"}}}),
    "large batches": lambda: over_data(100_000, 1_000, {"adam": RATES}, batch_size="full"),
    "large and wide": lambda: over_data(5_000, 20_000, {"adam": RATES}, batch_size="full"),
    "estimators": lambda: over_data(400_000, 20, {"sgd": {**RATES, "estimator": ["svrg", "saga"]}}),
    "line search": lambda: over_data(
        400_000, 20, {"sgd": {"lr": [0.1, 0.3, 1.0], "line_search": {"kind": "armijo"}}}, batch_size="full"
    ),
    "sparse": lambda: over_data(100_000, 50_000, {"sgd": RATES}, batch_size=1, **SPARSE),
    "sparse, exact": lambda: over_data(20_000, 200_000, {"adam": RATES}, **SPARSE),
    "sparse, masked": lambda: over_data(20_000, 200_000, {"adam": RATES}, problem={"sparse": "masked"}, **SPARSE),
    "sparse, dense steps": lambda: over_data(20_000, 200_000, {"lamb": RATES}, **SPARSE),
    "sparse, full batch": lambda: over_data(100_000, 50_000, {"sgd": RATES}, batch_size="full", **SPARSE),
    "curves": lambda: over_data(
        1_000, 5, {"sgd": rates(1_000)}, steps=400, record={"every": {"log": 200}, "metrics": ["accuracy"]}
    ),
    "trials": lambda: over_data(
        200, 5, {"sgd": rates(3_000)}, seed=list(range(10)), record={"every": {"log": 2}}
    ),
    "best parameters": lambda: over_data(1_000, 10_000, {"sgd": rates(256)}, record={"parameters": "best"}),
    "all parameters": lambda: over_data(1_000, 10_000, {"sgd": rates(256)}, record={"parameters": "all"}),
    "many parameters": lambda: over_data(500, 1_000, {"sgd": rates(8_000)}, record={"parameters": "all"}),
    "subsample": lambda: over_data(400_000, 100, {"sgd": RATES}, record={"rows": 200_000, "every": {"log": 3}}),
    "gradient norm": lambda: over_data(2_000, 20_000, {"sgd": RATES}, record={"metrics": ["grad_norm", "accuracy"]}),
    "effective rates": lambda: over_data(2_000, 20_000, {"adam": RATES}, record={"metrics": ["effective_lr"]}),
    "error surface": lambda: over_data(2_000, 20, {"sgd": RATES}, surface={"low": -1, "high": 1, "num": 1_000}),
    "baseline": lambda: over_data(20_000, 20, {"random_search": {"low": -1.0, "high": 1.0}}, steps=200),
    "wide baseline": lambda: over_data(500, 20_000, {"random_search": {"low": -1.0, "high": 1.0}}, steps=50),
    "starts": lambda: on_landscape("himmelblau", {"uniform": 300_000}, ["sgd"], steps=5),
    "million starts": lambda: Study(
        name="memory", problem={"landscape": "himmelblau"}, starts={"uniform": 1_000_000},
        optimizer={"name": "adam", "lr": 1e-3}, steps=100, record={"every": {"log": 3}},
    ),
    "few steps": lambda: on_landscape("himmelblau", {"uniform": 20_000}, ["sgd"], steps=100, record={"every": "epoch"}),
    "dimensions": lambda: Study(
        name="memory", problem={"landscape": "rosenbrock", "dimension": 200}, starts={"uniform": 40_000},
        optimizer={"name": "adam", "lr": 1e-3}, steps=20, record={"every": {"log": 3}},
    ),
    "configurations": lambda: Study(
        name="memory", problem={"landscape": "himmelblau"}, starts={"uniform": 100},
        optimizer={"name": "sgd", **rates(5_000)}, steps=20,
    ),
    "trajectories": lambda: on_landscape(
        "rosenbrock", {"uniform": 300}, ["adam"], steps=1_000, record={"trajectories": "all"}
    ),
    "few starts": lambda: on_landscape("himmelblau", {"uniform": 10}, ["sgd", "adam"], steps=5),
    "rules": lambda: over_data(2_000, 50, dict.fromkeys([*RULES, "lamb"], RATES)),
    "sparse, rules": lambda: over_data(2_000, 5_000, dict.fromkeys([*RULES, "ftrl"], RATES), **SPARSE),
    "landscape, rules": lambda: on_landscape("himmelblau", {"uniform": 50}, RULES, steps=20),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--cold", action="store_true", help="with nothing in the kernel cache")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(STUDIES[given.names[0]]())))
        return
    print(f"{'MB of memory':24} planned  measured  ratio    beside the process as it was: planned  measured")
    for name in given.names or STUDIES:
        command = [sys.executable, "-m", "benchmarks.memory", name, "--one"]
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | ({"FASTGD_CACHE_DIR": cache} if given.cold else {})
            for _ in range(1 if given.cold else 2):
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        said, found, before = (value / 1e6 for value in json.loads(done.stdout))
        beside = f"{said - before:8.1f} {found - before:8.1f}"
        print(f"{name:24} {said:8.1f} {found:8.1f} {said / found:6.2f}  {beside}", flush=True)


def measured(study: Study) -> tuple[float, int, int]:
    """Run a study and rank its trials; return what was planned, this process's peak, and its memory at the plan."""
    planned: list[tuple[float, int]] = []

    def note(event: Any) -> None:
        if isinstance(event, Planned):
            planned.append((event.summary.cost.memory, memory_use().resident))

    with tempfile.TemporaryDirectory() as folder:
        fastgd.run(study, folder + "/run", on_event=note, progress=False).best()
    said, before = planned[0]
    return said, memory_use().peak, before


if __name__ == "__main__":
    main()
