"""Where the wall time of a run goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("load", "plan", "compile", "train", "evaluate", "store")


class Stopwatch:
    """Attributes every second to exactly one stage, so that the stages add up to the wall time.

    Attributes
    ----------
    seconds : dict
        Seconds by stage, up to the last change of stage.
    """

    def __init__(self, stage: str) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._stage, self._since = stage, time.perf_counter()

    def enter(self, stage: str) -> str:
        """Begin a stage and return the one before."""
        now = time.perf_counter()
        self.seconds[self._stage] += now - self._since
        before, self._stage, self._since = self._stage, stage, now
        return before

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Spend a block's time on a stage."""
        before = self.enter(name)
        try:
            yield
        finally:
            self.enter(before)
