"""Checks of the studies on networks: the homework, gradients by depth, starts, batch sizes, and digits."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

import fastgd
from lecture_checks.measures import Found, Run, check, runs

LAST = 10  # epochs at the end of a curve, in which it bounces or does not
LOSS = "final_validation_loss"


def best_rates(results: fastgd.Results) -> pd.DataFrame:
    """Return the best configuration of each problem, optimizer and schedule, by the medians of all its rates."""
    return results.best("validation_loss").drop_duplicates(["problem", "optimizer", "schedule"])


def against_constant(best: pd.DataFrame) -> pd.DataFrame:
    """Return each schedule's loss as a share of a constant rate's: a column for each optimizer, means over networks."""
    losses = best.pivot_table(index="schedule", columns=["optimizer", "problem"], values=LOSS, observed=True)
    shares: pd.DataFrame = np.exp(np.log(losses / losses.loc["constant"]).T.groupby(level="optimizer").mean().T)
    return shares


def bounces(curves: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return in which share of the last epochs losses rose, and the jitter of their logarithms.

    Jitter is the root of the mean squared second difference: nothing where a curve is straight, however it falls.
    """
    ends = [np.log(curve[-LAST - 1 :]) for curve in curves]
    rises = np.mean([np.diff(end) > 0 for end in ends])
    return float(rises), float(np.sqrt(np.mean([np.diff(end, 2) ** 2 for end in ends])))


def _ranked(values: "pd.Series[float]") -> list[str]:
    return [str(name) for name in values.sort_values().index]


@check
def california(results: fastgd.Results) -> Found:
    """What each schedule makes of the best of its rates, how plain descent's curve bounces, and what depth brings."""
    best = best_rates(results)
    schedules, optimizers = (list(dict.fromkeys(results.trials[name])) for name in ("schedule", "optimizer"))
    shares = against_constant(best).loc[schedules, optimizers]
    curves = dict(iter(results.curves.sort_values("step").groupby("trial_id")["validation_loss"]))
    plain = best[best["optimizer"] == "sgd"].groupby("schedule", observed=True)["trial_id"]
    jitter, rises = {}, {}
    for name, own in plain:
        trials = (trial for one in own for trial in results.seeds_of(one))
        rises[name], jitter[name] = bounces(curves[trial].to_numpy() for trial in trials)
    order = _ranked(shares["sgd"])
    rows = [
        {
            "schedule": name,
            **{f"loss, {optimizer}": f"{share:.1%}" for optimizer, share in shares.loc[name].items()},
            "sgd's rank": order.index(name) + 1,
            "sgd rises": f"{rises[name]:.0%}",
            "sgd's jitter": jitter[name],
        }
        for name in schedules
    ]
    lowest = best.groupby(["problem", "optimizer"], observed=True)[LOSS].min()
    two, three, _ = (lowest[problem["name"]] for problem in results.study["problem"])
    apart = float(((best[f"{LOSS}_max"] - best[f"{LOSS}_min"]) / best[LOSS]).median())
    adaptive = [name for name in optimizers if name not in ("sgd", "nesterov")]
    holds = {
        f"at a constant rate plain SGD's validation loss rises in {rises['constant']:.0%} of the last {LAST} epochs, "
        "in more than a quarter": rises["constant"] > 0.25,
        "a cosine takes its jitter to less than a fifth": jitter["cosine"] < jitter["constant"] / 5,
        "under the adaptive rules a constant rate does worst": all(
            _ranked(shares[name])[-1] == "constant" for name in adaptive
        ),
        f"three layers beat two with every optimizer; the best of each depth explain {_explained(results, best)} of "
        "the variance of held-out rows": bool((three < two).all()),
        f"the seeds of a configuration lie {apart:.1%} apart, less than 10 % (the median of their ranges)": apart < 0.1,
    }
    return Found(holds, rows, as_the_lecturer_saw(shares["sgd"]))


def _explained(results: fastgd.Results, best: pd.DataFrame) -> str:
    """Return in words which share of the held-out targets' variance the best trials of each problem explain."""
    last = results.curves.sort_values("step").groupby("trial_id")["validation_r2"].last()
    ranked = best.sort_values(LOSS).drop_duplicates("problem").set_index("problem")["trial_id"]
    shares = [last.loc[results.seeds_of(ranked[problem["name"]])].median() for problem in results.study["problem"]]
    return ", ".join(f"{share:.1%}" for share in shares)


def as_the_lecturer_saw(loss: "pd.Series[float]") -> dict[str, bool]:
    """Return what the lecturer saw of schedules, and whether it is so of these losses of plain SGD."""
    best = ["cosine", "step", "plateau"]
    better = {
        f"plain SGD does better with {name} than at a constant rate": loss[name] < loss["constant"] for name in best
    }
    worse = {
        "worse with exponential than with each of these": loss["exponential"] > loss[best].max(),
        "and worst of all with exponential": loss["exponential"] == loss.max(),
    }
    return _plain(better | worse)


def layers(run: Run) -> np.ndarray:
    """Return the norms of the layers' gradients (checkpoints, layers), the first layer first."""
    columns = sorted(name for name in run.curve if name.startswith("layer_grad_norm."))
    norms = run.curve[columns].to_numpy(float)
    return norms[:, ~np.isnan(norms[0])]


@check
def depth(results: fastgd.Results) -> Found:
    """The first layer's gradient beside the last one's, at the start and at the end; medians over the seeds."""
    measured = []
    for run in runs(results):
        activation, start, hidden = run.row.problem.split(", ")
        norms = layers(run)
        measured.append(
            {
                "activation": activation,
                "weights": start,
                "hidden layers": int(hidden.split()[0]),
                "rate": run.row.lr,
                "whole gradient": np.linalg.norm(norms[0]),
                "first layer's": norms[0, 0],
                "first / last": norms[0, 0] / norms[0, -1],
                "first / last, trained": norms[-1, 0] / norms[-1, -1],
                "loss, trained": run.loss[-1],
                "lost": run.row.status == "diverged",
            }
        )
    trials = pd.DataFrame(measured)
    names = ["rate", "activation", "weights", "hidden layers"]
    found = trials.groupby(names, sort=False).median()
    shown = found.loc[trials["rate"].min()].drop(columns="lost")
    low = shown.sort_index()
    first, share, whole = low["first layer's"], low["first / last"], low["whole gradient"]
    learned = low[low["loss, trained"] < 0.3]
    lost = trials[trials["lost"]]
    widest = {(trials["rate"].max(), "relu", "normal 1", 3)}
    holds = {
        "with sigmoid each hidden layer more takes the first layer's gradient to less than a third": all(
            _falls(first["sigmoid", weights], 1 / 3) for weights in ("suited", "normal 0.1")
        ),
        "with tanh and relu, from weights that suit, it stays at more than half of the last layer's": bool(
            (share.loc[["tanh", "relu"], ["suited"]] > 0.5).all()
        ),
        "from weights of 0.1, with sigmoid and three hidden layers, it is less than a fiftieth of the last layer's, "
        "and nothing is learned": share["sigmoid", "normal 0.1", 3] < 0.02
        and low.loc[("sigmoid", "normal 0.1", 3), "loss, trained"] > 0.65,
        "where a network has learned, it is at least 0.8 of the last layer's": bool(
            (learned["first / last, trained"] > 0.8).all()
        ),
        "from weights of 1 the whole gradient grows more than fivefold from one hidden layer to three with relu, and "
        "less than twofold with tanh": whole["relu", "normal 1", 3] > 5 * whole["relu", "normal 1", 1]
        and whole["tanh", "normal 1", 3] < 2 * whole["tanh", "normal 1", 1],
        "these three layers of relu diverge at the higher rate with every seed, and no other network does": set(
            lost[names].itertuples(index=False, name=None)
        )
        == widest
        and len(lost) == results.trials["seed"].nunique(),
    }
    return Found(_plain(holds), shown.reset_index().to_dict("records"))


def _plain(holds: Mapping[str, Any]) -> dict[str, bool]:
    return {text: bool(value) for text, value in holds.items()}


def _falls(values: "pd.Series[float]", factor: float) -> bool:
    """Return whether each value is less than a factor of the one before it."""
    return bool((values.to_numpy()[1:] < factor * values.to_numpy()[:-1]).all())


def steps_to(run: Run, below: float) -> float:
    """Return after how many steps the loss was first below a value, between checkpoints by the loss's logarithm."""
    lowest = np.minimum.accumulate(run.loss)
    if lowest[-1] >= below:
        return float("inf")
    return float(np.interp(-np.log(below), -np.log(lowest), run.curve["step"]))


@check
def he_glorot(results: fastgd.Results) -> Found:
    """The gradients that He's and Glorot's weights start with in front of relu, and who reaches a loss sooner."""
    measured = [
        {
            "rate": run.row.lr,
            "weights": run.row.problem,
            "seed": run.row.seed,
            "loss at the start": run.loss[0],
            "first layer's gradient": layers(run)[0, 0],
            "first / last": layers(run)[0, 0] / layers(run)[0, -1],
            "steps to 1": steps_to(run, 1.0),
            "steps to 0.1": steps_to(run, 0.1),
        }
        for run in runs(results)
    ]
    trials = pd.DataFrame(measured).set_index(["rate", "weights", "seed"])
    he, glorot = (trials.xs(name, level="weights") for name in ("he", "glorot"))
    gain = he["steps to 1"] / glorot["steps to 1"]
    later = (he["steps to 0.1"] / glorot["steps to 0.1"])[np.isfinite(glorot["steps to 0.1"])]
    holds = {
        "He's gradients start twice as large as Glorot's and more, with every seed": bool(
            (he["first layer's gradient"] > 2 * glorot["first layer's gradient"]).all()
        ),
        "of either the first layer's is 0.5 to 2 of the last layer's": bool(
            trials["first / last"].between(0.5, 2).all()
        ),
        "He's reach a loss of 1 in less than 0.75 of the steps, at every rate with every seed": bool(
            (gain < 0.75).all()
        ),
        "to a loss of 0.1 their lead is smaller, at every rate": bool(
            (later.groupby("rate").median() > gain.groupby("rate").median()[later.index.unique("rate")]).all()
        ),
    }
    medians = trials.groupby(["rate", "weights"], sort=False).median().replace(np.inf, np.nan)
    return Found(_plain(holds), medians.reset_index().to_dict("records"))


def fluctuation(loss: np.ndarray) -> float:
    """Return the deviation of the second half of a curve from a parabola, which is how it still falls."""
    half = loss[len(loss) // 2 :]
    at = np.arange(len(half))
    return float(np.std(half - np.polyval(np.polyfit(at, half, 2), at)))


@check
def batch_noise(results: fastgd.Results) -> Found:
    """How the fluctuation of the loss grows with the rate over the batch size; medians over the seeds."""
    trials = pd.DataFrame(
        [
            {"rate": run.row.lr, "batch size": run.row.batch_size, "fluctuation": fluctuation(run.loss)}
            for run in runs(results)
        ]
    )
    found = trials.groupby(["rate", "batch size"], sort=False)["fluctuation"].median().reset_index()
    found.insert(0, "rate / batch size", found["rate"] / found["batch size"])
    slope = _slope(found["rate / batch size"], found["fluctuation"])
    slopes = [_slope(own["batch size"], own["fluctuation"]) for _, own in found.groupby("rate")]
    alike = found.groupby(found["rate / batch size"].round(12))["fluctuation"].agg(["min", "max"])
    told = ", ".join(f"{each:.2f}" for each in slopes)
    holds = {
        f"the fluctuation goes with the power {slope:.2f} of the rate over the batch size, 0.9 to 1.1": 0.9
        < slope
        < 1.1,
        f"at each rate with the powers {told} of the batch size, -1.15 to -0.85": all(
            -1.15 < each < -0.85 for each in slopes
        ),
        "where the rate over the batch size is the same, fluctuations are within a factor of 1.4": bool(
            (alike["max"] < 1.4 * alike["min"]).all()
        ),
    }
    return Found(holds, found.sort_values(["rate / batch size", "rate"]).to_dict("records"))


def _slope(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Return the power of x with which y grows."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


@check
def digits(results: fastgd.Results) -> Found:
    """Of both models at the best of their rates: who is right how often, on training rows and on others."""
    last = results.curves.sort_values("step").groupby("trial_id").last()
    best = results.best("validation_loss").drop_duplicates("problem").set_index("problem")
    rows = []
    for problem in (table["name"] for table in results.study["problem"]):
        seeds = last.loc[results.seeds_of(best.loc[problem, "trial_id"])]
        right = seeds["validation_accuracy"]
        rows.append(
            {
                "model": problem,
                "best rate": best.loc[problem, "lr"],
                "validation loss": best.loc[problem, LOSS],
                "accuracy": f"{seeds['accuracy'].median():.2%}",
                "validation accuracy": f"{right.median():.2%}",
                "of five seeds": f"{right.min():.2%} to {right.max():.2%}",
                "right": right.median(),
                "fitted": seeds["accuracy"].min(),
            }
        )
    plain, hidden = rows
    holds = {
        "both are right about more than 96 % of the rows that they have not seen": min(row["right"] for row in rows)
        > 0.96,
        "the hidden layer makes no mistake on training rows, and is right as often on others or more": hidden["fitted"]
        == 1
        and plain["fitted"] < 1
        and hidden["right"] >= plain["right"],
        "and its validation loss is lower by more than 5 %": hidden["validation loss"]
        < 0.95 * plain["validation loss"],
    }
    shown = [{key: value for key, value in row.items() if key not in ("right", "fitted")} for row in rows]
    return Found(_plain(holds), shown)
