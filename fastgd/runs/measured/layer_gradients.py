"""Gradients that vanish or explode on their way back through a network: told in the reason of its trial.

What is told is read from the metric `layer_grad_norm`, at the checkpoints where it was recorded.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.numbers import number
from fastgd.plan.units.recording import NORM_COLUMNS

Array = npt.NDArray[Any]
VANISHED = 1e-7  # of the last layer's norm: a layer whose norm is lower has no gradient that counts
FEWEST_VANISHED = 3  # checkpoints in a row, from which on it is told
EXPLODED = 1e7  # times the largest layer's norm at the start: a higher one is told


class LayerGradients:
    """The memory of the norms of each layer's gradient.

    Told are the first span of checkpoints in which a layer's gradient has vanished, and the first checkpoint at which
    one has exploded: at which it is no finite number, or far larger than any layer's was at the start.

    Parameters
    ----------
    lanes, layers : int
    """

    def __init__(self, lanes: int, layers: int) -> None:
        self._row = np.zeros((lanes, layers), np.int64)  # checkpoints in a row at which it has vanished, up to now
        self._since, self._first, self._last = (np.full((lanes, layers), -1) for _ in range(3))  # steps; -1: none
        self._largest = np.zeros(lanes)  # of all layers at the start; 0: not known
        self._exploded_at = np.full(lanes, -1)
        self._exploded = np.zeros((lanes, layers))  # the norms of those that had; 0: they had not

    @property
    def _parts(self) -> dict[str, Array]:
        return {
            "row": self._row,
            "since": self._since,
            "first": self._first,
            "last": self._last,
            "largest": self._largest,
            "exploded_at": self._exploded_at,
            "exploded": self._exploded,
        }

    def state(self) -> dict[str, Array]:
        """Return what is to be saved, of each lane."""
        return self._parts

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from a state that was saved."""
        for name, values in self._parts.items():
            values[:] = state[name]

    def observe(self, lanes: Array, step: int, metrics: Mapping[str, Array]) -> None:
        """Take in a checkpoint's norms, if they are among its metrics, of some lanes."""
        if recorded := [metrics[name] for name in NORM_COLUMNS if name in metrics]:
            norms = np.stack(recorded, axis=1)
            self._observe_vanished(lanes, step, norms)
            self._observe_exploded(lanes, step, norms)

    def _observe_vanished(self, lanes: Array, step: int, norms: Array) -> None:
        last = norms[:, -1:]
        with np.errstate(invalid="ignore"):
            vanished = (norms < VANISHED * last) & np.isfinite(last)
        row = np.where(vanished, self._row[lanes] + 1, 0)
        since = np.where(row == 1, step, self._since[lanes])
        first = self._first[lanes]
        told = (row >= FEWEST_VANISHED) & ((first < 0) | (first == since))
        self._row[lanes], self._since[lanes] = row, since
        self._first[lanes] = np.where(told, since, first)
        self._last[lanes] = np.where(told, step, self._last[lanes])

    def _observe_exploded(self, lanes: Array, step: int, norms: Array) -> None:
        finite = np.isfinite(norms)
        largest, bound = self._largest[lanes], EXPLODED * self._largest[lanes]
        exploded = ~finite | ((norms > bound[:, None]) & (bound > 0)[:, None])
        new = (self._exploded_at[lanes] < 0) & exploded.any(axis=1)
        self._exploded_at[lanes[new]] = step
        self._exploded[lanes[new]] = np.where(exploded, norms, 0.0)[new]
        self._largest[lanes] = np.where(largest > 0, largest, np.where(finite, norms, 0.0).max(axis=1))

    def words(self, lane: int) -> list[str]:
        """Return in sentences what is told of a lane."""
        return [*self._words_of_vanished(lane), *self._words_of_exploded(lane)]

    def _words_of_vanished(self, lane: int) -> Iterable[str]:
        spans: dict[tuple[int, int], list[int]] = {}
        for layer, (first, last) in enumerate(zip(self._first[lane], self._last[lane], strict=True), 1):
            if first >= 0:
                spans.setdefault((int(first), int(last)), []).append(layer)
        if spans:
            where = [f"in {_layers(own)} from step {first} to step {last}" for (first, last), own in spans.items()]
            yield f"the gradient vanished: its norm was under {VANISHED:g} of the last layer's, {_series(where)}"

    def _words_of_exploded(self, lane: int) -> Iterable[str]:
        if (step := self._exploded_at[lane]) < 0:
            return
        layers: dict[str, list[int]] = {}
        for layer, norm in enumerate(self._exploded[lane], 1):
            if norm != 0:
                layers.setdefault(number(float(norm)), []).append(layer)
        grown = _series([f"{norm} in {_layers(own)}" for norm, own in layers.items()])
        start = f" (at the start {number(float(self._largest[lane]))} at most)" if self._largest[lane] > 0 else ""
        yield f"the gradient exploded: at step {step} its norm was {grown}{start}"


def _layers(numbers: list[int]) -> str:
    """Return "layer 1", or "layers 1, 2 and 3"."""
    return f"layer{'s' * (len(numbers) > 1)} {_series([str(number) for number in numbers])}"


def _series(words: list[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
