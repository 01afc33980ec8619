"""The race of a study's configurations, `search.halving`: who is in it, and how far everybody runs next.

Where a race stands follows from the study and from what its folder holds, and from nothing else: at every stage the
validation losses there are read back, and judged anew. So a race that was cut short or killed goes on with the same
result, and a study that is changed has a race of its own, in which trials that an earlier one retired may go on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow.dataset as pds

from fastgd.plan.units.rounds import Round
from fastgd.store.contents import Contents
from fastgd.store.schema import UNFINISHED
from fastgd.study.config import Study
from fastgd.study.search_block import Halving

LOST = ("diverged", "failed")


@dataclass(frozen=True)
class Stand:
    """How the races of a study stand.

    Attributes
    ----------
    waiting : dict of str to int
        The trials that are still to run, with the epoch to which they run next.
    retired : dict of str to str
        The trials that have lost, with the reason in words.
    """

    waiting: Mapping[str, int]
    retired: Mapping[str, str]


class Known(Protocol):
    """What is known of trials so far."""

    def is_finished(self, trial: str) -> bool:
        """Whether a trial ended for good."""
        ...

    def loss(self, trial: str, epoch: int) -> float | None:
        """Return the validation loss at an epoch, or where the trial ended before; None: it is not there yet."""
        ...


def stand_of(study: Study, planned: pd.DataFrame, stored: Contents) -> Stand:
    """Return how the races of a study stand, by what a folder holds.

    Parameters
    ----------
    study : Study
        One with `search.halving`.
    planned : pandas.DataFrame
        All trials of the study: `trial_id`, `problem` and `configuration`, in the order of the plan.
    stored : Contents
        What the folder holds.
    """
    assert study.halving is not None
    assert study.epochs is not None
    return standing(study, planned, _Results(stored, study.halving.stages(study.epochs)))


def standing(study: Study, planned: pd.DataFrame, results: Known) -> Stand:
    """Return how the races of a study stand, by what is known of its trials."""
    halving, epochs = study.halving, study.epochs
    assert halving is not None
    assert epochs is not None
    waiting: dict[str, int] = {}
    retired: dict[str, str] = {}
    for _, own in planned.groupby("problem", sort=False):
        racing = {str(name): list(ids) for name, ids in own.groupby("configuration", sort=False)["trial_id"]}
        own_waiting, own_retired = _race(racing, halving, epochs, results)
        waiting |= own_waiting
        retired |= own_retired
    return Stand(waiting, retired)


class _Results:
    """What is stored of trials: how they ended, and their validation losses at some epochs."""

    def __init__(self, stored: Contents, epochs: list[int]) -> None:
        trials = stored.table("trials", columns=["trial_id", "status", "final_validation_loss"]).to_pandas()
        self._ended = dict(zip(trials["trial_id"], trials["status"], strict=True))
        self._final = dict(zip(trials["trial_id"], trials["final_validation_loss"], strict=True))
        wanted = pds.field("epoch").isin([float(epoch) for epoch in epochs])
        curves = stored.table("curves", columns=["trial_id", "epoch", "validation_loss"], filter=wanted).to_pandas()
        keys = zip(curves["trial_id"], curves["epoch"], strict=True)
        self._losses = dict(zip(keys, curves["validation_loss"], strict=True))

    def is_finished(self, trial: str) -> bool:
        """Whether a trial ended for good."""
        return self._ended.get(trial, UNFINISHED[0]) not in UNFINISHED

    def loss(self, trial: str, epoch: int) -> float | None:
        """Return the validation loss at an epoch, or where the trial ended before; None: it is not there yet."""
        found = self._losses.get((trial, float(epoch))) if trial in self._ended else None
        if found is None and self.is_finished(trial):
            found = np.inf if self._ended[trial] in LOST else self._final[trial]
        return None if found is None else np.inf if np.isnan(found) else float(found)


def _race(
    racing: dict[str, list[str]], halving: Halving, epochs: int, results: Known
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the trials of a problem that are still to run, with the epoch to which; and those that have lost.

    `racing`: the trials of each configuration.
    """
    retired: dict[str, str] = {}
    for epoch in halving.stages(epochs):
        if len(racing) == 1:
            break
        losses = {name: [results.loss(trial, epoch) for trial in ids] for name, ids in racing.items()}
        if late := [trial for name, ids in racing.items() for trial in _late(ids, losses[name])]:
            return dict.fromkeys(late, epoch), retired
        means = [float(np.mean([loss for loss in own if loss is not None])) for own in losses.values()]
        names = [list(racing)[place] for place in np.argsort(means, kind="stable")]
        count = ceil(len(names) / halving.factor)
        for place, name in enumerate(names[count:], count + 1):
            reason = f"number {place} of {len(names)} at epoch {epoch} of the race, of which {count} went on"
            retired |= {trial: reason for trial in racing[name] if not results.is_finished(trial)}
        racing = {name: ids for name, ids in racing.items() if name in set(names[:count])}
    left = [trial for ids in racing.values() for trial in ids if not results.is_finished(trial)]
    return dict.fromkeys(left, epochs), retired


def _late(ids: Iterable[str], losses: Iterable[float | None]) -> list[str]:
    return [trial for trial, loss in zip(ids, losses, strict=True) if loss is None]


def rounds_of(study: Study) -> tuple[Round, ...]:
    """Return the rounds of a study's race as they are expected; none, where it has no race."""
    halving, epochs = study.halving, study.epochs
    if halving is None or epochs is None:
        return ()
    ends = [*halving.stages(epochs), epochs]
    return tuple(Round(*pair, halving.factor**-number) for number, pair in enumerate(pairwise([0, *ends])))


def after(rounds: Sequence[Round], epoch: int) -> tuple[Round, ...]:
    """Return the rounds that are left of a race whose trials wait to run to an epoch."""
    left = [each for each in rounds if each.last >= epoch]
    return tuple(each._replace(share=each.share / left[0].share) for each in left)


def race_notes(study: Study) -> list[str]:
    """Return what is to be known of the costs of a study with a race: whose they are."""
    if not (rounds := rounds_of(study)):
        return []
    share = sum(each.share * (each.last - each.first) for each in rounds) / rounds[-1].last
    return [f"search.halving: the race takes some {share:.0%} of the steps of all trials, and its costs are these"]
