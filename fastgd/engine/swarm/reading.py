"""What is read of lanes on a landscape: where they are, the values there, and what their rule keeps."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from fastgd.core.static import Static
from fastgd.core.threads import Threads, call
from fastgd.core.vectors import aligned
from fastgd.engine.swarm.groups import GroupRange, ReadingSpace
from fastgd.engine.swarm.layout import GroupLayout, gather
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.engine.swarm.steps import measure_groups

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reading:
    """What is read of the lanes, each in float64.

    Attributes
    ----------
    positions : ndarray (d, lanes)
        The reported iterates.
    loss, grad_norm : ndarray (lanes,)
        The landscape's value, and the norm of its gradient without noise.
    """

    positions: Array
    loss: Array
    grad_norm: Array

    def of(self, lanes: slice) -> "Reading":
        """Return what is read of some lanes."""
        return Reading(self.positions[:, lanes], self.loss[lanes], self.grad_norm[lanes])


class PointReader:
    """Measures the landscape at points that lie in groups.

    Parameters
    ----------
    spec : SwarmSpec
    threads : Threads
    workers : int
        Threads that share the points.
    """

    def __init__(self, spec: SwarmSpec, threads: Threads, workers: int) -> None:
        self.spec, self._threads, self._workers = spec, threads, workers
        self._landscape, self._shape = Static(spec.landscape), Static(spec.shape.of_points)
        self._land, self._dtype = spec.land, np.dtype(spec.dtype)
        shape, doubles = (spec.d * spec.width,), (spec.width,)
        self._scratch = [
            ReadingSpace(aligned(shape, self._dtype), aligned(doubles, np.float64)) for _ in range(workers)
        ]

    def compile(self) -> None:
        """Compile, or load from the cache, the kernel."""
        points = aligned((1, self.spec.d * self.spec.width), self._dtype)
        arguments = self._arguments(points, np.zeros(2, np.int64), np.empty(1), GroupRange(0, 0), 0)
        measure_groups.compile(tuple(numba.typeof(argument) for argument in arguments))

    def measure(self, points: Array, firsts: Array) -> Array:
        """Return points, values and norms of gradients (d + 2, lanes) in float64.

        points : ndarray (groups, >= d * width)
        firsts : ndarray (groups + 1,) int64
            The lane that is each group's first, and the number of all lanes.
        """
        groups, out = len(points), np.empty((self.spec.d + 2, firsts[-1]))
        cuts = [groups * worker // self._workers for worker in range(self._workers + 1)]
        shares = [GroupRange(*pair) for pair in itertools.pairwise(cuts)]
        self._threads.run(
            [
                call(measure_groups, self._arguments(points, firsts, out.reshape(-1), share, worker))
                for worker, share in enumerate(shares)
            ]
        )
        return out

    def _arguments(self, points: Array, firsts: Array, out: Array, share: GroupRange, worker: int) -> tuple[Any, ...]:
        return (
            self._landscape, self._shape, self._land, points.reshape(-1), points.shape[1], self._scratch[worker],
            firsts, out, share,
        )  # fmt: skip


class Moment(NamedTuple):
    """The arrays of the groups at a moment.

    Attributes
    ----------
    state : ndarray (groups, >= d * width)
        Of each group a row for each coordinate, then what else a lane keeps; see `Groups`.
    memory : ndarray (groups, numbers * width)
    hyper : ndarray (groups, hyper, width)
        The hyper-parameters of the last step.
    """

    state: Array
    memory: Array
    hyper: Array


class LanesView:
    """Lanes as they are at a moment, or at several: one moment's lanes come after another's.

    Reading takes as long for many moments as for one, where lanes are few.

    Parameters
    ----------
    reader : PointReader
    layout : GroupLayout
        How the lanes lie in groups.
    moments : sequence of Moment
    """

    def __init__(self, reader: PointReader, layout: GroupLayout, moments: Sequence[Moment]) -> None:
        self.spec, self._reader = reader.spec, reader
        joined = moments[0] if len(moments) == 1 else Moment(*map(np.concatenate, zip(*moments, strict=True)))
        self._state, self._memory, self._hyper = joined
        self._layout, self._moments = layout, len(moments)

    def __len__(self) -> int:
        return self._moments * len(self._layout.places)

    @property
    def _places(self) -> Array:
        """The lanes' places in the groups."""
        return self._at_all_moments(self._layout.places, self._layout.groups * self.spec.width)

    def _at_all_moments(self, numbers: Array, apart: int) -> Array:
        """Return a moment's numbers, then the next one's, which are so much greater."""
        return (apart * np.arange(self._moments)[:, None] + numbers).ravel()

    def read(self) -> Reading:
        """Return where the lanes are."""
        firsts = np.append(self._at_all_moments(self._layout.firsts[:-1], len(self._layout.places)), len(self))
        rows = self._reader.measure(self._reported() if self.spec.rule.has_readout else self._state, firsts)
        return Reading(rows[:-2], rows[-2], rows[-1])

    def _reported(self) -> Array:
        """The reported iterates (groups, d * width)."""
        W, d, rule = self.spec.width, self.spec.d, self.spec.rule
        blocks = self._state[:, : (1 + rule.slots) * d * W].reshape(-1, 1 + rule.slots, d, W)
        h = rule.instance(dict(zip(rule.fields, self._hyper.transpose(1, 0, 2), strict=True)))
        slots = tuple(blocks[:, 1 + slot].transpose(1, 0, 2) for slot in range(rule.slots))
        out = rule.functions.readout(h, blocks[:, 0].transpose(1, 0, 2), slots)
        return np.ascontiguousarray(np.asarray(out).transpose(1, 0, 2).reshape(len(blocks), -1), self.spec.dtype)

    def rows(self, first: int, count: int) -> Array:
        """Return rows of the groups' blocks (count, lanes) in float64."""
        W = self.spec.width
        return gather(self._state[:, first * W : (first + count) * W], self._places, W).astype(np.float64)

    def positions(self) -> Array:
        """Return the points at which the next gradients are taken (d, lanes)."""
        return self.rows(0, self.spec.d)

    def slots(self) -> Array:
        """Return what the rule keeps for each coordinate (slots, d, lanes)."""
        count = self.spec.rule.slots
        return self.rows(self.spec.d, count * self.spec.d).reshape(count, self.spec.d, len(self))

    def memory(self) -> Array:
        """Return what the rule keeps for each trial (numbers, lanes)."""
        return gather(self._memory, self._places, self.spec.width)

    def hyper(self) -> Array:
        """Return the hyper-parameters of the last step (lanes, hyper)."""
        return gather(self._hyper.reshape(len(self._hyper), -1), self._places, self.spec.width).T
