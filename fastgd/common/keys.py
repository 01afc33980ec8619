"""Tables of keys that are given as mappings: a model checks them, and one message names the first that is wrong."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fastgd.common.errors import InputError, nearest

M = TypeVar("M", bound=BaseModel)


def checked(model: type[M], table: str, keys: Mapping[str, Any]) -> M:
    """Return the keys of a table as its model has them, or raise InputError."""
    try:
        return model.model_validate(dict(keys))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    key = ".".join([table, *map(str, first["loc"][:1])])
    if first["type"] == "extra_forbidden":
        raise InputError(f"{key} is no key; {nearest(str(first['loc'][0]), model.model_fields)}")
    found = "" if first["type"] in ("missing", "value_error") else f"; found {first['input']!r}"
    raise InputError(f"{key}: {first['msg'].removeprefix('Value error, ')}{found}")
