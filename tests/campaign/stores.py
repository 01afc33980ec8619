"""Stores of objects that can no longer be reached, at any request of a run that changes them."""

from pathlib import Path

import numpy as np
import object_store
from object_store import BUCKET, MortalStore

import fastgd
from campaign.attack import Attack, Found
from campaign.folders import STUDIES, finished, outcome, problems, run
from fastgd.common.folders import expanded
from fastgd.store.disk import object_lock

IN_A_ROW = 6  # deaths in one folder's runs, before a run is left to end


def deaths(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Let the store die in the runs of a study again and again, look at what is left, and let one end."""
    failures, died, made = [], 0, 0
    settle, object_lock.SETTLE_SECONDS = object_lock.SETTLE_SECONDS, 0.0
    changes = {name: _changes(name) for name in STUDIES}
    while died < tries:
        object_store.empty()
        name, place = str(random.choice(list(STUDIES))), expanded(f"{BUCKET}/folder-{made}")
        made, before, points = made + 1, set(), []
        for _ in range(min(IN_A_ROW, tries - died)):
            points.append(int(random.integers(changes[name])))
            MortalStore.changes, MortalStore.dies_at = 0, points[-1]
            wrong = outcome(lambda: run(name, place) or "")  # noqa: B023
            died += MortalStore.dead
            object_store.revive()
            stored = _stored(name, place)
            if wrong or before - stored:
                failures.append(f"{name}, dead before the changes {points}: {wrong or 'committed trials are lost'}")
            before = stored
        wrong = outcome(lambda: run(name, place) or problems(place, name, finished(name)[1]))  # noqa: B023
        if wrong:
            failures.append(f"{name}, dead before the changes {points}: in the end {wrong}")
    object_lock.SETTLE_SECONDS = settle
    return Found(died, failures)


def _changes(name: str) -> int:
    """Return how often an undisturbed run changes a store."""
    object_store.empty()
    run(name, expanded(f"{BUCKET}/whole"))
    return MortalStore.changes


def _stored(name: str, place: Path) -> set[str]:
    if not (place / "manifest.json").exists():
        return set()
    results = fastgd.load(place)
    kinds = (results.trials, results.curves) if name == "data" else (results.trials,)
    trials, *curves = [set(frame["trial_id"].astype(str)) for frame in kinds]
    assert curves in ([], [trials]), "the trials part comes last"
    return trials


ATTACK = Attack(
    "object stores",
    "Where a store can no longer be reached, at any change to it, committed trials stand, and a later run ends with "
    "the same bits; no temporary object stays",
    "tests/test_remote.py",
    deaths,
    tries=200,
    few=6,
    beyond="stores that lose what they have confirmed; [two writers](#object-stores) of which one sleeps",
)
