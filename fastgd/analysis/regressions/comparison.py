"""Whether a new version, another machine or a changed setting converges as the base did, trial by trial."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.criteria import LOST
from fastgd.analysis.regressions.paired_curves import Curves, Rows, side_by_side
from fastgd.analysis.regressions.pairing import OUTCOMES, Pairing, Side, paired
from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError
from fastgd.store.schema import UNFINISHED

TOLERANCE = 1e-3
# Losses below this share of the loss at the start count as zero: what is left there is rounding.
ROUNDING = {"float64": 1e-12, "float32": 1e-6}
VERDICTS = ("equal", "same", "better", "worse", "unknown")
NEVER = np.iinfo(np.int64).max

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `fastgd.compare` found.

    Attributes
    ----------
    base, new : Path
        The folders.
    tolerance : float
    pairs : pandas.DataFrame
        A row a pair of trials: `trial_id` (in the new results; `start` on landscapes), `base_trial_id`; `status`,
        `steps`, `final_loss` and `best_loss`, and the same with `base_`; `by_name` (paired by their names, not by their
        settings); `outcome_equal` and `curve_equal` (to the bit; see `compare`); `final_difference` and
        `best_difference` (relative, positive: the new one is higher), `curve_difference` (the largest one at any
        checkpoint); `target`, `target_steps` and `base_target_steps` (see `compare`; null: never, or no target);
        `verdict` (one of "equal", "same", "better", "worse", "unknown") and `reason`.
    only_base, only_new : pandas.DataFrame
        The trials that have no partner, with their outcome.
    settings : pandas.DataFrame
        The settings of the base's trials, and their seeds; the index is `trial_id`.
    notes : tuple of str
        What was not compared, and why.
    """

    base: Path
    new: Path
    tolerance: float
    pairs: pd.DataFrame
    only_base: pd.DataFrame
    only_new: pd.DataFrame
    settings: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def worse(self) -> pd.DataFrame:
        """The pairs of which the new trial is worse, with the settings of the base's."""
        return self._judged("worse")

    @property
    def better(self) -> pd.DataFrame:
        """The pairs of which the new trial is better, likewise."""
        return self._judged("better")

    def _judged(self, verdict: str) -> pd.DataFrame:
        own = self.pairs[self.pairs["verdict"] == verdict]
        return own.join(self.settings, on="base_trial_id")

    @property
    def ok(self) -> bool:
        """Whether nothing got worse."""
        return not (self.pairs["verdict"] == "worse").any()

    @property
    def summary(self) -> dict[str, Any]:
        """Return the numbers of all that was found, as plain values."""
        pairs = self.pairs
        same = [f"{name}_equal" for name in ("final_loss", "steps", "status")]
        equal = dict(zip(same, (_equal(pairs, name) for name in ("final_loss", "steps", "status")), strict=True))
        counts = {name: int(values.sum()) for name, values in equal.items()}
        verdicts = pairs["verdict"].value_counts()
        return {
            "base": str(self.base),
            "new": str(self.new),
            "tolerance": self.tolerance,
            "pairs": len(pairs),
            "paired_by_settings": int((~pairs["by_name"]).sum()),
            **counts,
            "outcomes_equal": int(pairs["outcome_equal"].sum()),
            "curves_equal": int(pairs["curve_equal"].sum()),
            **{f"largest_{name}": _largest(pairs[name]) for name in DIFFERENCES},
            **{name: int(verdicts.get(name, 0)) for name in VERDICTS},
            "only_base": len(self.only_base),
            "only_new": len(self.only_new),
            "notes": list(self.notes),
        }


DIFFERENCES = ("final_difference", "best_difference", "curve_difference")


def compare(base: str | Path | StoredStudy, new: str | Path | StoredStudy, tolerance: float = TOLERANCE) -> Comparison:
    """Compare two folders of results, trial by trial: another version, another machine, a changed program.

    Trials are paired by their names, which stand for all that decides their numbers. Those that are left are paired by
    all columns of settings, the seed (and the start), with numbers to 12 digits, if both studies have the same budget,
    order, initial parameters, rules to stop, checkpoints and preparation of data: versions may name trials otherwise.

    A pair is *equal* where `final_loss`, `steps` and `status`, and all of the curve but times, are the same to the bit.
    Differences of losses are relative: `(new - base) / max(|new|, |base|)`, where losses below 1e-12 (float32: 1e-6)
    of the loss at the start count as zero. The new trial is *worse* where

    - it diverged or failed, and the base's did not;
    - its final or its best loss is higher by more than the tolerance;
    - it is later to the target that both reach: from the base's loss at the start, all but the share `tolerance` of the
      way to the higher one of the two best losses. The base's first checkpoint at the target counts, and the new
      trial's first one within the same share of it, so that rounding makes nobody late. Steps are those of checkpoints.

    It is *better* where the same holds the other way round and it is not worse, and the *same* otherwise; *unknown*
    where one of them ran out of time, or where one lost a race and the other did not.

    Parameters
    ----------
    base, new : path or Results
    tolerance : float
        Relative, at least 0 and below 1.

    Returns
    -------
    Comparison
        All pairs, and which are worse; nothing is raised for these.

    Raises
    ------
    InputError
        A folder holds no results, they are of other data or have no trial in common, or the tolerance is no such
        number.
    """
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance is {tolerance!r}: it must be a number >= 0 and < 1")
    pairing = paired(*(each if isinstance(each, StoredStudy) else StoredStudy(each) for each in (base, new)))
    pairs = _outcomes(pairing)
    rounding = np.array([ROUNDING[str(each)] for each in pairing.base.settings["dtype"]], np.float64)
    floor = rounding[pairing.base.code[pairing.base_rows]]
    pairs = pairs.assign(**_curves(pairing, tolerance, floor))
    pairs = pairs.assign(**_differences(pairs, floor)).drop(columns=["first_loss"])
    pairs = pairs.assign(**_verdicts(pairs, tolerance)).drop(columns=["late", "early"])
    return Comparison(
        base=pairing.base.study.path,
        new=pairing.new.study.path,
        tolerance=tolerance,
        pairs=pairs,
        only_base=_alone(pairing.base, pairing.base_rows),
        only_new=_alone(pairing.new, pairing.new_rows),
        settings=pairing.base.settings,
        notes=pairing.notes,
    )


def _outcomes(pairing: Pairing) -> pd.DataFrame:
    """Return a row a pair, with the outcomes of both trials."""
    base, new, mine, theirs = pairing.base, pairing.new, pairing.base_rows, pairing.new_rows
    columns: dict[str, Any] = {"trial_id": new.ids[new.code[theirs]]}
    if new.study.on_landscapes:
        columns["start"] = new.start[theirs]
    columns |= {"base_trial_id": base.ids[base.code[mine]]}
    for name in OUTCOMES:
        one, other = base.outcomes[name].iloc[mine], new.outcomes[name].iloc[theirs]
        text = name == "status"
        columns[name] = other.astype(str).to_numpy() if text else other.to_numpy()
        columns[f"base_{name}"] = one.astype(str).to_numpy() if text else one.to_numpy()
    pairs = pd.DataFrame({**columns, "by_name": pairing.by_name})
    equal = [_equal(pairs, name) for name in ("final_loss", "steps", "status")]
    return pairs.assign(outcome_equal=np.logical_and.reduce(equal))


def _alone(side: Side, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return the trials without a partner."""
    left = np.setdiff1d(np.arange(len(side.code)), rows, assume_unique=True)
    start = {"start": side.start[left]} if side.study.on_landscapes else {}
    found: pd.DataFrame = side.outcomes.iloc[left].reset_index(drop=True)
    return pd.DataFrame({"trial_id": side.ids[side.code[left]], **start}).join(found)


# --- curves -----------------------------------------------------------------------------------------------------------


def _curves(pairing: Pairing, tolerance: float, floor: Floats) -> dict[str, NDArray[Any]]:
    """Return what the curves of each pair tell."""
    sides = []
    for side, rows in ((pairing.base, pairing.base_rows), (pairing.new, pairing.new_rows)):
        sides.append(Curves(side.study, side.ids.tolist(), side.code[rows], side.start[rows]))
    count = len(pairing.base_rows)
    found = {
        "first_loss": np.full(count, np.nan),
        "curve_equal": sides[0].rows == sides[1].rows,
        "curve_difference": np.full(count, np.nan),
        "target": np.full(count, np.nan),
        "target_steps": np.full(count, NEVER),
        "base_target_steps": np.full(count, NEVER),
        "late": np.zeros(count, bool),
        "early": np.zeros(count, bool),
    }
    for low, high, base, new in side_by_side(*sides):
        own = {name: values[low:high] for name, values in found.items()}  # views, which are filled
        base, new = (rows._replace(pair=rows.pair - low) for rows in (base, new))
        own["first_loss"][base.pair[base.first]] = base.values["loss"][base.first]
        _compare_rows(base, new, own, floor[low:high])
        _reach_targets(base, new, own, tolerance)
    for name in ("target_steps", "base_target_steps"):
        found[name] = pd.array(np.where(found[name] == NEVER, 0, found[name]), "Int64")
        found[name][np.isnan(found["target"])] = pd.NA
    return found


def _compare_rows(base: Rows, new: Rows, found: Mapping[str, NDArray[Any]], floor: Floats) -> None:
    """Compare checkpoints at the same steps: whether they are equal to the bit, and how far the losses differ."""
    longest = 1 + int(max(base.step.max(initial=0), new.step.max(initial=0)))
    one, other = (rows.pair * longest + rows.step for rows in (base, new))
    _, mine, theirs = np.intersect1d(one, other, assume_unique=True, return_indices=True)
    pair = base.pair[mine]
    differs = np.zeros(len(pair), bool)
    for name in base.values:
        differs |= _bits(base.values[name][mine]) != _bits(new.values[name][theirs])
    count = len(floor)
    both = np.bincount(pair, minlength=count)
    found["curve_equal"][:] &= (both == np.bincount(base.pair, minlength=count)) & (
        np.bincount(pair, differs, minlength=count) == 0
    )
    if len(pair):
        least = floor[pair] * np.abs(found["first_loss"][pair])
        apart = np.abs(relative(base.values["loss"][mine], new.values["loss"][theirs], least))
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        found["curve_difference"][pair[first]] = np.fmax.reduceat(apart, first)


def _reach_targets(base: Rows, new: Rows, found: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    """Find when both reach the losses near the higher one of their best losses; see `compare`."""
    least = [_least(rows, len(found["target"])) for rows in (base, new)]
    worst = np.maximum(*least)
    way = found["first_loss"] - worst
    near = np.where(np.isfinite(way) & (way > 0), tolerance * way, np.nan)
    found["target"][:] = worst + near
    strict = [_passage(rows, worst + near) for rows in (base, new)]
    loose = [_passage(rows, worst + 2 * near) for rows in (base, new)]
    found["base_target_steps"][:], found["target_steps"][:] = strict
    found["late"][:] = ~np.isnan(near) & (loose[1] > strict[0])
    found["early"][:] = ~np.isnan(near) & (loose[0] > strict[1])


def _least(rows: Rows, count: int) -> Floats:
    """Return the least loss of each pair's curve."""
    least = np.full(count, np.nan)
    if len(rows.pair):
        least[rows.pair[rows.first]] = np.fmin.reduceat(rows.values["loss"], rows.first)
    return least


def _passage(rows: Rows, target: Floats) -> NDArray[np.int64]:
    """Return the step of each pair's first checkpoint at or below its target."""
    first = np.full(len(target), NEVER)
    if len(rows.pair):
        steps = np.where(rows.values["loss"] <= target[rows.pair], rows.step, NEVER)
        first[rows.pair[rows.first]] = np.minimum.reduceat(steps, rows.first)
    return first


# --- differences and verdicts -----------------------------------------------------------------------------------------


def relative(base: Floats, new: Floats, least: Floats) -> Floats:
    """Return `(new - base) / max(|new|, |base|)`; where both are below `least` it is 0, and infinite next to NaN."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        size = np.maximum(np.abs(base), np.abs(new))
        apart = np.where((size <= least) | (new == base), 0.0, (new - base) / size)
    apart = np.where(np.isinf(new) & (new != base) & ~np.isnan(base), np.copysign(np.inf, new), apart)
    apart = np.where(np.isinf(base) & (new != base) & ~np.isnan(new), -np.copysign(np.inf, base), apart)
    return np.asarray(np.where(np.isnan(base) & np.isnan(new), 0.0, np.where(np.isnan(apart), np.inf, apart)))


def _differences(pairs: pd.DataFrame, floor: Floats) -> dict[str, Floats]:
    least = np.nan_to_num(floor * np.abs(pairs["first_loss"].to_numpy()))
    values = {name: (pairs[f"base_{name}"].to_numpy(), pairs[name].to_numpy()) for name in ("final_loss", "best_loss")}
    return {f"{name.removesuffix('_loss')}_difference": relative(*values[name], least) for name in values}


def _verdicts(pairs: pd.DataFrame, tolerance: float) -> dict[str, NDArray[Any]]:
    status, before = pairs["status"], pairs["base_status"]
    lost, was_lost = status.isin(LOST).to_numpy(), before.isin(LOST).to_numpy()
    lost_a_race = ((status == "retired") & (before == "retired")).to_numpy()  # both ended where the race ended them
    unfinished = (status.isin(UNFINISHED) | before.isin(UNFINISHED)).to_numpy() & ~lost_a_race
    unknown = unfinished & ~(lost & ~was_lost)
    judged = ~unknown & ~lost & ~was_lost
    final, best = pairs["final_difference"].to_numpy(), pairs["best_difference"].to_numpy()
    late, early = pairs["late"].to_numpy(), pairs["early"].to_numpy()
    worse = {
        "diverged or failed": lost & ~was_lost,
        "final loss higher": judged & (final > tolerance),
        "best loss higher": judged & (best > tolerance),
        "later to the target": judged & late,
    }
    better = {
        "no longer diverged or failed": was_lost & ~lost & ~unknown,
        "final loss lower": judged & (final < -tolerance),
        "best loss lower": judged & (best < -tolerance),
        "earlier at the target": judged & early,
    }
    is_worse, is_better = (np.logical_or.reduce(list(each.values())) for each in (worse, better))
    equal = pairs["outcome_equal"].to_numpy() & pairs["curve_equal"].to_numpy()
    verdict = np.select([unknown, is_worse, is_better, equal], ["unknown", "worse", "better", "equal"], "same")
    reason = np.where(is_worse, _words(worse), np.where(is_better, _words(better), ""))
    return {"verdict": verdict, "reason": np.where(unknown, "not run to its end", reason)}


def _words(reasons: Mapping[str, Flags]) -> NDArray[np.object_]:
    """Return for each pair the reasons that hold."""
    told = np.full(len(next(iter(reasons.values()))), "", object)
    for words, holds in reasons.items():
        told[holds] = np.where(told[holds] == "", words, told[holds] + ", " + words)
    return told


def _equal(pairs: pd.DataFrame, name: str) -> Flags:
    """Return whether an outcome of both trials is the same, of losses to the bit."""
    one, other = pairs[f"base_{name}"].to_numpy(), pairs[name].to_numpy()
    return np.asarray(_bits(one) == _bits(other))


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(np.int64) if values.dtype == np.float64 else values


def _largest(values: "pd.Series[float]") -> float:
    """Return the largest difference in size, with its sign; 0 where there is none."""
    known = values.dropna()
    return float(known.iloc[known.abs().to_numpy().argmax()]) if len(known) else 0.0


def rows_of(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the pairs that got worse, the largest difference first, with the settings that are given."""
    worse = comparison.worse
    order = np.argsort(-np.abs(worse["final_difference"].to_numpy()), kind="stable")
    for row in worse.iloc[order].astype(object).to_dict("records"):
        yield {str(name): None if value is pd.NA or value != value else value for name, value in row.items()}
