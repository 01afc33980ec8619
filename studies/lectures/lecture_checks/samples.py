"""Checks of the studies on points of a neuron or of a classifier: small data beside the studies."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_svmlight_file

import fastgd
from lecture_checks.measures import Found, Run, by_optimizer, check, runs

FOLDER = Path(__file__).parent.parent
LOWEST, MIDDLE = "effective_lr.frequent.q10", "effective_lr.frequent.q50"


@check
def stochastic(results: fastgd.Results) -> Found:
    """The smaller the batch, the more the loss over all points oscillates."""
    found: dict[int, list[Run]] = {}
    for run in runs(results):
        found.setdefault(run.row.batch_size, []).append(run)
    rows = [
        {
            "batch size": size,
            "steps uphill": f"{np.median([np.mean(np.diff(run.loss) > 0) for run in group]):.0%}",
            "jitter of the loss": np.median([np.sqrt(np.mean(np.diff(run.loss, 2) ** 2)) for run in group]),
            "final loss": np.median([run.loss[-1] for run in group]),
        }
        for size, group in found.items()
    ]
    uphill = [np.median([np.mean(np.diff(run.loss) > 0) for run in group]) for group in found.values()]
    jitter = [row["jitter of the loss"] for row in rows]
    holds = {
        "the larger the batch, the fewer steps lead uphill": bool(np.all(np.diff(uphill) < 0)),
        "a quarter and more with one point at a time, and none with all points": uphill[0] > 0.25 and uphill[-1] == 0,
        "the larger the batch, the smoother the loss": bool(np.all(np.diff(jitter) < 0)),
    }
    return Found(holds, rows)


@check
def stochastic_momentum(results: fastgd.Results) -> Found:
    """After 60 steps Nesterov leads momentum, and both lead plain descent."""
    final = results.trials.pivot_table(index="seed", columns="optimizer", values="final_loss", observed=True)
    rows = [
        {"optimizer": name, "median loss": final[name].median(), "least": final[name].min(), "most": final[name].max()}
        for name in ("sgd", "momentum", "nesterov")
    ]
    plain, heavy, ahead = (row["median loss"] for row in rows)
    wins = int((final["nesterov"] < final["momentum"]).sum())
    rows[2]["ahead of momentum"] = f"{wins} of {len(final)} seeds"
    holds = {
        "Nesterov's median loss is less than 0.7 of momentum's": ahead < 0.7 * heavy,
        "momentum's is less than half of plain descent's": heavy < 0.5 * plain,
        "Nesterov is ahead of momentum with most seeds": wins > len(final) / 2,
        "both are ahead of plain descent with all seeds": bool(
            (final[["momentum", "nesterov"]].max(axis=1) < final["sgd"]).all()
        ),
    }
    return Found(holds, rows)


@check
def sparse_feature(results: fastgd.Results) -> Found:
    """How far each optimizer went in w for a step in b, from zero, and the range of its rates over both."""
    rows = []
    for name, run in by_optimizer(results).items():
        w, b = results.parameters(run.row.trial_id)
        last = run.curve.iloc[-1]
        ratio = last["effective_lr.frequent.q90"] / last[LOWEST]
        rows.append({"optimizer": name, "w": w, "b": b, "w / b": w / b, "rate of w / rate of b": ratio})
    slopes = {row["optimizer"]: row["w / b"] for row in rows}
    holds = {
        "descent, momentum and Nesterov move along b": all(
            0 < slopes[name] < 0.13 for name in ("sgd", "momentum", "nesterov")
        )
        and all(row["b"] > 0 for row in rows),
        "AdaGrad moves along both": 0.95 < slopes["adagrad"] < 1.01,
    }
    return Found(holds, rows)


@check
def adagrad_stops(results: fastgd.Results) -> Found:
    """The rates of the dense parameter, and the swings of the loss over the last 300 epochs."""
    rows, rates = [], {}
    for name, run in by_optimizer(results).items():
        rates[name] = rate = run.curve[LOWEST].to_numpy()[1:]
        swing = np.std(run.loss[-300:])
        after = {f"rate after {epoch}": rate[epoch - 1] for epoch in (1, 250, 500, 1000)}
        rows.append({"optimizer": name, **after, "swing of the loss": swing})
    adagrad, rmsprop = rates["adagrad"], rates["rmsprop"]
    changes = np.diff(rmsprop)
    holds = {
        "AdaGrad's rate falls in every epoch, by half from epoch 250 to 1,000": bool(np.all(np.diff(adagrad) < 0))
        and adagrad[-1] < 0.3 * adagrad[0]
        and 0.5 < adagrad[999] / adagrad[249] < 0.6,
        "RMSProp's rises and falls, and stays where it is": min(np.mean(changes > 0), np.mean(changes < 0)) > 0.4
        and rmsprop[-1] > 5 * rmsprop[0]
        and 0.9 < np.mean(rmsprop[750:]) / np.mean(rmsprop[250:500]) < 1.1,
        "AdaGrad's loss swings by less than a tenth of RMSProp's": rows[0]["swing of the loss"]
        < 0.1 * rows[1]["swing of the loss"],
    }
    return Found(holds, rows)


@check
def rare_feature(results: fastgd.Results) -> Found:
    """Of each optimizer at its best rate: how many rare points it gets right, and how fast it learns the feature."""
    X, _ = load_svmlight_file(str(FOLDER / "rare_feature.svm"), zero_based=True)
    having = X.toarray()[:, 0] != 0
    best = results.best().groupby("optimizer", sort=False).head(1)
    rows: dict[str, dict[str, Any]] = {}
    for row in best.itertuples():
        parameters = results.parameters(row.trial_id)
        last = results.curves[results.curves["trial_id"] == row.trial_id].sort_values("step").iloc[-1]
        rows[row.optimizer] = {
            "optimizer": row.optimizer,
            "best rate": row.lr,
            "its loss": row.final_loss,
            "rare points right": int((X[having] @ parameters[:-1] + parameters[-1] > 0).sum()),
            "rare weight": parameters[0],
            "rate of rare / frequent": last["effective_lr.medium.q50"] / last[MIDDLE],
        }
    plain, others = rows["sgd"], [rows[name] for name in ("adagrad", "rmsprop", "adam")]
    holds = {
        "plain descent misses all 5 rare points at its best rate": plain["rare points right"] == 0,
        "adaptive rates get all 5 right": all(row["rare points right"] == 5 for row in others),
        "with weights more than 2.5 times as large": all(
            row["rare weight"] > 2.5 * plain["rare weight"] for row in others
        ),
        "and rates more than 5 times those of common features": plain["rate of rare / frequent"] == 1
        and all(row["rate of rare / frequent"] > 5 for row in others),
        "and the loss is lower by more than 0.005": all(plain["its loss"] - row["its loss"] > 0.005 for row in others),
    }
    return Found(holds, [rows[name] for name in ("sgd", "adagrad", "rmsprop", "adam")])
