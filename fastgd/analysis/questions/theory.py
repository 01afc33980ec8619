"""Measured rates of convergence beside those of textbooks: see `Results.theory`."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis.minima.certified import dictionary_of, is_sampled, key_of, rounding_of_trials
from fastgd.analysis.minima.least_known import CERTIFIED, minima
from fastgd.analysis.questions.ranking import ranking
from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError

Array = NDArray[np.float64]
METHODS = ("sgd", "momentum", "nesterov")
INVERSE_TIME = ("inverse_time", "inverse_time (per=step)")
COLUMNS = (
    *("problem", "l2", "optimizer", "lr", "momentum", "schedule", "batch_size", "quantity", "measured", "theory"),
    *("ratio", "bound", "holds", "checkpoints", "source", "remark", "trial_id"),
)
FEWEST = 5  # checkpoints of a fit
ABOVE = 100.0  # times the error of the minimum and rounding: a gap below is not fitted
TAIL = 0.7  # of the decades that a gap falls through come before the fit
STEADY = 0.02  # of a speed, by which the second half of a tail may be slower than the first
SETTLED = 0.25  # of the steps, the last ones, over which the floor of a noisy trial is taken
SLACK = 1e-3  # of a contraction's speed, within which a fit may be slower than its bound
POLYAK, POLYAK_BALL, NESTEROV = "Polyak (1987), 1.4", "Polyak (1964)", "Nesterov (2004), 2.2"
NOISE, DECAY = "Bottou, Curtis, Nocedal (2018), 4.6", "Bottou, Curtis, Nocedal (2018), 4.7"


class Curvature(NamedTuple):
    """What theory needs of an objective.

    Attributes
    ----------
    least, largest : float
        Eigenvalues of the Hessian at the minimum.
    mu, L : float
        The least and the largest curvature at any parameters; NaN: not known.
    quadratic : bool
        Whether they are the same everywhere.
    noise : float
        The mean squared distance of single rows' gradients from their mean at the minimum.
    minimum, floor : float
        And below which gap a curve tells nothing.
    """

    least: float
    largest: float
    mu: float
    L: float
    quadratic: bool
    noise: float
    minimum: float
    floor: float


class Curve(NamedTuple):
    """The checkpoints of a trial."""

    step: Array
    gap: Array


def theory(study: StoredStudy) -> pd.DataFrame:
    """Return measured rates beside those of textbooks: see `Results.theory`."""
    known: dict[tuple[Any, ...], Curvature] = {} if study.on_landscapes else _curvatures(study)
    if not known:
        what = "landscapes have none" if study.on_landscapes else f"`fastgd optimum {study.path}` finds them"
        raise InputError(f"theory needs certified minima, and {study.path} holds none: {what}")
    records = _objectives(study, ranking(study, "loss", "final"))
    chosen = [row for row in records if _is_covered(row) and row["objective"] in known]
    curves = _curves(study, [str(row["trial_id"]) for row in chosen])
    rows = []
    for row in chosen:
        curvature = known[row["objective"]]
        own = curves[str(row["trial_id"])]
        curve = Curve(own.step, own.gap - curvature.minimum)
        rows.append({**row, "momentum": _momentum(row), **_compared(row, curve, curvature)})
    order: dict[Any, int] = dict(zip(known, range(len(known)), strict=True))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).assign(place=[order[row["objective"]] for row in chosen])
    sorting = ["place", "quantity", "optimizer", "momentum", "batch_size", "lr"]
    return table.sort_values(sorting, ignore_index=True).drop(columns="place")


def _objectives(study: StoredStudy, settings: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows of a ranking, each with the objective of its trial."""
    by = [name for name in study.objective if name not in settings]
    if by:
        trials = study.table("trials", columns=["trial_id", *by], filter=pc.field("in_study")).to_pandas()
        settings = settings.merge(trials, on="trial_id", how="left")
    records: list[dict[Any, Any]] = settings.to_dict("records")
    return [{**row, "objective": tuple(row[name] for name in study.objective)} for row in records]


def _is_covered(row: dict[Any, Any]) -> bool:
    """Whether theory says something of a configuration: a plain rule, with a rate that is constant or falls as 1/t."""
    plain = not row["variant"] or row["variant"] in ("form=lecture", "form=torch")
    still = not any((row.get(name) or 0.0) > 0 for name in ("dampening", "weight_decay"))
    scheduled = row["schedule"] == "constant" or (row["schedule"] in INVERSE_TIME and row["batch_size"] < row["n"])
    exact = row["sparse"] != "masked" or row["optimizer"] == "sgd"
    return row["optimizer"] in METHODS and plain and still and scheduled and exact


def _momentum(row: dict[Any, Any]) -> float:
    return 0.0 if row["optimizer"] == "sgd" else float(row["momentum"])


def _curvatures(study: StoredStudy) -> dict[tuple[Any, ...], Curvature]:
    """Return what theory needs of each objective with a certified minimum."""
    table, dtype = minima(study), str(study.study.get("dtype", "float64"))
    by = study.objective
    certified = table[table["source"] == CERTIFIED].set_index(by)
    found = {}
    for info in study.stored_optima:
        key = key_of(info, by)
        if key not in certified.index or info.local_smoothness is None:
            continue
        least = info.local_strong_convexity
        found[key] = Curvature(
            least=np.nan if least is None else least,
            largest=info.local_smoothness,
            mu=info.strong_convexity,
            L=np.nan if info.smoothness is None else info.smoothness,
            quadratic=info.loss == "squared",
            noise=info.noise,
            minimum=float(certified.loc[key, "minimum"]),
            floor=ABOVE * max(float(certified.loc[key, "error"]), rounding_of_trials(info, dtype)),
        )
    return found


def _curves(study: StoredStudy, trials: list[str]) -> dict[str, Curve]:
    """Return the exact checkpoints of trials, with the loss in place of the gap; only theirs are read."""
    table = study.table("curves", columns=["trial_id", "step", "loss"], filter=pc.field("trial_id").isin(trials))
    names, codes = dictionary_of(table["trial_id"])
    steps, losses = (table[name].to_numpy().astype(np.float64) for name in ("step", "loss"))
    order = np.lexsort((steps, codes))
    ends = np.searchsorted(codes[order], np.arange(len(names) + 1))
    exact = slice(-1, None) if is_sampled(study) else slice(None)
    parts = [order[first:last][exact] for first, last in pairwise(ends.tolist())]
    return {name: Curve(steps[part], losses[part]) for name, part in zip(names, parts, strict=True)}


def _compared(row: dict[Any, Any], curve: Curve, curvature: Curvature) -> dict[str, Any]:
    """Return what a configuration's curve says beside what theory does."""
    if row["batch_size"] == row["n"]:
        return _contraction(row, curve, curvature)
    return _exponent(row, curve, curvature) if row["schedule"] in INVERSE_TIME else _floor(row, curve, curvature)


# --- full batches: the contraction of a step --------------------------------------------------------------------------


def _contraction(row: dict[Any, Any], curve: Curve, curvature: Curvature) -> dict[str, Any]:
    lr, momentum = float(row["lr"]), _momentum(row)
    factor = contraction(row["optimizer"], lr, momentum, curvature.least, curvature.largest)
    bound, source = _bound(row["optimizer"], lr, momentum, curvature)
    measured, checkpoints, remark = fitted_contraction(curve, curvature.floor)
    if factor >= 1 or (bound >= 1 and not np.isfinite(measured)):
        remark = "theory promises no convergence at this rate"
    speed, promised = (-np.log(each) if 0 < each < 1 else np.nan for each in (measured, factor))
    holds = None if not np.isfinite(bound + measured) else bool(-np.log(measured) >= -np.log(bound) * (1 - SLACK))
    return {
        **{"quantity": "contraction", "measured": measured, "theory": factor, "ratio": speed / promised},
        **{"bound": bound, "holds": holds, "checkpoints": checkpoints, "source": source, "remark": remark},
    }


def contraction(method: str, lr: float, momentum: float, least: float, largest: float) -> float:
    """Return the factor by which the distance to the minimum of a quadratic falls in a step, in the long run.

    That of the slowest direction, over all curvatures between the least and the largest: for gradient descent
    `max(|1 - lr least|, |1 - lr largest|)`, else the largest root of `z^2 - (1 + m - lr h) z + m` (heavy ball), or of
    `z^2 - (1 + m) (1 - lr h) z + m (1 - lr h)` (Nesterov), for each curvature h.

    Parameters
    ----------
    method : {"sgd", "momentum", "nesterov"}
    lr, momentum : float
    least, largest : float
        Curvatures; NaN where the least is not known.
    """
    if not np.isfinite([least, largest]).all() or least <= 0:
        return np.nan
    h = np.unique(np.r_[np.geomspace(least, largest, 2001), least, largest])
    roots: dict[str, Callable[[Array], tuple[Array, Array]]] = {
        "sgd": lambda h: (1 - lr * h, np.zeros_like(h)),
        "momentum": lambda h: (1 + momentum - lr * h, np.full_like(h, momentum)),
        "nesterov": lambda h: ((1 + momentum) * (1 - lr * h), momentum * (1 - lr * h)),
    }
    total, product = roots[method](h)
    root = np.sqrt((total * total - 4 * product).astype(np.complex128))
    return float(np.maximum(np.abs(total + root), np.abs(total - root)).max() / 2)


def _bound(method: str, lr: float, momentum: float, own: Curvature) -> tuple[float, str]:
    """Return a contraction that holds at any parameters, or NaN, and where it is from.

    Gradient descent contracts distances by `max(|1 - lr mu|, |1 - lr L|)`. Nesterov's method with `lr = 1/L` at most
    and the momentum that goes with it, `(1 - sqrt(lr mu)) / (1 + sqrt(lr mu))`, lets the gap fall by `1 - sqrt(lr mu)`,
    and its root by the root of that. Of the heavy ball there is a bound for quadratics alone.
    """
    if method == "sgd":
        known = np.isfinite(own.L) and own.mu > 0
        return (max(abs(1 - lr * own.mu), abs(1 - lr * own.L)) if known else np.nan), POLYAK
    if method == "momentum":
        return np.nan, POLYAK_BALL
    root = np.sqrt(lr * own.mu)
    fits = own.mu > 0 and lr * own.L <= 1 + 1e-9 and abs(momentum - (1 - root) / (1 + root)) < 1e-3
    return (float(np.sqrt(1 - root)) if fits else np.nan), NESTEROV


def fitted_contraction(curve: Curve, floor: float) -> tuple[float, int, str]:
    """Return the factor by which the root of a gap falls in a step, from the tail of a curve above a floor.

    A line is fitted to the logarithm of the gap over the last of the decades that it falls through: there the slowest
    direction is left. Where it is not alone yet, the remark says so: the trial is faster than it will be. Iterates with
    momentum swing, and their gap with them: of these the upper envelope, the largest gap from each checkpoint on, is
    fitted.

    Returns
    -------
    factor : float
        NaN: there are too few checkpoints above the floor.
    checkpoints : int
        Of the fit.
    remark : str
    """
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(curve.gap)
    if not finite.all() or (len(curve.gap) and curve.gap[-1] > curve.gap[0]):
        return np.nan, 0, "it did not come nearer"
    envelope = np.maximum.accumulate(curve.gap[::-1])[::-1] if len(curve.gap) else curve.gap
    above = envelope > floor
    if above.sum() < FEWEST:
        return np.nan, int(above.sum()), f"fewer than {FEWEST} checkpoints above the error of the minimum"
    step, height = curve.step[above], np.log(envelope[above])
    # the last checkpoints repeat the largest gap to come: where the curve ends above the floor, an envelope is flat
    tops = curve.gap[above] >= envelope[above]
    tail = tops & (height <= height[0] - TAIL * (height[0] - height[-1]))
    if tail.sum() < FEWEST:
        return np.nan, int(tail.sum()), f"fewer than {FEWEST} checkpoints in the tail"
    slope = np.polyfit(step[tail], height[tail], 1)[0]
    half = tail.sum() // 2
    early, late = (np.polyfit(step[tail][part], height[tail][part], 1)[0] for part in (np.s_[: half + 1], np.s_[half:]))
    slowing = late > early * (1 - STEADY)
    return (
        float(np.exp(slope / 2)),
        int(tail.sum()),
        "still slowing down: more steps would show its rate" if slowing else "",
    )


# --- mini-batches: the noise of gradients -----------------------------------------------------------------------------


def _floor(row: dict[Any, Any], curve: Curve, own: Curvature) -> dict[str, Any]:
    """Return the gap at which noise holds a trial, beside `lr V / 4` of small rates and its bound `lr L V / (2 mu)`.

    V is the variance of a batch's gradient, `noise / b` but for the rows that a batch draws once. With momentum m, a
    step is worth `1 / (1 - m)` steps.
    """
    n, b = float(row["n"]), float(row["batch_size"])
    variance = own.noise / b * (n - b) / max(1.0, n - 1)
    lr, remark = float(row["lr"]) / (1 - _momentum(row)), ""
    late = curve.step >= (1 - SETTLED) * curve.step[-1] if len(curve.step) else np.zeros(0, bool)
    settled = curve.gap[late & (curve.step > 0)]
    measured = float(np.mean(settled)) if len(settled) else np.nan
    if len(settled) < FEWEST or not np.isfinite(measured):
        measured, remark = np.nan, "too few checkpoints near its end"
    elif np.mean(settled[: len(settled) // 2]) > 2 * np.mean(settled[len(settled) // 2 :]):
        remark = "it still falls: the floor is lower"
    expected = lr * variance / 4
    plain = row["optimizer"] == "sgd" and own.mu > 0 and float(row["lr"]) * own.L <= 1
    bound = lr * own.L * variance / (2 * own.mu) if plain else np.nan
    holds = None if not np.isfinite(bound + measured) else bool(measured <= bound)
    return {
        **{"quantity": "floor", "measured": measured, "theory": expected, "ratio": measured / expected},
        **{"bound": bound, "holds": holds, "checkpoints": len(settled), "source": NOISE, "remark": remark},
    }


def _exponent(row: dict[Any, Any], curve: Curve, own: Curvature) -> dict[str, Any]:
    """Return the power of the step with which a gap falls under a rate of `a/t`, over the last decade of steps.

    It is -1 in the long run if `a mu > 1/2`, else `-2 a mu`: the start is forgotten more slowly than noise is.
    """
    epoch = 1.0 if row["schedule"].endswith("(per=step)") else np.ceil(row["n"] / row["batch_size"])
    a = float(row["lr"]) * float(row.get("schedule.start") or 1.0) / float(row["schedule.k"]) * epoch
    expected = -min(1.0, 2 * a / (1 - _momentum(row)) * own.least) if np.isfinite(own.least) else np.nan
    late = (curve.step >= curve.step[-1] / 10) & (curve.gap > own.floor) if len(curve.step) else np.zeros(0, bool)
    measured, remark = np.nan, ""
    if late.sum() < FEWEST:
        remark = f"fewer than {FEWEST} checkpoints in the last tenth of the steps and above the error of the minimum"
    else:
        measured = float(np.polyfit(np.log(curve.step[late]), np.log(curve.gap[late]), 1)[0])
    return {
        **{
            "quantity": "exponent",
            "measured": measured,
            "theory": expected,
            "ratio": measured / expected,
            "bound": np.nan,
        },
        **{"holds": None, "checkpoints": int(late.sum()), "source": DECAY, "remark": remark},
    }
