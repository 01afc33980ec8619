"""What units at work have in common: they save their state now and then, and when they are interrupted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.engine.rows.cohort import AnyCohort
from fastgd.engine.swarm.lanes import Lanes
from fastgd.plan.plan import Unit
from fastgd.runs.clock import Clock
from fastgd.runs.sinks import Sink

Array = npt.NDArray[Any]


class UnitWork:
    """A unit at work.

    Parameters
    ----------
    unit : CohortUnit or SwarmUnit
    lanes : AnyCohort or Lanes
        What the engine keeps of it.
    trial_ids : sequence of str
    sink : Sink
        Takes its rows and its state.
    clock : Clock

    Attributes
    ----------
    recorded : int
        The last step that was recorded, whose rows the sink has; -1: none.
    """

    def __init__(
        self, unit: Unit, lanes: AnyCohort | Lanes, trial_ids: Sequence[str], sink: Sink, clock: Clock
    ) -> None:
        self.sink, self.clock, self.recorded = sink, clock, -1
        self._lanes, self._name, self._trial_ids, self._checked = lanes, unit.name, trial_ids, -1
        self._before = dict(clock.seconds)

    @property
    def alive(self) -> int:
        """The number of lanes that still run."""
        raise NotImplementedError

    def own_state(self) -> dict[str, Any]:
        """Return what is to be saved beside the engine's state."""
        raise NotImplementedError

    def restore(self, state: dict[str, Array]) -> None:
        """Take over what `own_state` returned."""
        raise NotImplementedError

    def require_right(self) -> None:
        """Raise InputError where what was computed is not to be stored."""

    def spent(self, stage: str) -> float:
        """Return the seconds of a stage that the unit has taken, in this run and in those before."""
        return self.clock.seconds[stage] - self._before[stage]

    def save(self) -> None:
        """Save where the unit is, once its start is recorded."""
        if self.recorded >= 0:
            self.save_as(self._name, self.own_state(), self._lanes.capture())
        self.clock.saved()

    def save_as(self, name: str, own: Mapping[str, Any], engine: Mapping[str, Any], *, cut: bool = False) -> None:
        """Save a state under the name of a unit."""
        self.require_right()
        with self.clock.stage("store"):
            self.sink.save(name, self.packed(own, engine), cut=cut)

    def packed(self, own: Mapping[str, Any], engine: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state as it is saved, with the seconds that it took."""
        seconds = {f"seconds.{stage}": np.array(self.spent(stage)) for stage in self.clock.seconds}
        return {**own, **prefixed("engine", engine), **seconds}

    def go_on(self) -> bool:
        """Go on from where an earlier run saved the unit, with the rows and the seconds until then; False: none did."""
        self.clock.saved()
        state = self.sink.saved(self._name, self._trial_ids)
        if state is None:
            return False
        self.take_over(state, below("engine", state))
        with self.clock.stage("store"):
            self.sink.carry(self._trial_ids, self.recorded)
        return True

    def take_over(self, state: dict[str, Array], engine: Mapping[str, Any]) -> None:
        """Take over a state that was packed, with the seconds that it took."""
        self.restore(state)
        self._lanes.restore(engine)
        self.clock.resumed = self._lanes.t
        self._before = {stage: own - float(state[f"seconds.{stage}"]) for stage, own in self._before.items()}

    def poll(self) -> None:
        """Report; called while lanes are evaluated, which changes no state: an interruption may end the unit here."""
        self.clock.poll(self._lanes.t, self.alive)
        self._end_if_interrupted()

    def check(self) -> None:
        """Report, save the state when that is due, and end where the time is over; called while lanes are trained.

        A step of several kernel calls may be half done here. The state is that of whole steps where the number of
        steps has just changed, so it is saved only then.
        """
        ends, self._checked = self._lanes.t != self._checked, self._lanes.t
        if ends and self.clock.snapshot_due:
            self.save()
        if ends:
            self._end_if_interrupted()
        self.clock.check(self._lanes.t, self.alive)

    def _end_if_interrupted(self) -> None:
        if self.clock.interruption:
            self.save()
            self.clock.interruption.deliver()


def prefixed(name: str, state: Mapping[str, Any]) -> dict[str, Array]:
    """Return a part of a state under its name."""
    return {f"{name}.{key}": np.asarray(values) for key, values in state.items()}


def below(name: str, state: Mapping[str, Array]) -> dict[str, Array]:
    """Return the part of a state that stands under a name."""
    return {key.removeprefix(f"{name}."): values for key, values in state.items() if key.startswith(f"{name}.")}
