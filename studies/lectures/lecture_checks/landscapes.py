"""Checks of the studies on potholes, a cliff, Rosenbrock's valley, and Adam's counter-example."""

from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import fastgd
from lecture_checks.measures import Found, Run, check, lengths, runs

POTHOLE = np.array([-2.7254, 0.0])  # of the bumpy bowl; its deep minimum is the origin


def _ends(run: Run) -> str:
    """Where on the bumpy bowl a run ended."""
    end = run.path[-1]
    if np.linalg.norm(end) < 1e-2:
        return "the deep minimum"
    return "the first pothole" if np.linalg.norm(end - POTHOLE) < 1e-2 else f"({end[0]:.2f}, {end[1]:.2f})"


@check
def potholes(results: fastgd.Results) -> Found:
    """The pothole catches descent at every rate, and momentum at none."""
    rows = [
        {"optimizer": run.row.optimizer, "rate": run.row.lr, "ends in": _ends(run), "loss": run.loss[-1]}
        for run in runs(results)
    ]
    ends = {name: {row["ends in"] for row in rows if row["optimizer"] == name} for name in ("sgd", "momentum")}
    holds = {
        "plain descent is caught in the first pothole at every rate": ends["sgd"] == {"the first pothole"},
        "momentum reaches the deep minimum at every rate": ends["momentum"] == {"the deep minimum"},
    }
    return Found(holds, rows)


@check
def dancing(results: fastgd.Results) -> Found:
    """Over the last 500 steps constant rates swing, decaying ones have landed."""
    rows = [
        {
            "schedule": run.row.schedule,
            "first rate": run.row.lr,
            "swing of x, last 500 steps": np.ptp(run.path[-500:, 0]),
            "ends in": _ends(run),
            "status": run.row.status,
        }
        for run in runs(results)
    ]
    groups = {name: [row for row in rows if row["schedule"] == name] for name in ("constant", "exponential")}
    holds = {
        "at constant rates x still swings by more than 1, and no trial has diverged": all(
            row["swing of x, last 500 steps"] > 1 and row["status"] == "cycling" for row in groups["constant"]
        ),
        "decaying, all rates land in the deep minimum": all(
            row["ends in"] == "the deep minimum" and row["status"] == "converged" for row in groups["exponential"]
        ),
    }
    return Found(holds, rows)


@check
def warm_restarts(results: fastgd.Results) -> Found:
    """Warm restarts land at all rates and periods, and fixed rates at their mean are caught."""
    found = [(run.row.schedule, run.row.lr, _ends(run)) for run in runs(results)]
    kinds = {"cosine_restarts": "warm restarts, periods 40, 50, 80, 100", "cosine": "one cosine", "constant": "fixed"}
    rows = [
        {"rate": rate, "schedule": kinds[name], "trials": found.count((name, rate, end)), "end in": end}
        for name, rate, end in dict.fromkeys(found)
    ]
    ends = {name: {end for kind, _, end in found if kind == name} for name in kinds}
    holds = {
        "with warm restarts all 12 trials land in the deep minimum": ends["cosine_restarts"] == {"the deep minimum"},
        "fixed rates at their mean are caught in the pothole": ends["constant"] == {"the first pothole"},
    }
    return Found(holds, rows)


@check
def escape(results: fastgd.Results) -> Found:
    """Where trials are before the restart, when they leave the pothole, and where they end."""
    rows = []
    for run in runs(results):
        inside = np.flatnonzero(run.path[:, 0] < -2)[-1]  # the last step on this side of the pothole's rim
        period = results.trials.loc[run.row.Index, "schedule.then.period"]
        rows.append(
            {
                "schedule": "fixed at 0.5" if np.isnan(period) else f"restarts at 1, period {period:g}",
                "seed": run.row.seed,
                "after 100 steps": "in the pothole" if np.linalg.norm(run.path[100] - POTHOLE) < 1e-2 else "elsewhere",
                "leaves at step": int(inside) + 1 if inside < len(run.path) - 1 else "never",
                "ends in": _ends(run),
            }
        )
    groups = {name: [row for row in rows if row["schedule"] == name] for name in dict.fromkeys(map(_schedule, rows))}
    fixed, short, long = groups.values()
    holds = {
        "all trials are in the pothole after 100 steps": {row["after 100 steps"] for row in rows} == {"in the pothole"},
        "fixed rates never leave it": {row["ends in"] for row in fixed} == {"the first pothole"},
        "nor do those that restart with a period of 50": {row["ends in"] for row in short} == {"the first pothole"},
        "with a period of 100 all leave it and land in the deep minimum": {row["ends in"] for row in long}
        == {"the deep minimum"}
        and all(row["leaves at step"] > 100 for row in long),
    }
    return Found(holds, rows)


def _schedule(row: dict[str, Any]) -> str:
    return str(row["schedule"])


@check
def cliff(results: fastgd.Results) -> Found:
    """How far the cliff throws descent, with and without clipping."""
    plain, clipped = (
        {
            "method": run.row.variant or "plain",
            "largest gradient": run.curve["grad_norm"].max(),
            "met at step": int(run.curve["grad_norm"].argmax()),
            "longest step": lengths(run.path).max(),
            "furthest x": run.path[:, 0].min(),
            "last x": run.path[-1, 0],
        }
        for run in runs(results)
    )
    holds = {
        "plain descent meets a gradient of more than 40 after a crawl of more than 150 steps": plain["largest gradient"]
        > 40
        and plain["met at step"] > 150,
        "it is thrown beyond x = -10": plain["furthest x"] < -10,
        "clipped it stays above -1.1": clipped["furthest x"] > -1.1,
        "and reaches the minimum": abs(clipped["last x"] + 1) < 1e-3,
    }
    return Found(holds, [plain, clipped])


@check
def exploding(results: fastgd.Results) -> Found:
    """Who diverged and when; and that the others have the bits that they have without those."""
    found = list(runs(results))
    rows = [
        {
            "rate": run.row.lr,
            "status": run.row.status,
            "steps": run.row.steps,
            "gradient at the end": run.row.final_grad_norm,
            "final loss": run.row.final_loss,
        }
        for run in found
    ]
    lost = [run for run in found if run.row.status == "diverged"]
    kept = [run for run in found if run.row.status != "diverged"]
    study = dict(results.study)
    study["optimizer"] = [{**study["optimizer"][0], "lr": [run.row.lr for run in kept]}]
    with TemporaryDirectory() as folder:
        alone = list(runs(fastgd.run(fastgd.Study(**study), folder)))
    columns = ["step", "loss", "grad_norm", "x_0", "x_1"]
    same = [
        one.row.trial_id == other.row.trial_id
        and one.curve[columns].to_numpy().tobytes() == other.curve[columns].to_numpy().tobytes()
        for one, other in zip(alone, kept, strict=True)
    ]
    holds = {
        "rates of 0.01 and more diverge, within 10 steps": [run.row.lr for run in lost] == [0.01, 0.03, 0.1]
        and all(1 <= run.row.steps <= 10 for run in lost),
        "the others end at finite losses": all(np.isfinite(run.row.final_loss) for run in kept),
        "with the bits that they have without those": all(same),
    }
    return Found(holds, rows)


@check
def vanishing(results: fastgd.Results) -> Found:
    """The gradient at the start, and how far 1,000 steps lead."""
    rows: list[dict[str, Any]] = [
        {
            "start": f"({run.row.start_0:g}, {run.row.start_1:g})",
            "gradient there": run.curve["grad_norm"].iloc[0],
            "moved": np.linalg.norm(run.path[-1] - run.path[0]),
            "final loss": run.loss[-1],
            "status": run.row.status,
        }
        for run in runs(results)
    ]
    gradients = np.array([row["gradient there"] for row in rows])
    holds = {
        "each start further out has less than a tenth of the gradient": bool(np.all(np.diff(np.log10(gradients)) < -1)),
        "from (-2, -2) it converges": rows[0]["status"] == "converged",
        "from (-20, -20) it is trapped without having moved": rows[-1]["status"] == "trapped"
        and rows[-1]["moved"] < 1e-6,
    }
    return Found(holds, rows)


@check
def adam_counterexample(results: fastgd.Results) -> Found:
    """Where Adam and AMSGrad end: the mean of the last three positions."""
    rows = [
        {
            "optimizer": run.row.optimizer,
            "beta2": run.row.beta2,
            "x at the end": run.path[-3:, 0].mean(),
            "mean loss there": run.loss[-3:].mean(),
        }
        for run in runs(results)
    ]
    short, long, cured = (row["x at the end"] for row in rows)
    holds = {
        "Adam with a short memory goes to +1, the worst point": short > 0.98,
        "AMSGrad goes to -1, the best": cured < -0.98,
        "so does Adam with a long memory": long < -0.98,
    }
    return Found(holds, rows)
