"""Finds the user's own modules that a study names, from its tables alone: nothing is imported."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastgd.study.draws import has_random_axes, with_laws
from fastgd.study.values import as_list

# Where a study may name something of the user's own: the table, the key, and what it is.
NAMED = (
    ("optimizer", "name", "optimizer"),
    ("problem", "loss", "loss"),
    ("problem", "landscape", "landscape"),
    ("problem", "gradient", "gradient"),
)


def plugins_of(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return all that a study names as "module:name", each with its kind: optimizer, loss, landscape or gradient."""
    found = [(kind, name) for table, key, kind in NAMED for name in _foreign(fields, table, key)]
    return list(dict.fromkeys(found))


def without_plugins(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tables of a study without the user's own optimizers; None if nothing is left to plan."""
    if any(name for table, key, _ in NAMED[1:] for name in _foreign(fields, table, key)):
        return None
    rest = [block for block in as_list(fields.get("optimizer")) if not _is_foreign(block, "name")]
    left = {**fields, "optimizer": rest}
    if isinstance(search := fields.get("search"), Mapping) and not has_random_axes(with_laws(left)):
        left["search"] = {key: value for key, value in search.items() if key != "draws"}
    return left if rest else None


def _foreign(fields: Mapping[str, Any], table: str, key: str) -> Iterator[str]:
    for block in as_list(fields.get(table)):
        if _is_foreign(block, key):
            yield block[key]


def _is_foreign(block: Any, key: str) -> bool:
    return isinstance(block, Mapping) and isinstance(block.get(key), str) and ":" in block[key]
