"""States of trials that ended or wait, from which others go on: `record.state`, and races.

A file holds the lanes of one unit of work, as a snapshot does, and says whose they are. A lane is found by its course,
which names all that decides its steps but how many they are, or by its trial. The rows until then are committed under
the name of that trial.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgd.store.snapshots import Snapshots, passing_over_bad_ones

COURSES, TRIALS, BUDGET = "state.courses", "state.trials", "state.budget"  # arrays of a file
STEPS = "engine.t"  # an array of any unit's state


@dataclass(frozen=True)
class StateInfo:
    """Whose states a file holds.

    Attributes
    ----------
    name : str
        The file's.
    courses, trials : tuple of str
        Of each lane; "": it has no course; the trial is the first of those that share the lane.
    steps : int
        The steps that they have taken, or of those that ended their budget.
    """

    name: str
    courses: tuple[str, ...]
    trials: tuple[str, ...]
    steps: int


def described(state: Mapping[str, Any], info: StateInfo) -> dict[str, Any]:
    """Return a state with what says whose it is."""
    return {**state, COURSES: np.array(info.courses), TRIALS: np.array(info.trials), BUDGET: np.array(info.steps)}


def infos_of(states: Snapshots) -> list[StateInfo]:
    """Return whose states a folder holds, of those that can be gone on from."""
    return list(_infos(states))


def steps_of(snapshots: Snapshots) -> dict[str, int]:
    """Return the steps that units on their way have taken, by the names of those that can be gone on from."""
    found = {}
    for name in snapshots.names():
        with passing_over_bad_ones(), snapshots.opened(name) as arrays:
            found[name] = int(arrays[STEPS])
    return found


def _infos(states: Snapshots) -> Iterator[StateInfo]:
    for name in states.names():
        with passing_over_bad_ones(), states.opened(name) as arrays:
            yield StateInfo(name, tuple(arrays[COURSES].tolist()), tuple(arrays[TRIALS].tolist()), int(arrays[BUDGET]))


def drop_superseded(states: Snapshots, reached: Mapping[str, float], waiting: Collection[str] = ()) -> None:
    """Delete the states that nothing will go on from.

    Needed are those of trials that wait, and those that have a course, unless there is a later one of the same.

    Parameters
    ----------
    states : Snapshots
    reached : mapping of str to float
        The steps to which trials are stored, infinity for finished ones.
    waiting : collection of str
        The trials that a race goes on with.
    """
    later: set[str] = set()
    for info in sorted(infos_of(states), key=lambda info: -info.steps):
        lanes = zip(info.courses, info.trials, strict=True)
        stored = [(course, trial) for course, trial in lanes if reached.get(trial, -1) >= info.steps]
        own = {name for course, trial in stored for name in (course or trial,) if course or trial in waiting}
        if own <= later:
            states.drop([info.name])
        later |= {name for lane in stored for name in lane}
