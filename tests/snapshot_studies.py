"""Studies of every engine, long enough to be killed on their way."""

import numpy as np
from scipy.sparse import csr_array

import fastgd

N, D = 400, 6
RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((N, D))
Y = (X @ RANDOM.standard_normal(D) + 0.5 * RANDOM.standard_normal(N) > 0).astype(float)
SPARSE = csr_array(np.where(RANDOM.random((N, 40)) < 0.1, RANDOM.standard_normal((N, 40)), 0.0))
MANY = RANDOM.standard_normal((20_000, 4))

RATES = {"log": [1e-3, 1e3], "num": 9}  # the largest ones diverge on their way
VALLEY = {"landscape": "rosenbrock", "noise": 0.1}
STILL = {"landscape": "rosenbrock"}


def _rows(optimizer, **changes):
    common = {"epochs": 400, "batch_size": 8, "seed": [0, 1], "record": {"every": {"log": 25}}}
    return {**common, "problem": {"loss": "logistic", "l2": 1e-3}, "optimizer": optimizer, **changes}


def _starts(optimizer, **changes):
    common = {"steps": 40_000, "starts": {"uniform": 200}, "record": {"every": {"log": 20}, "trajectories": 0}}
    return {**common, "problem": VALLEY, "optimizer": optimizer, **changes}


ADAM = {"name": "adam", "lr": RATES}
PLATEAU = {"name": "plateau", "patience": 2, "factor": 0.7}
FULL = {"batch_size": "full", "epochs": 1500}
CASES = {
    "tiles": _rows([{"name": "momentum", "lr": RATES}], record={"every": {"log": 25}, "parameters": "all"}),
    "single": _rows({"name": "adam", "lr": 0.01}, epochs=1500, seed=0),
    "target": _rows({"name": "sgd", "lr": [1e-3, 1e-2]}, stop={"target": 0.45}, record={"every": {"log": 3}}, seed=0),
    "float32": _rows(ADAM, dtype="float32", stop={"target": 0.3}),
    "options": _rows({**ADAM, "averaging": {"kind": "ema"}, "clip": {"kind": "norm", "norm": 0.5}}, seed=0),
    "svrg": _rows({"name": "sgd", "lr": RATES, "estimator": "svrg"}, epochs=150),
    "saga": _rows({"name": "sgd", "lr": RATES, "estimator": "saga"}, epochs=150),
    "feedback": _rows(
        ADAM,
        problem={"loss": "logistic", "validation": 0.2},
        schedule=PLATEAU,
        seed=0,
        record={"every": {"log": 25}, "parameters": "best_iterate"},
    ),
    "large": _rows({"name": "adam", "lr": [0.01, 0.1, 1e9]}, **FULL),
    "line search": _rows({"name": "sgd", "lr": 1.0, "line_search": {"kind": "armijo"}}, batch_size="full", seed=0),
    "guesses": _rows({"name": "random_search", "low": -2, "high": 2}, batch_size="full", epochs=40_000, seed=0),
    "sparse": _rows(ADAM, batch_size=1, epochs=150, seed=0),
    "sparse apart": _rows({**ADAM, "beta1": [0.8, 0.9]}, batch_size=1, epochs=100, seed=0),
    "sparse rows": _rows({"name": "ftrl", "lr": [0.1, 1.0]}, batch_size=4, seed=0),
    "swarm": _starts({"name": "adam", "lr": [1e-3, 1e-2, 1e9], "schedule": {"name": "cosine"}}),
    "swarm line search": _starts(
        {"name": "sgd", "lr": 1.0, "line_search": {"kind": "armijo"}}, steps=1500, problem=VALLEY | {"noise": 0.0}
    ),
    "swarm guesses": _starts({"name": "random_search"}, problem=VALLEY | {"noise": 0.0}, steps=4000),
}
# Not among the cases: what it goes on from are states of trials that wait, too.
RACE = {
    "race": _rows(
        [{"name": "momentum", "lr": RATES}],
        problem={"loss": "logistic", "l2": 1e-3, "validation": 0.2},
        epochs=243,
        record={"parameters": "all"},
        search={"halving": {"factor": 3, "start": 9}},
    )
}


def data_of(name):
    """Return the rows of a case; of landscapes none."""
    if name.startswith("swarm"):
        return None
    if name.startswith("sparse"):
        return SPARSE, Y
    return (MANY, (MANY[:, 0] > 0).astype(float)) if name in ("large", "line search") else (X, Y)


def run(name, path, **changes):
    """Run a case."""
    study = fastgd.Study(name=name, **{**(CASES | RACE)[name], **changes})
    return fastgd.run(study, path, data=data_of(name), progress=False, threads=2)


def save_often(name, path):
    """Run a case that saves its state as often as it can."""
    run(name, path, snapshot_seconds=1e-3)
