"""Checks of the studies on the toy neuron, from (-2, -2)."""

from typing import Any

import numpy as np

import fastgd
from lecture_checks.measures import Found, Run, by_optimizer, check, lengths, runs, settled, turns

X, Y = np.array([0.5, 2.5]), np.array([0.2, 0.9])
MINIMUM = np.linalg.solve(np.stack([X, np.ones(2)], 1), np.log(Y / (1 - Y)))  # (w, b)
PRINTED = (0.0730, 0.1481, 0.0214, 0.0028, 0.0003, 0.0000)
EXACT = (0.0731, 0.1481, 0.0217, 0.0029, 0.0003, 0.0000)


def valley(run: Run) -> dict[str, Any]:
    """Return how a run moved across the toy neuron's valley, until its loss stayed below 1e-6."""
    w = run.path[: settled(run.loss, 1e-6), 0] - MINIMUM[0]
    beyond = np.flatnonzero(w > 0)
    away = np.flatnonzero(np.abs(w) > 0.1)[-1]
    first = beyond[0] if len(beyond) else away
    return {
        "optimizer": run.row.optimizer,
        "steps to a loss of 0.05": settled(run.loss, 0.05),
        "too far in w": max(0.0, float(w.max())),
        "U-turn, steps": int(max(0, away - first)),
        "U-turn, length": float(lengths(run.path[first : away + 1]).sum()),
        "turns of w": turns(w),
        "steps to 1e-4": settled(run.loss, 1e-4),
    }


@check
def guess_work(results: fastgd.Results) -> Found:
    """The printed losses, and the lowest point of the whole surface."""
    rows = []
    for run, printed in zip(runs(results), PRINTED, strict=True):
        w, b = run.path[0]
        exact = 0.5 * np.sum((1 / (1 + np.exp(-(w * X + b))) - Y) ** 2)
        rows.append({"w": w, "b": b, "printed": f"{printed:.4f}", "fastgd": run.loss[0], "exact": exact})
    measured, exact = (np.array([row[key] for row in rows]) for key in ("fastgd", "exact"))
    surface = results.surfaces[0]
    lowest = np.unravel_index(np.argmin(surface.loss), surface.loss.shape)
    cell = surface.x[1] - surface.x[0]
    holds = {
        "the losses are the exact ones": bool(np.allclose(measured, exact, rtol=1e-12, atol=0)),
        "to four digits they are 0.0731, 0.1481, 0.0217, 0.0029, 0.0003, 0.0000": measured.round(4).tolist()
        == list(EXACT),
        "they differ from the printed ones by at most 0.0003": bool(np.max(np.abs(measured - PRINTED)) < 3.5e-4),
        "the lowest point of the whole surface is at most a cell from the minimum": abs(
            surface.x[lowest[0]] - MINIMUM[0]
        )
        <= cell
        and abs(surface.y[lowest[1]] - MINIMUM[1]) <= cell,
    }
    return Found(holds, [{**row, "fastgd": f"{row['fastgd']:.6f}", "exact": f"{row['exact']:.6f}"} for row in rows])


@check
def brute_force(results: fastgd.Results) -> Found:
    """The best loss of random points and of a grid, and plain descent's after as many steps."""
    losses: dict[str, list[np.ndarray]] = {}
    for run in runs(results):
        at = [run.loss[run.curve["step"].to_numpy() == step][0] for step in (10, 100, 1000)]
        losses.setdefault(run.row.optimizer, []).append(np.array(at))
    rows = [
        {"optimizer": name, "seeds": len(found)}
        | {f"loss after {step}": value for step, value in zip((10, 100, 1000), np.median(found, axis=0), strict=True)}
        for name, found in losses.items()
    ]
    drawn, grid, descent = (np.array(losses[name]) for name in ("random_search", "grid", "sgd"))
    holds = {
        "1,000 random points come within 1e-3 of the minimum with every seed, as a grid does": bool(
            np.all(drawn[:, 2] < 1e-3) and grid[0, 2] < 1e-3
        ),
        "after 10 steps, on the plain, plain descent is behind all of them": bool(np.all(drawn[:, 0] < descent[0, 0])),
        "after 1,000 its loss is less than a thousandth of theirs": bool(
            1e3 * descent[0, 2] < min(drawn[:, 2].min(), grid[0, 2])
        ),
    }
    return Found(holds, rows)


@check
def gentle_and_steep(results: fastgd.Results) -> Found:
    """Steps are short on the plain and long in the valley; rates may be too low and too high."""
    found = {run.row.lr: run for run in runs(results)}
    rows = [
        {
            "rate": rate,
            "first step": lengths(run.path)[0],
            "longest step": lengths(run.path).max(),
            "steps uphill": int(np.sum(np.diff(run.loss) > 1e-12)),
            "turns of w": turns(run.path[: settled(run.loss, 1e-6), 0]),
            "steps to 1e-4": settled(run.loss, 1e-4) if run.loss[-1] < 1e-4 else "never",
            "final loss": run.loss[-1],
        }
        for rate, run in found.items()
    ]
    low, usual, high, higher = rows
    holds = {
        "at 1 the longest step is more than 30 times the first, and the loss never rises": usual["longest step"]
        > 30 * usual["first step"]
        and usual["steps uphill"] == 0
        and usual["final loss"] < 1e-9,
        "at 0.01 the loss falls by less than 1 %": low["final loss"] > 0.99 * found[0.01].loss[0],
        "at 10 w turns back at least three times, and a step uphill nearly doubles the loss": high["turns of w"] >= 3
        and np.max(found[10.0].loss[1:] / found[10.0].loss[:-1]) > 1.8,
        "at 50 a leap of more than 10 ends on a plain": higher["longest step"] > 10 and higher["final loss"] > 0.3,
    }
    return Found(holds, rows)


@check
def momentum(results: fastgd.Results) -> Found:
    """Momentum is faster over the plain, overshoots, turns, and is still ahead at the end."""
    plain, heavy = (valley(run) for run in by_optimizer(results).values())
    key, end = "steps to a loss of 0.05", "steps to 1e-4"
    holds = {
        "momentum crosses the plain in less than half the steps": heavy[key] < 0.5 * plain[key],
        "it goes too far, and plain descent does not": heavy["too far in w"] > 1 and plain["too far in w"] == 0,
        "it turns back at least five times, and plain descent does not": heavy["turns of w"] >= 5
        and plain["turns of w"] == 0,
        "it still stays below 1e-4 earlier": heavy[end] < 0.75 * plain[end],
    }
    return Found(holds, [plain, heavy])


@check
def nesterov(results: fastgd.Results) -> Found:
    """Nesterov's U-turns are shorter than momentum's."""
    heavy, ahead = (valley(run) for run in by_optimizer(results).values())
    shorter = {"too far in w": 0.7, "U-turn, steps": 0.7, "U-turn, length": 0.7, "turns of w": 0.7}
    holds = {
        f"{key}: less than {factor:.0%} of momentum's": ahead[key] < factor * heavy[key]
        for key, factor in shorter.items()
    }
    holds["it stays below 1e-4 earlier"] = ahead["steps to 1e-4"] < heavy["steps to 1e-4"]
    return Found(holds, [heavy, ahead])


@check
def line_search(results: fastgd.Results) -> Found:
    """A line search needs fewer steps, and evaluations of the loss."""
    plain, search = runs(results)
    rows = []
    for run in (plain, search):
        row: dict[str, Any] = {"method": run.row.variant or "rate 1"}
        for below in (1e-2, 1e-4, 1e-6):
            row[f"steps to {below:.0e}"] = settled(run.loss, below)
        used = run.curve["loss_evaluations"].to_numpy()[settled(run.loss, 1e-6)]
        row["loss evaluations until then"] = 0 if np.isnan(used) else int(used)
        rows.append(row)
    holds = {
        f"fewer than half the steps to {below}": 2 * rows[1][f"steps to {below}"] < rows[0][f"steps to {below}"]
        for below in ("1e-02", "1e-04", "1e-06")
    }
    holds["five evaluations of the loss a step, where plain descent has none"] = (
        rows[1]["loss evaluations until then"] == 5 * rows[1]["steps to 1e-06"]
        and rows[0]["loss evaluations until then"] == 0
    )
    return Found(holds, rows)


@check
def rmsprop_rates(results: fastgd.Results) -> Found:
    """How far RMSProp swings at its end, by its rate and by eps."""
    swing = {(run.row.eps, run.row.lr): np.ptp(run.path[-100:, 0]) for run in runs(results)}
    epsilons, rates = (list(dict.fromkeys(key[i] for key in swing)) for i in (0, 1))
    rows = [{"eps": eps, **{f"swing of w at {rate}": swing[eps, rate] for rate in rates}} for eps in epsilons]
    holds = {
        "with eps = 1e-5, 0.6 swings by more than 0.5": swing[1e-5, 0.6] > 0.5,
        "0.1 by 0.01 to 0.2": 0.01 < swing[1e-5, 0.1] < 0.2,
        "and 0.05 rests": swing[1e-5, 0.05] < 1e-6,
        "with every eps a higher rate swings further, or both rest": all(
            swing[eps, 0.6] > swing[eps, 0.1] >= swing[eps, 0.05] - 1e-9 for eps in epsilons
        ),
        "with eps = 1e-8 even 0.05 swings by its rate": 0.04 < swing[1e-8, 0.05] < 0.06,
    }
    return Found(holds, rows)


@check
def adaptive_traces(results: fastgd.Results) -> Found:
    """The traces of v and of the effective rates of both coordinates."""
    names = {"adagrad": "slot.sum_of_squares", "rmsprop": "slot.mean_square"}
    trials = results.trials.set_index("trial_id")["optimizer"]
    rows, traces = [], {}
    for (trial, coordinate), frame in results.trajectories.groupby(["trial_id", "coordinate"], observed=True):
        optimizer, ordered = trials[trial], frame.sort_values("step").iloc[1:]  # a state that has seen a gradient
        v, rate = ordered[names[optimizer]].to_numpy(), ordered["effective_lr"].to_numpy()
        traces[optimizer, coordinate] = np.diff(v), np.diff(rate)
        shares = {"v rises": np.mean(np.diff(v) > 0), "rate rises": np.mean(np.diff(rate) > 0)}
        ends = {"first rate": rate[0], "lowest rate": rate.min(), "last rate": rate[-1]}
        rows.append({"optimizer": optimizer, "coordinate": "wb"[coordinate], **_shares(shares), **ends})
    holds = {}
    for i, name in enumerate("wb"):
        v, rate = traces["adagrad", i]
        holds[f"AdaGrad's v of {name} only grows, and its rate only falls"] = bool(np.all(v >= 0) and np.all(rate <= 0))
        v, _ = traces["rmsprop", i]
        holds[f"RMSProp's v of {name} rises and falls"] = min(np.mean(v > 0), np.mean(v < 0)) > 0.1
    return Found(holds, sorted(rows, key=lambda row: row["optimizer"]))


def _shares(shares: dict[str, Any]) -> dict[str, str]:
    return {f"{name}, share of steps": f"{share:.0%}" for name, share in shares.items()}
