"""`fastgd list`: shows the registries, as tables or as JSON."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from rich.table import Table

from fastgd.cli.output.consoles import table
from fastgd.common.numbers import number

Rows = Iterable[dict[str, Any]]
LINK = re.compile(r"\[([^]]+)\]\(([^)#]+)[^)]*\)")  # a link of Markdown: its text, and the page that it leads to


def records(kind: str) -> list[dict[str, Any]]:
    """Return the records of a registry as plain values, in the registry's order."""
    return list(_KINDS[kind][0]())


def listing(kind: str) -> Table:
    """Return the table of a registry."""
    rows = records(kind)
    columns = [key for key in rows[0] if key not in _KINDS[kind][1]]
    texts = [key for key in columns if not all(isinstance(row[key], int | None) for row in rows)]
    cells = ([_LANDSCAPE_CELLS.get(key, _cell)(row[key]) for key in columns] for row in rows)
    return table(kind, columns, cells, texts)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(key if item is None else f"{key}={_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:,}" if isinstance(value, int) else str(value).replace("`", "")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(_plain, value))
    if isinstance(value, float):
        return number(value, 6)
    return str(value).lower() if isinstance(value, bool) else str(value)


_LANDSCAPE_CELLS: dict[str, Callable[[Any], str]] = {
    "dimension": lambda ends: " to ".join(f"{end:,}" for end in ends),
    "domain": lambda pairs: ", ".join(f"[{low:g}, {high:g}]" for low, high in pairs),
}


def _optimizers() -> Rows:
    from fastgd.optimizers import OPTIMIZERS

    for record in OPTIMIZERS.values():
        yield {
            "name": record.name,
            "family": record.family,
            "summary": record.summary,
            "hyper_parameters": dict(record.hyper),
            "options": {key: list(values) for key, values in record.options.items()},
            "slots": list(record.slots),
            "bytes_a_parameter": 8 * (1 + len(record.slots)),
            "lazy": list(dict.fromkeys(record.lazy)),
            "witness": record.witness,
            "reference": record.reference,
        }


def _options() -> Rows:
    """Return the options, line searches and estimators that an optimizer's block may name besides the rule's keys."""
    from fastgd.optimizers.estimators import ESTIMATORS
    from fastgd.optimizers.line_search import LINE_SEARCHES
    from fastgd.optimizers.options import OPTIONS

    around: list[Any] = [(option.table, option.kind, dict(option.hyper), option) for option in OPTIONS.values()]
    searches: list[Any] = [("line_search", s.name, dict(s.fields), s) for s in LINE_SEARCHES.values()]
    estimators: list[Any] = [("estimator", estimator.name, {}, estimator) for estimator in ESTIMATORS.values()]
    for key, kind, keys, record in (*around, *searches, *estimators):
        yield {
            "key": key,
            "kind": kind,
            "keys": keys,
            "summary": record.summary,
            "witness": record.witness,
            "reference": record.reference,
        }


def _baselines() -> Rows:
    from fastgd.optimizers import BASELINES

    for record in BASELINES.values():
        yield {
            "name": record.name,
            "summary": record.summary,
            "keys": dict(record.hyper),
            "points": "drawn for each seed" if record.drawn else "the same for all seeds",
            "reference": record.reference,
        }


def _schedules() -> Rows:
    from fastgd.schedules import SCHEDULES

    for record in SCHEDULES.values():
        yield {
            "name": record.name,
            "summary": record.summary,
            "keys": dict(record.params),
            "exactly_one_of": list(record.one_of),
            "per": record.per,
            "witness": record.witness,
            "reference": record.reference,
        }


def _losses() -> Rows:
    from fastgd.problems import CLASS_LOSSES, LOSSES

    targets = {
        "binary": "two classes: 0 and 1, -1 and 1, or one label against the others (positive)",
        "unit": "numbers from 0 to 1, or two classes",
        "real": "any numbers",
        "count": "numbers that are not negative",
        "classes": "labels of any kind, each of which is a class",
    }
    losses = (*LOSSES.values(), *CLASS_LOSSES.values())
    return [{"name": loss.name, "summary": loss.summary, "targets": targets[loss.targets]} for loss in losses]


def _activations() -> Rows:
    from fastgd.problems.activations import ACTIVATIONS

    return [{"name": each.name, "summary": each.summary, "start": each.start} for each in ACTIVATIONS.values()]


def _starts() -> Rows:
    from fastgd.problems.starts import STARTS

    return [{"name": each.name, "weights": each.summary} for each in STARTS.values()]


def _landscapes() -> Rows:
    from fastgd.problems import LANDSCAPES

    for record in LANDSCAPES.values():
        yield {
            "name": record.name,
            "summary": record.summary,
            "dimension": list(dict.fromkeys(record.dimension)),
            "domain": [list(pair) for pair in record.domain],
            "start": list(record.customary_start),
            "parameters": {key: list(v) if isinstance(v, tuple) else v for key, v in record.parameters.items()},
            "reference": record.reference,
        }


def _datasets() -> Rows:
    from fastgd.datasets import DATASETS

    keys = ("name", "task", "rows", "columns", "target", "summary", "source")
    return [{key: getattr(record, key) for key in keys} for record in DATASETS.values()]


def _metrics() -> Rows:
    from fastgd.study.fields import METRICS

    return [{"name": name, "meaning": meaning} for name, meaning in METRICS.items()]


def _keys() -> Rows:
    from fastgd.study.keys import keys

    return [{name: LINK.sub(r"\1 (docs/\2)", value) for name, value in vars(key).items()} for key in keys()]


# Of each kind its records, and the columns that a table does not show.
_KINDS: dict[str, tuple[Callable[[], Rows], tuple[str, ...]]] = {
    "optimizers": (_optimizers, ("summary",)),
    "options": (_options, ("reference",)),
    "baselines": (_baselines, ("reference",)),
    "schedules": (_schedules, ("witness", "reference")),
    "losses": (_losses, ()),
    "activations": (_activations, ()),
    "starts": (_starts, ()),
    "landscapes": (_landscapes, ("start", "reference")),
    "datasets": (_datasets, ()),
    "metrics": (_metrics, ()),
    "keys": (_keys, ()),
}
