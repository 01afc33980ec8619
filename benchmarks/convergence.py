"""How fast rules converge, on small studies that take no seconds to speak of: nothing here is a time.

All numbers are the same to rounding in every run and on every machine, so that any change is one of the program. More
is worse, as in all that is tracked.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize

import fastgd
from benchmarks.profiles import sized
from fastgd import Study
from fastgd.optimizers import OPTIMIZERS
from fastgd.runs.data.loading import load_data

RULES = sized(["sgd", "momentum", "adam"], list(OPTIMIZERS), list(OPTIMIZERS))
EPOCHS = 20
RATES = {"log": [1e-4, 1e0], "num": 9}
L2 = 1e-3
SHARE = 0.005  # of the gap at the start: the target
OFTEN = {"every": {"log": 200}}  # checkpoints, so that a little later is seen
ROUNDING = 1e-12  # smaller differences are given as this one, since their own size says nothing
PROBLEM = {"loss": "logistic", "dataset": "breast_cancer", "standardize": True, "l2": L2}
DIGITS = {"loss": "logistic", "dataset": "digits", "positive": 3, "standardize": False, "l2": L2}
LANDSCAPES = ["rosenbrock", "himmelblau", "booth"]
Table = dict[str, dict[str, float]]


def curves_of(study: Study) -> pd.DataFrame:
    """Return the curves of a study, with the optimizer and the rate of each one's trial."""
    folder = Path(tempfile.mkdtemp())
    try:
        results = fastgd.run(study, folder / "run", progress=False)
        trials = results.trials[["trial_id", "optimizer", "lr"]].rename(columns={"lr": "rate"})
        return results.curves.merge(trials, on="trial_id")
    finally:
        shutil.rmtree(folder)


def blocks(rules: list[str], rates: Mapping[str, Any] = RATES) -> list[dict[str, Any]]:
    """Return the blocks of rules with their rates; rules without a rate have one trial."""
    return [{"name": name, **({"lr": rates} if "lr" in OPTIMIZERS[name].hyper else {})} for name in rules]


def minimum_of(study: Study) -> float:
    """Return the least value of the logistic objective, by SciPy's Newton-CG in float64."""
    data = load_data(study, None, lambda _: None)[0]
    X, y = np.asarray(data.X, np.float64), np.asarray(data.y, np.float64)

    def objective(w: np.ndarray) -> float:
        z = X @ w
        return float(np.mean(np.logaddexp(0, z) - y * z) + L2 / 2 * w @ w)

    def residuals(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = 1 / (1 + np.exp(-X @ w))
        return p, p - y

    def gradient(w: np.ndarray) -> np.ndarray:
        return X.T @ residuals(w)[1] / len(y) + L2 * w

    def curvature(w: np.ndarray) -> np.ndarray:
        p, _ = residuals(w)
        return (X.T * (p * (1 - p))) @ X / len(y) + L2 * np.eye(X.shape[1])

    found = minimize(objective, np.zeros(X.shape[1]), jac=gradient, hess=curvature, method="trust-exact", tol=1e-10)
    return float(found.fun)


class Rules:
    """Each rule at the best of its rates on a small logistic regression."""

    param_names = ["rule"]
    params = [RULES]

    def setup_cache(self) -> Table:
        common = {"epochs": EPOCHS, "batch_size": 32, "problem": PROBLEM, "record": OFTEN}
        study = Study(name="rules", optimizer=blocks(RULES), **common)
        curves, minimum = curves_of(study), minimum_of(study)
        return {rule: self.found(own, minimum) for rule, own in curves.groupby("optimizer")}

    setup_cache.timeout = 1800  # type: ignore[attr-defined]

    @staticmethod
    def found(curves: pd.DataFrame, minimum: float) -> dict[str, float]:
        """Return the epochs to the target and the gap at the end, each of the best rate."""
        start = curves["loss"][curves["step"] == 0].iloc[0] - minimum
        gap = (curves["loss"] - minimum) / start
        reached = curves["epoch"][gap <= SHARE]
        return {"epochs": float(reached.min()), "gap": float(gap[curves["epoch"] == EPOCHS].min())}

    def track_epochs_to_target(self, found: Table, rule: str) -> float:
        """To a share of 0.005 of the gap at the start."""
        return found[rule]["epochs"]

    def track_gap_after_budget(self, found: Table, rule: str) -> float:
        return found[rule]["gap"]

    track_epochs_to_target.unit = "epochs"  # type: ignore[attr-defined]
    track_gap_after_budget.unit = "of the gap at the start"  # type: ignore[attr-defined]


class SparseAndDense:
    """The same trials over the same rows, with and without their zeros: how far the losses are apart."""

    param_names = ["rule"]
    params = [["sgd", "momentum", "adam", "adagrad"]]

    def track_difference(self, rule: str) -> float:
        dense, sparse = (self.losses(rule, layout) for layout in ("dense", "sparse"))
        return max(ROUNDING, float(np.max(np.abs(dense - sparse) / dense)))

    track_difference.unit = "relative difference"  # type: ignore[attr-defined]
    track_difference.timeout = 300  # type: ignore[attr-defined]

    def losses(self, rule: str, layout: str) -> np.ndarray:
        rates = {"log": [1e-4, 1e-2], "num": 4}
        problem = {**DIGITS, "layout": layout}
        study = Study(name="layouts", epochs=3, batch_size=32, problem=problem, optimizer=blocks([rule], rates))
        return curves_of(study).sort_values(["rate", "step"])["loss"].to_numpy()


class Networks:
    """Ten digits by a hidden layer: the loss at the end at the best rate, and the epochs to a tenth of the start's."""

    param_names = ["rule"]
    params = [["sgd", "momentum", "adam"]]

    def setup_cache(self) -> Table:
        problem = {"loss": "softmax", "dataset": "digits", "standardize": True}
        problem |= {"network": {"hidden": [16], "activation": "tanh"}}
        common = {"epochs": 5, "batch_size": 32, "problem": problem, "record": OFTEN}
        study = Study(name="networks", optimizer=blocks(self.params[0]), **common)
        found = {}
        for rule, own in curves_of(study).groupby("optimizer"):
            share = own["loss"] / own["loss"][own["step"] == 0].iloc[0]
            epochs = float(own["epoch"][share <= 0.1].min())
            found[rule] = {"epochs": epochs, "share": float(share[own["epoch"] == 5].min())}
        return found

    setup_cache.timeout = 600  # type: ignore[attr-defined]

    def track_epochs_to_a_tenth(self, found: Table, rule: str) -> float:
        return found[rule]["epochs"]

    def track_loss_after_budget(self, found: Table, rule: str) -> float:
        return found[rule]["share"]

    track_epochs_to_a_tenth.unit = "epochs"  # type: ignore[attr-defined]
    track_loss_after_budget.unit = "of the loss at the start"  # type: ignore[attr-defined]


class Landscapes:
    """Steps from a grid of starts to the tolerance about a minimum: the median at the best rate."""

    param_names = ["landscape", "rule"]
    params = [LANDSCAPES, ["momentum", "adam"]]

    def track_steps_to_minimum(self, landscape: str, rule: str) -> float:
        study = Study(
            name="landscapes",
            steps=5_000,
            problem={"landscape": landscape},
            starts={"grid": 5},
            optimizer=blocks([rule], {"log": [1e-4, 1e-1], "num": 7}),
            record={"every": {"log": 2}},
        )
        folder = Path(tempfile.mkdtemp())
        try:
            trials = fastgd.run(study, folder / "run", progress=False).trials
        finally:
            shutil.rmtree(folder)
        steps = trials["steps_to_tolerance"].astype(float).fillna(np.inf)
        least = float(steps.groupby(trials["lr"]).median().min())
        return least if np.isfinite(least) else float("nan")

    track_steps_to_minimum.unit = "steps"  # type: ignore[attr-defined]
    track_steps_to_minimum.timeout = 300  # type: ignore[attr-defined]
