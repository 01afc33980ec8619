"""A trial's name: a hash of all that decides its numbers, and of nothing else.

No name, path, version, thread or machine is in it, so a study that is extended finds its trials again. Numbers count to
12 significant digits: `0.1 + 0.2` and `0.3` name one trial.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.errors import InputError
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.shapes import SUMMED_LINES, sparse_sums
from fastgd.engine.swarm.spec import SwarmSpec
from fastgd.optimizers.coasting import Coast
from fastgd.optimizers.rule import Rule
from fastgd.study.config import LandscapeProblem, Problem, Schedule, Study
from fastgd.study.models import BEST_ITERATE
from fastgd.user_code.sources import check_unchanged, functions_of

Array = npt.NDArray[Any]

ID_VERSION = 2  # of what is hashed: it changes with the schema of the results, and then all names do
SIGNIFICANT_DIGITS = 12  # to which numbers are told apart
WHOLE_NUMBERS_BELOW = 2**53  # this, float64 has every whole number


def canonical(value: Any) -> Any:
    """Return a value in the one form in which it is hashed: plain, with numbers rounded to `SIGNIFICANT_DIGITS`."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind == "i":
        return value.tolist()
    if isinstance(value, np.ndarray):
        return [canonical(each) for each in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): canonical(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(each) for each in value]
    if isinstance(value, float):
        return _rounded(value)
    return value


def _rounded(value: float) -> float | int | str:
    if not math.isfinite(value):
        return str(value)
    rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < WHOLE_NUMBERS_BELOW else rounded


def digest(*values: Any) -> Any:
    """Return the hash of a value, or of a list of several values; more bytes can be added to it."""
    texts = [value if isinstance(value, Written) else written(value) for value in values]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return hashlib.blake2b(f"[{ID_VERSION}, {text}]".encode(), digest_size=10)


class Written(str):
    """The text that is hashed of a value: it is written once for many hashes."""


def written(value: Any) -> Written:
    """Return the text that is hashed of a value, in its canonical form."""
    if isinstance(value, Mapping):
        return Written("{" + ", ".join(f"{json.dumps(str(key))}: {written(value[key])}" for key in sorted(value)) + "}")
    if isinstance(value, np.ndarray) and value.dtype.kind == "i" and not value.flags.writeable:
        return _written_once(value.tobytes(), value.dtype)
    return Written(json.dumps(canonical(value), sort_keys=True))


@lru_cache(4)
def _written_once(numbers: bytes, dtype: np.dtype[Any]) -> Written:
    """Return the text of whole numbers that many values share: to write a million checkpoints takes a while."""
    return Written(json.dumps(np.frombuffer(numbers, dtype).tolist()))


def rows_of(values: Array) -> list[bytes]:
    """Return each row (k,) of numbers (G, k) as what is hashed of it."""
    distinct, places = np.unique(np.asarray(values, np.float64), return_inverse=True)
    rounded = np.array([float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in distinct]) + 0.0  # no negative zero
    return [row.tobytes() for row in np.ascontiguousarray(rounded[places].reshape(np.shape(values)), dtype="<f8")]


def names(rows: Sequence[bytes], *shared: Any) -> list[str]:
    """Return a name for each row, beside what all of them share."""
    prefix = digest(*shared)
    found = []
    for row in rows:
        own = prefix.copy()
        own.update(row)
        found.append(str(own.hexdigest()))
    return found


# --- what decides a trial's numbers -----------------------------------------------------------------------------------


def cohort_ids(
    study: Study,
    problem: Problem,
    fingerprint: str,
    n: int,
    spec: CohortSpec,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    steps: int,
    checkpoints: Array,
    of_first: Mapping[str, Any],
) -> tuple[list[str], list[list[str]]]:
    """Return the names of each lane's configuration, and of its trials, one for each seed.

    A configuration is all that its trials share: what rankings take the median over. A trial has, besides, a seed, a
    split of the rows, and the kernel that gives its bits, as far as these depend on the lanes around it.

    Parameters
    ----------
    study, problem
        What the trials share.
    fingerprint : str
        Of the data, as prepared.
    n : int
        Their training rows.
    spec : CohortSpec
        Rule, batch size and loss, and each lane's values.
    schedules : sequence of Schedule
        Each lane's.
    seeds : sequence of int
    steps : int
        The budget.
    checkpoints : ndarray of int
    of_first : dict
        What is otherwise for the first split of the same rows, which names the configurations of all: its data, and
        what follows from how many rows train.
    """
    common = _of_data(study, problem, fingerprint, n, spec) | {"steps": steps, "checkpoints": checkpoints}
    shared, rows = written(common), _rows_of_lanes(spec, schedules)
    by_seed = [names(rows, shared, bits_of(spec, study.dtype), seed) for seed in seeds]
    return names(rows, written(common | dict(of_first))), [list(ids) for ids in zip(*by_seed, strict=True)]


def course_names(
    study: Study, problem: Problem, fingerprint: str, n: int, spec: CohortSpec, schedules: Sequence[Schedule], seed: int
) -> list[str]:
    """Return a name of each lane in which its budget is not: trials of any length share it (`plan.budgets.courses`).

    Parameters
    ----------
    study, problem, n, spec, schedules
        As for `cohort_ids`.
    fingerprint : str
        Of the data, as prepared.
    seed : int
    """
    shared = written(_of_data(study, problem, fingerprint, n, spec) | {"course": True})
    return names(_rows_of_lanes(spec, schedules), shared, bits_of(spec, study.dtype), seed)


def _rows_of_lanes(spec: CohortSpec, schedules: Sequence[Schedule]) -> list[bytes]:
    """Return what is hashed of each lane: its numbers and its schedule."""
    distinct = {id(schedule): schedule for schedule in schedules}
    named = {key: digest(schedule.model_dump()).digest() for key, schedule in distinct.items()}
    values = rows_of(np.column_stack([spec.hyper, spec.l2]))
    return [row + named[id(schedule)] for row, schedule in zip(values, schedules, strict=True)]


def swarm_ids(
    study: Study,
    problem: LandscapeProblem,
    origin: str,
    spec: SwarmSpec,
    schedule: Schedule,
    hyper: Array,
    seed: int,
) -> tuple[list[str], list[str]]:
    """Return the names of configurations on a landscape, without and with the seed, where anything is drawn by it.

    Parameters
    ----------
    study, problem, spec, schedule
        What they share.
    origin : str
        What the starts are: see `fastgd.plan.starts.fingerprint`.
    hyper : ndarray (C, hyper)
        The configurations.
    seed : int
    """
    shared, rows = _of_landscape(study, problem, origin, spec, schedule), rows_of(hyper)
    drawn = [seed] if problem.noise or spec.rule.optimizer.drawn else []
    return names(rows, shared), names(rows, shared, drawn)


def shuffled_as(order: str) -> bool | str:
    """Return how names tell an order of the rows: two had a name before there were others."""
    return {"shuffle": True, "sequential": False}.get(order, order)


def bits_of(spec: CohortSpec, dtype: str) -> list[Any]:
    """Return what decides a lane's bits beside its own numbers, and may depend on the other lanes of its cohort."""
    coast, family = spec.untouched, spec.kernel.family
    if spec.kernel.sparse and not spec.kernel.network:
        sums = sparse_sums(spec.kernel.lanes, np.dtype(dtype).itemsize)
        family += "" if sums == SUMMED_LINES else f", {sums} sums"
    family += ", added" if spec.adds_rows else ""
    if not isinstance(coast, Coast):
        return [family, coast if spec.kernel.sparse else None]
    powers = ["framed" if coast.framed else "powers"] if coast.steady else []
    return [family, coast.entries, coast.ones, coast.shared, coast.horizon, spec.window, *powers]


def rule_of(rule: Rule) -> list[Any]:
    """Return what decides a rule's steps, beside its numbers; an edited rule of a user's own is another rule."""
    optimizer = rule.optimizer
    source = None
    if optimizer.foreign:
        check_unchanged(functions_of(optimizer.cls))
        source = [optimizer.source, optimizer.memory]
    return [optimizer.name, source, rule.choices, list(rule.fields), rule.options]


def _of_data(study: Study, problem: Problem, fingerprint: str, n: int, spec: CohortSpec) -> dict[str, Any]:
    search, rows = spec.line_search, study.record.rows
    if spec.loss.foreign:
        check_unchanged((spec.loss.value, spec.loss.derivative))
    return {
        "data": fingerprint,
        "loss": [problem.loss, spec.loss.source] if spec.loss.foreign else problem.loss,  # an edited one is another
        "intercept": problem.intercept,
        "rule": rule_of(spec.rule),
        "estimator": spec.estimator,
        "line_search": _search_of(search),
        "batch_size": spec.batch_size,
        "shuffled": shuffled_as(spec.order),
        "dtype": study.dtype,
        "layout": "sparse" if spec.kernel.sparse else "dense",
        "sparse": problem.sparse if spec.kernel.sparse else None,
        "init": study.init,
        "stop": study.stop.model_dump(),
        "metrics": study.record.metrics,
        "rows": rows if rows is not None and rows < n else None,  # more are all of them
        # what is stored as its parameters is another number
        **({"parameters": BEST_ITERATE} if study.record.parameters == BEST_ITERATE else {}),
        **_of_network(problem, spec),
    }


def _of_network(problem: Problem, spec: CohortSpec) -> dict[str, Any]:
    """Return what decides a network's numbers; a linear model is named without it."""
    if not problem.layered:
        return {}
    return {"network": problem.network.model_dump() if problem.network else None, "start": spec.init}


def _of_landscape(
    study: Study, problem: LandscapeProblem, origin: str, spec: SwarmSpec, schedule: Schedule
) -> dict[str, Any]:
    landscape = spec.landscape
    if landscape.foreign:
        check_unchanged(landscape.helpers)
    return {
        "landscape": [landscape.name, landscape.source if landscape.foreign else None, problem.params],
        "gradient": problem.gradient,
        "domain": spec.box,
        "noise": problem.noise,
        "tolerance": problem.tolerance,
        "minima": problem.minima,
        "starts": origin,
        "rule": rule_of(spec.rule),
        "schedule": schedule.model_dump(),
        "search": _search_of(spec.line_search),
        "dtype": study.dtype,
        "steps": study.steps,
        "diverge": study.stop.diverge,
        "record": [study.record.every, study.record.trajectories],
    }


def _search_of(search: Any) -> list[Any] | None:
    return None if search is None else [type(search).__name__, search._asdict()]


def first_seen(names: Sequence[str], problem: int, label: str, seen: dict[str, int]) -> Array:
    """Return which names are new: grids may overlap, and a trial runs once; `seen`: the problems of those before.

    Raises
    ------
    InputError
        A problem has trials of another one: under two names they would be two results that are one.
    """
    new = np.zeros(len(names), bool)
    for place, name in enumerate(names):  # one by one: a list may hold a number twice, but for its last digits
        new[place] = name not in seen
        if (other := seen.setdefault(name, problem)) != problem:
            raise InputError(
                f"problem.{problem} ({label!r}) repeats trials of problem.{other}: the same data, objective and l2 "
                "under another name; leave one of them out"
            )
    return new
