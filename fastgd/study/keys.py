"""`fastgd list keys`: the keys of the study file with their types, defaults and meanings, taken from the models."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fastgd.optimizers.line_search import LINE_SEARCHES
from fastgd.optimizers.options import TABLES, kinds
from fastgd.study.blocks import OptimizerBlock
from fastgd.study.config import Study
from fastgd.study.fields import Own, Table, Written
from fastgd.study.landscapes import LandscapeProblem
from fastgd.study.models import Problem
from fastgd.study.values import brief

TITLES = {Problem: "problem, of data", LandscapeProblem: "problem, a landscape"}
WORDS = {int: "a whole number", float: "a number", str: "text", bool: "`true` or `false`"}
SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
LARGEST_SHOWN = 1e6  # larger bounds only say what the numbers' type can hold, and are not shown
# The meanings of the numbers of options and line searches. What an option does, its record says (docs/options.md).
MEANINGS = {
    "clip.value": "The largest size that an entry of the gradient keeps.",
    "clip.norm": "The largest norm that the gradient keeps.",
    "clip.layer_norm": "The largest norm that the gradient of each layer keeps.",
    "proximal.l1": "The factor of the penalty `l1 |w|`, which makes exact zeros.",
    "proximal.l2": "The factor of the penalty `l2/2 |w|^2`.",
    "lookahead.every": "After so many steps the slow iterate moves towards the fast one, which goes on from there.",
    "lookahead.alpha": "Which part of the way it moves.",
    "averaging.ema.decay": "What the average keeps of itself in each step.",
    "averaging.ema.start": "After so many steps the average begins.",
    "averaging.polyak.start": "After so many steps the average begins.",
    "line_search.best.rates": "The factors of `lr` that each step tries.",
    "line_search.armijo.shrink": "What a rate is multiplied by that did not lower the objective enough.",
    "line_search.armijo.slope": "The share of the decrease that the slope promises, which is enough.",
    "line_search.armijo.grow": "The factor by which a step's first rate may exceed the last step's rate.",
    "line_search.armijo.backtracks": "How often a rate is shrunk before the smallest is taken.",
    "line_search.exact.doublings": "How often the rate is doubled where the objective falls without end.",
}


@dataclass(frozen=True)
class Key:
    """A key of the study file.

    Attributes
    ----------
    table : str
        The table that it belongs to, as "problem.synthetic"; "study" is the top of the file.
    name : str
        The key, or in words the keys that a registered rule adds.
    type : str
        The type of its value, in words.
    default : str
        What holds if it is left out: "required", a value in TOML, or words; empty if nothing does.
    meaning : str
        What it says.
    goes_with : str
        With which other keys it may be used; empty for all.
    """

    table: str
    name: str
    type: str
    default: str
    meaning: str
    goes_with: str = ""


def keys() -> list[Key]:
    """Return every key of the study file, table after table."""
    return list(keys_of("", Study))


def keys_of(path: str, model: type[BaseModel]) -> Iterator[Key]:
    """Yield the keys of a table, then those of the tables in it."""
    title = TITLES.get(model, path or "study")
    for name, field in model.model_fields.items():
        yield _key(title, name, field)
    for name, field in model.model_fields.items():
        # a type that is described in words has no keys of its own, or they are listed elsewhere
        for inner in [] if _written(field.metadata) else dict.fromkeys(_models(field.rebuild_annotation())):
            yield from keys_of(f"{path}.{name}".lstrip("."), inner)
    if model is OptimizerBlock:
        yield from _of_options(path)


def _key(table: str, name: str, field: FieldInfo) -> Key:
    own = next((item.names for item in field.metadata if isinstance(item, Own)), "")
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    return Key(
        table=table,
        name=own or name,
        type=str(extra.get("written") or words(field.rebuild_annotation())),
        default=str(extra.get("otherwise") or _default(field)),
        meaning=field.description or "",
        goes_with=str(extra.get("goes_with", "")),
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = brief(field.default) if isinstance(field.default, list) else field.default
    if value is None or isinstance(value, BaseModel):
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{json.dumps(value)}`"


def words(kind: Any) -> str:
    """Return a type in words; empty if only its validator knows, and no `Written` says it."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        text, items = _written(inner[1:]), get_args(inner[0]) or (Any,)
        if text:
            return text.replace("{}", words(items[0]))
        if _models(inner[1:]):
            return "a table"
        whole = any(isinstance(item, MultipleOf) for item in inner[1:])
        return " ".join([words(int if whole else inner[0]), *_bounds(inner[1:])])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(words(item) for item in inner if item is not type(None)))
    if origin is Literal:
        *others, last = (f"`{json.dumps(item)}`" for item in inner)
        return " or ".join([", ".join(others), last] if others else [last])
    if origin is list:
        return f"{words(inner[0])}, or several" if _models(kind) else f"a list: {words(inner[0])}"
    return "a table" if _models(kind) else WORDS.get(kind, "")


def _written(metadata: Iterable[Any]) -> str:
    return next((item.text for item in metadata if isinstance(item, Written)), "")


def _bounds(metadata: Iterable[Any]) -> list[str]:
    """Return in words the bounds in the metadata of a type, and of fields among the metadata."""
    flat = [each for item in metadata for each in (item.metadata if isinstance(item, FieldInfo) else [item])]
    bounds = [(sign, getattr(item, name)) for item in flat for name, sign in SIGNS.items() if hasattr(item, name)]
    texts = [f"{sign} {value:g}" for sign, value in bounds if abs(value) <= LARGEST_SHOWN]
    return [" and ".join(texts)] if texts else []


def _models(kind: Any) -> list[type[BaseModel]]:
    """Return the models of tables within a type."""
    if isinstance(kind, Table):
        return [kind.model]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for item in (kind if isinstance(kind, tuple) else get_args(kind)) for model in _models(item)]


def _of_options(path: str) -> Iterator[Key]:
    """Yield the keys of the options around a rule and of its line search, taken from the registries."""
    of_kind = "Which of the kinds it is."
    for table in TABLES:
        records = kinds(table)
        if len(records) > 1:
            yield Key(f"{path}.{table}", "kind", words(Literal[*records]), "what the other keys tell", of_kind)
        for kind, record in records.items():
            yield from _of_record(path, table, kind, record.hyper, record.annotations)
    table = "line_search"
    yield Key(f"{path}.{table}", "kind", words(Literal[*LINE_SEARCHES]), "required", of_kind)
    for kind, search in LINE_SEARCHES.items():
        yield from _of_record(path, table, kind, search.fields, search.annotations)


def _of_record(
    path: str, table: str, kind: str, defaults: Mapping[str, Any], types: Mapping[str, Any]
) -> Iterator[Key]:
    for name, default in defaults.items():
        several = "a list of numbers" if get_origin(types[name]) is tuple else words(types[name])
        meaning = MEANINGS.get(f"{table}.{name}", MEANINGS.get(f"{table}.{kind}.{name}", ""))
        goes_with = f'`kind = "{kind}"`' if kind else ""
        shown = "required" if default is None else f"`{default:g}`"
        yield Key(f"{path}.{table}", name, f"{several}, or several", shown, meaning, goes_with)
