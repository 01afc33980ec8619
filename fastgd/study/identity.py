"""A trial's name: a hash of all that decides its numbers, and of nothing else."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgd.engine.spec import CohortSpec
from fastgd.study.config import Problem, Schedule, Study

LATER = ("eps_hat",)  # choices that older trials were made without


def trial_ids(
    study: Study,
    problem: Problem,
    fingerprint: str,
    spec: CohortSpec,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
) -> list[list[str]]:
    """Return the ids of each lane's trials, one for each seed.

    No name, path, version, thread or machine is in them: a study that is extended finds its trials again.

    Parameters
    ----------
    study, problem
        What the trials share.
    fingerprint : str
        Of the data, as prepared.
    spec : CohortSpec
        Rule, batch size and loss, and each lane's values.
    schedules : sequence of Schedule
        Each lane's.
    seeds : sequence of int
    """
    prefixes = [_digest(json.dumps([_shared(study, problem, fingerprint, spec), seed])) for seed in seeds]
    distinct = {id(schedule): schedule for schedule in schedules}
    named = {key: json.dumps(schedule.model_dump(), sort_keys=True).encode() for key, schedule in distinct.items()}
    values = np.ascontiguousarray(np.column_stack([spec.hyper, spec.l2]), dtype="<f8")

    def identify(prefix: Any, row: bytes, schedule: bytes) -> str:
        digest = prefix.copy()
        digest.update(row)
        digest.update(schedule)
        return str(digest.hexdigest())

    return [
        [identify(prefix, row.tobytes(), named[id(schedule)]) for prefix in prefixes]
        for row, schedule in zip(values, schedules, strict=True)
    ]


def _digest(text: str) -> Any:
    return hashlib.blake2b(text.encode(), digest_size=10)


def _shared(study: Study, problem: Problem, fingerprint: str, spec: CohortSpec) -> dict[str, Any]:
    optimizer = spec.rule.optimizer
    return _added(spec) | {
        "data": fingerprint,
        "loss": problem.loss,
        "intercept": problem.intercept,
        "optimizer": [optimizer.name, _choices(spec), list(optimizer.hyper)],
        "source": optimizer.source if optimizer.foreign else None,  # a user's edited rule is another rule
        "batch_size": spec.batch_size,
        "dtype": study.dtype,
        "layout": "sparse" if spec.kernel.sparse else "dense",
        "sparse": problem.sparse if spec.kernel.sparse else None,
        "order": study.order,
        "init": study.init,
        "budget": [study.epochs, study.steps],
        "stop": study.stop.model_dump(),
        "record": study.record.model_dump(),
    }


def _choices(spec: CohortSpec) -> list[tuple[str, Any]]:
    """The rule's choices; those that came later only where they are not the default."""
    return [(name, value) for name, value in spec.rule.choices if value or name not in LATER]


def _added(spec: CohortSpec) -> dict[str, Any]:
    """What is there only where it is used: the names of trials without it stay as they are."""
    added: dict[str, Any] = {}
    if spec.loss.foreign:  # a user's edited loss is another loss
        added["loss_source"] = spec.loss.source
    if spec.rule.options:
        added["options"] = spec.rule.options
    if spec.estimator != "none":
        added["estimator"] = spec.estimator
    if spec.line_search is not None:
        added["line_search"] = [type(spec.line_search).__name__, spec.line_search._asdict()]
    return added
