"""A unit of work on a landscape: a swarm, configurations of one rule with one schedule and seed, from many starts."""

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.plan.units.methods import numbers_of, variant_of
from fastgd.plan.units.recording import TAIL_STEPS
from fastgd.study.config import LandscapeProblem, Schedule, Stop
from fastgd.study.sub_tables import Search

Array = npt.NDArray[Any]
MOST_LANES_AT_ONCE, MOST_LANE_BYTES_AT_ONCE = 1 << 17, 1 << 30  # in memory
NUMBERS_TO_JUDGE_A_LANE = 30  # by which it is placed in groups, and judged in the end


@dataclass(frozen=True)
class SwarmUnit:
    """A swarm, or a part of one.

    Attributes
    ----------
    problem : int
        The problem's place in the study.
    landscape : LandscapeProblem
        The problem.
    spec : SwarmSpec
        What the engine computes.
    schedule : Schedule
    seed : int
    hyper : ndarray (C, hyper)
        The configurations.
    configurations, ids : list of str (C,)
        Their names, without and with the seed.
    starts : ndarray (S, d)
    lanes : ndarray of int
        Those that are to run: lane `c * S + s` is configuration c from start s.
    steps : int
        The budget.
    checkpoints : ndarray of int
        The steps at which lanes are recorded, the first 0.
    followed : ndarray of int
        The lanes of which every step is recorded.
    search : Search, optional
        What chooses the rate of each step.
    stop : Stop
        What the study says of ending.
    most : float
        How many lanes may be in memory at a time, at most.
    numbered : ndarray of int (S,), optional
        The starts' numbers in the study, where these are some of its starts.
    part_of : tuple of (str, int), optional
        The name and the number of lanes of the swarm that it is a part of.
    saved_after : float
        Seconds of a run after which its state is saved for the first time, to go on from.
    """

    problem: int
    landscape: LandscapeProblem
    spec: SwarmSpec
    schedule: Schedule
    seed: int
    hyper: Array
    configurations: list[str]
    ids: list[str]
    starts: Array
    lanes: Array
    steps: int
    checkpoints: Array
    followed: Array
    search: Search | None = None
    stop: Stop = field(default_factory=Stop)
    most: float = np.inf
    numbered: Array | None = None
    part_of: tuple[str, int] | None = None
    saved_after: float = np.inf

    @property
    def label(self) -> str:
        """The problem's name in the results."""
        return self.landscape.label

    @property
    def width(self) -> int:
        """The number of lanes."""
        return len(self.lanes)

    @property
    def kernel(self) -> str:
        """The name of its kernel, in the results."""
        return self.spec.kernel

    @property
    def kernels(self) -> str:
        """What is compiled for it, in words."""
        variant = f" ({self.spec.rule.variant})" if self.spec.rule.variant else ""
        where = f"{self.spec.landscape.name}, {self.kernel}, {self.spec.dtype}"
        return f"{self.spec.rule.optimizer.name}{variant} on {where}"

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of its trials, each once."""
        return [self.seed]

    @property
    def kind(self) -> str:
        """What its kernels are made for."""
        return "swarm"

    @property
    def count(self) -> int:
        """The number of its trials."""
        return len(self.lanes)

    @property
    def trial_ids(self) -> list[str]:
        """Its configurations."""
        return self.ids

    @property
    def owner(self) -> Hashable:
        """Who takes a turn with it: units of different problems and optimizers run alternately."""
        return self.problem, self.spec.rule.optimizer.name

    @property
    def name(self) -> str:
        """A stable name, of its trials."""
        lanes = np.ascontiguousarray(self.lanes, "<i8").tobytes()
        digest = hashlib.blake2b("".join(self.ids).encode() + lanes, digest_size=6)
        return f"{digest.hexdigest()}-{len(self.lanes)}"

    @property
    def variant(self) -> str:
        """How the method differs from the optimizer's defaults."""
        return variant_of(self.spec.rule, search=self.search)

    @property
    def numbers(self) -> dict[str, Array]:
        """The numeric hyper-parameters (C,) of the configurations, by their columns."""
        return numbers_of(self.spec.rule, self.hyper, self.search)

    @property
    def columns(self) -> dict[str, str | float]:
        """What is the same for all its trials, by the columns of the results."""
        return {
            "problem": self.label,
            "optimizer": self.spec.rule.optimizer.name,
            "variant": self.variant,
            "schedule": self.schedule.label,
            **{f"schedule.{key}": value for key, value in self.schedule.numbers.items()},
            "seed": self.seed,
        }

    @property
    def method(self) -> str:
        """What decides which kernels it calls."""
        spec = self.spec
        land = f"{spec.landscape.name} {spec.landscape.source} {spec.d if spec.d <= 4 else 'many'}"
        search = type(spec.line_search).__name__
        counted = (bool(spec.noise), spec.threshold is not None, bool(spec.scheduled), len(self.followed) > 0)
        return f"{spec.rule!r} on {land}, {spec.kernel}, {spec.dtype}, {search}, {counted}"

    @property
    def end(self) -> int:
        """The step to which its lanes run."""
        return self.steps

    @property
    def flops(self) -> float:
        """Floating-point operations of its steps."""
        return float(len(self.lanes)) * self.steps * self.spec.d * (10 + 8 * self.spec.rule.slots)

    @property
    def padding(self) -> int:
        """The lanes of its groups that hold no trial."""
        return -len(self.lanes) % self.spec.width

    @property
    def bytes_a_lane(self) -> int:
        """Bytes of a lane: its block, what is read of it and when it is made, and what it is judged by."""
        spec, ends = self.spec, 2 + sum(ago <= self.steps for ago in TAIL_STEPS)
        block = spec.numbers * np.dtype(spec.dtype).itemsize + 8 * (spec.rule.numbers + spec.rule.hyper)
        return int(self._places * (block + 8 * (ends * (spec.d + 2) + 2 * spec.d + NUMBERS_TO_JUDGE_A_LANE)))

    @property
    def _places(self) -> float:
        """How many places in groups a lane takes: a configuration that fills one has its own, the last in part."""
        starts, width = len(self.starts), self.spec.width
        return -(-starts // width) * width / starts if starts >= width else 1.0

    @property
    def lanes_at_once(self) -> int:
        """How many lanes are in memory at a time: whole groups."""
        most = int(min(MOST_LANES_AT_ONCE, self.most, MOST_LANE_BYTES_AT_ONCE // self.bytes_a_lane))
        return max(1, most // self.spec.width) * self.spec.width

    @property
    def whole(self) -> tuple[str, int]:
        """The name and the number of lanes of the swarm that it is, or is a part of."""
        return self.part_of or (self.ids[0][:12], len(self.lanes))

    def places(self, lanes: Array) -> tuple[Array, Array]:
        """Return the configuration of each lane, and the row of `starts` that it starts from."""
        which, start = np.divmod(lanes, len(self.starts))
        return which, start

    def number_of(self, start: Array) -> Array:
        """Return the numbers in the study of rows of `starts`."""
        return start if self.numbered is None else self.numbered[start]

    def part(self, lanes: Array) -> "SwarmUnit":
        """Return it with some lanes."""
        followed = np.unique(self.followed[np.isin(self.followed, lanes)])
        return replace(self, lanes=lanes, followed=followed, part_of=self.whole)

    def cut(self, lanes: int) -> "tuple[SwarmUnit, SwarmUnit | None]":
        """Return the first lanes, and all others, if there are any."""
        rest = replace(self, lanes=self.lanes[lanes:], part_of=self.whole) if lanes < len(self.lanes) else None
        return self.part(self.lanes[:lanes]), rest

    def without(self, done: Mapping[str, Array]) -> "SwarmUnit | None":
        """Return what is left of it beside some starts of each configuration; None: nothing."""
        stored = np.zeros((len(self.ids), len(self.starts)), bool)
        for own, name in zip(stored, self.ids, strict=True):
            starts = done.get(name, np.arange(0))
            own[starts[starts < len(own)]] = True  # the study may have had more of them
        lanes = self.lanes[~stored.ravel()[self.lanes]]
        return replace(self, lanes=lanes) if len(lanes) else None

    def only(self, trial: str) -> "SwarmUnit | None":
        """Return it with one trial, "configuration:start", or with all starts of a configuration.

        Raises
        ------
        InputError
            It has the configuration, and not the start.
        """
        name, _, start = trial.partition(":")
        if name not in self.ids:
            return None
        c, S = self.ids.index(name), len(self.starts)
        if start and not (start.isdigit() and int(start) < S):
            raise InputError(f"trial {trial!r}: the starts are 0 to {S - 1}, found {start!r}")
        return self.part(np.array([c * S + int(start)]) if start else np.arange(c * S, (c + 1) * S))

    def select(self, keep: Array) -> "SwarmUnit":
        """Return it with some of its configurations, from all starts."""
        if keep.all():
            return self
        kept = np.flatnonzero(keep)
        configurations, ids = [self.configurations[c] for c in kept], [self.ids[c] for c in kept]
        lanes = np.arange(len(ids) * len(self.starts))
        return replace(self, hyper=self.hyper[keep], configurations=configurations, ids=ids, lanes=lanes)

    def trial_columns(self) -> dict[str, Any]:
        """Return the columns of its configurations: arrays (configurations,), or values of all."""
        return {
            "trial_id": self.ids,
            "configuration": self.configurations,
            **self.columns,
            **self.numbers,
            "starts": np.bincount(self.lanes // len(self.starts), minlength=len(self.ids)),
        }

    def lean(self) -> "SwarmUnit":
        """Return it with the configurations and starts of its own lanes alone: what another process needs of it."""
        which, start = self.places(self.lanes)
        configurations, which = np.unique(which, return_inverse=True)
        starts, start = np.unique(start, return_inverse=True)
        lanes = which * len(starts) + start
        return replace(
            self,
            hyper=self.hyper[configurations],
            configurations=[self.configurations[c] for c in configurations],
            ids=[self.ids[c] for c in configurations],
            starts=self.starts[starts],
            numbered=self.number_of(starts),
            lanes=lanes,
            followed=lanes[np.isin(self.lanes, self.followed)],
            part_of=self.whole,
        )

    def __getstate__(self) -> dict[str, Any]:
        return vars(self.lean())
