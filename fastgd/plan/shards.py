"""Shards: which part of a study a machine takes that never talks to the others, as in a batch queue.

The parts are a function of the study and its data alone: not of what is stored, nor of threads, nor of the machine.
So costs are operations, and not seconds, and shares are made of lanes in the order of the plan, wherever the memory for
their tiles has cut cohorts. A lane keeps the kernel that it has in the whole study, and with it its bits.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from math import ceil
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from fastgd.common.errors import InputError
from fastgd.datasets import Data
from fastgd.plan.units.cohort import CohortUnit
from fastgd.plan.units.swarm import SwarmUnit
from fastgd.study.config import Study

Unit: TypeAlias = CohortUnit | SwarmUnit
GRAIN = 64  # lanes that stay together: the widest tile
PIECES = 8  # make a shard's fair share, where there are lanes enough: no shard has an eighth more than that
MOST_SHARDS = 100_000


class Shard(NamedTuple):
    """One of the parts of a study, `number` of `of`, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """Its name in that of a folder: names sort as numbers do."""
        return f"shard-{self.number:0{len(str(self.of))}}-of-{self.of}"

    @classmethod
    def read(cls, given: Any) -> Self:
        """Return the shard that is meant by "3/16", or by (3, 16).

        Raises
        ------
        InputError
            It is none.
        """
        parts = given.split("/") if isinstance(given, str) else list(given) if isinstance(given, tuple | list) else []
        whole = [int(part) for part in map(str, parts) if part.isascii() and part.isdigit() and len(part) < 10]
        if not (len(parts) == len(whole) == 2 and 1 <= whole[0] <= whole[1] <= MOST_SHARDS):
            found = given if isinstance(given, str) else repr(given)
            raise InputError(
                f"shard: must be K/N, the K-th of N parts, with 1 <= K <= N <= {MOST_SHARDS:,}, such as 3/16; "
                f"found {found}"
            )
        return cls(*whole)


class _Piece(NamedTuple):
    """Lanes that one shard takes: from `first` to before `end`, of those of all units one after another."""

    first: int
    end: int
    cost: int


def share_of(units: Sequence[Unit], shard: Shard, *, whole_problems: bool = False) -> list[Unit]:
    """Return what a shard takes of the units of a plan: as much as the others take, to about a piece.

    The largest piece goes to the shard with the least, and so on; of several the first. So pieces of one cohort are
    dealt out to several shards, and what operations do not tell of the time that they take is shared out, too.

    Parameters
    ----------
    units : sequence of CohortUnit, or of SwarmUnit
        All of the plan.
    shard : Shard
    whole_problems : bool
        Whether all trials of a problem stay together, as those of a race do.
    """
    offsets = np.cumsum([0, *(unit.width for unit in units)])
    costs = [_lane_cost(unit) for unit in units]
    total = sum(cost * unit.width for cost, unit in zip(costs, units, strict=True))
    cut = _problems(units, offsets, costs) if whole_problems else _cut(units, offsets, costs, total / shard.of / PIECES)
    loads = [(0, number) for number in range(1, shard.of + 1)]
    own = np.zeros(offsets[-1], bool)
    for piece in sorted(cut, key=lambda piece: -piece.cost):
        load, number = heapq.heappop(loads)
        heapq.heappush(loads, (load + piece.cost, number))
        if number == shard.number:
            own[piece.first : piece.end] = True
    kept = (own[first:end] for first, end in pairwise(offsets))
    return [_of(unit, keep) for unit, keep in zip(units, kept, strict=True) if keep.any()]


def _lane_cost(unit: Unit) -> int:
    """Return the operations of a lane, rounded such that they do not depend on how many lanes its unit has."""
    return max(1, int(float(f"{unit.flops / unit.width:.6g}")))


def _of(unit: Unit, keep: Any) -> Unit:
    """Return a unit with some of its lanes."""
    if keep.all():
        return unit
    return unit.part(unit.lanes[keep]) if isinstance(unit, SwarmUnit) else unit.select(keep)


def _cut(units: Sequence[Unit], offsets: Any, costs: Sequence[int], most: float) -> Iterator[_Piece]:
    """Yield all lanes in pieces that cost no more than `most`, but for those of `GRAIN` lanes.

    Neighbours that share a pass are one row of lanes here, wherever they are cut.
    """
    places = range(len(units))
    for _, group in groupby(places, key=lambda place: _shares_a_pass(units[place])):
        own = list(group)
        first, end = int(offsets[own[0]]), int(offsets[own[-1] + 1])
        cost = max(costs[place] for place in own)
        grains = ceil((end - first) / GRAIN)
        count = min(grains, max(1, ceil(cost * (end - first) / most)))
        bounds = [min(end, first + GRAIN * (number * grains // count)) for number in range(count + 1)]
        for begin, stop in pairwise(bounds):
            yield _Piece(begin, stop, cost * (stop - begin))


def _shares_a_pass(unit: Unit) -> tuple[Any, ...]:
    batch_size = unit.spec.batch_size if isinstance(unit, CohortUnit) else 0
    return *(unit.problem, repr(unit.spec.rule), batch_size), *unit.all_seeds


def _problems(units: Sequence[Unit], offsets: Any, costs: Sequence[int]) -> Iterator[_Piece]:
    """Yield the lanes of each problem, with all of its splits."""
    for _, group in groupby(range(len(units)), key=lambda place: units[place].label):
        own = list(group)
        cost = sum(costs[place] * units[place].width for place in own)
        yield _Piece(int(offsets[own[0]]), int(offsets[own[-1] + 1]), cost)


def require_told_source(study: Study, data: Sequence[Data]) -> None:
    """Refuse rows that stream because the memory of this machine does not hold them.

    Where others have more, they would visit them in another order.
    """
    for (_, problem), rows in zip(study.splits, data, strict=True):
        if problem.source == "auto" and rows.origin == "stream" and study.order == "shuffle":
            raise InputError(
                f"{rows.dataset}: its rows stream here, and may not on machines with more memory, where "
                'order = "shuffle" is another one: say source = "stream", or order = "blocks", for all shards'
            )


def left_to_merged(study: Study) -> list[str]:
    """Return what of a study no shard computes: the study's run in the merged folder does, which has all trials."""
    found = ["the error surfaces"] if study.landscapes or study.surface is not None else []
    if study.record.parameters == "best" and not study.landscapes:
        found.append('the parameters of the best trials (record.parameters = "best"), which run again for them')
    if study.reference is not None and study.reference.optimum:
        found.append("the minima of reference.optimum")
    return [f"no shard computes {what}: that is left to the study's run in the merged folder" for what in found]
