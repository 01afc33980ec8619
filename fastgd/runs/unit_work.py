"""What units at work have in common: they save their state now and then, and when they are interrupted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.plan.plan import Unit
from fastgd.runs.clock import Clock
from fastgd.runs.sinks import Sink

Array = npt.NDArray[Any]


class UnitWork:
    """A unit at work.

    Parameters
    ----------
    unit : CohortUnit or SwarmUnit
    sink : Sink
        Takes its rows and its state.
    clock : Clock
    """

    def __init__(self, unit: Unit, sink: Sink, clock: Clock) -> None:
        self.sink, self.clock = sink, clock
        self._name, self._checked = unit.name, -1
        self._before = dict(clock.seconds)

    @property
    def t(self) -> int:
        """Steps taken."""
        raise NotImplementedError

    @property
    def alive(self) -> int:
        """The number of lanes that still run."""
        raise NotImplementedError

    def state(self) -> dict[str, Any] | None:
        """Return what is to be saved; None: nothing yet."""
        raise NotImplementedError

    def spent(self, stage: str) -> float:
        """Return the seconds of a stage that the unit has taken, in this run and in those before."""
        return self.clock.seconds[stage] - self._before[stage]

    def save(self) -> None:
        """Save where the unit is."""
        if (state := self.state()) is not None:
            seconds = {f"seconds.{stage}": np.array(self.spent(stage)) for stage in self.clock.seconds}
            with self.clock.stage("store"):
                self.sink.save(self._name, state | seconds)
        self.clock.saved()

    def add_seconds(self, state: Mapping[str, Array]) -> None:
        """Count the seconds of the run that saved a state, from which this one goes on."""
        self.clock.resumed = self.t
        self._before = {stage: own - float(state[f"seconds.{stage}"]) for stage, own in self._before.items()}

    def poll(self) -> None:
        """Report; called while lanes are evaluated, which changes no state: an interruption may end the unit here."""
        self.clock.poll(self.t, self.alive)
        self._end_if_interrupted()

    def check(self) -> None:
        """Report, save the state when that is due, and end where the time is over; called while lanes are trained.

        A step may be under way: only where `t` has just changed is the state that after a step.
        """
        ends, self._checked = self.t != self._checked, self.t
        if ends and self.clock.snapshot_due:
            self.save()
        if ends:
            self._end_if_interrupted()
        self.clock.check(self.t, self.alive)

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
