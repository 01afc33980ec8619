"""States at the ends of finished trials, from which longer trials go on: `record.state`.

A file holds the lanes of one unit of work, as a snapshot does, and says whose they are. A lane is found by its course,
which names all that decides its steps but how many they are. The rows until then are committed under the name of the
trial that ended.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgd.store.snapshots import UNREADABLE, Snapshots

COURSES, TRIALS, BUDGET = "state.courses", "state.trials", "state.budget"  # arrays of a file


@dataclass(frozen=True)
class StateInfo:
    """Whose states a file holds.

    Attributes
    ----------
    name : str
        The file's.
    courses, trials : tuple of str
        Of each lane; a trial is one of those that share the lane.
    steps : int
        The budget that these trials had.
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


def _infos(states: Snapshots) -> Iterator[StateInfo]:
    for name in states.names():
        with suppress(*UNREADABLE), states.opened(name) as arrays:
            yield StateInfo(name, tuple(arrays[COURSES].tolist()), tuple(arrays[TRIALS].tolist()), int(arrays[BUDGET]))


def drop_superseded(states: Snapshots, stored: Collection[str]) -> None:
    """Delete the states that nothing will go on from: their trials are not stored, or longer ones have states too."""
    longer: set[str] = set()
    for info in sorted(infos_of(states), key=lambda info: -info.steps):
        if not set(info.trials) & set(stored) or longer.issuperset(info.courses):
            states.drop([info.name])
        else:
            longer |= set(info.courses)
