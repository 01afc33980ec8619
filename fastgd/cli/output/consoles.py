"""Where the command line writes: results on standard output, progress and messages on standard error."""

import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from fastgd.common.numbers import is_whole, number
from fastgd.runs.reporting.display import console


def show(*parts: RenderableType) -> None:
    """Print on standard output; text wraps where the terminal does and is never cut."""
    out = console()
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str))


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values on standard output, a line each."""
    width = max(map(len, facts))
    for name, value in facts.items():
        text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)
        show(f"{name.replace('_', ' '):{width}}  {text}")


def show_json(value: Any) -> None:
    """Print JSON on standard output, with null for NaN and infinity."""
    json.dump(_strict(value), sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def whole(rows: list[dict[Any, Any]], settings: Iterable[str]) -> list[dict[Any, Any]]:
    """Return rows in which settings that are whole in all rows are integers, such as a batch size read as 64.0."""
    names = [name for name in settings if all(row.get(name) is None or is_whole(row[name]) for row in rows)]
    return [{**row, **{name: int(row[name]) for name in names if row.get(name) is not None}} for row in rows]


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], texts: Collection[str] = ()) -> Table:
    """Return a table; all columns but `texts` are aligned at the right, underscores in headers are spaces."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.replace("_", " "), justify="left" if column in texts else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def cell(value: Any, digits: int = 4) -> str:
    """Return the text of a value in a table: nothing for a missing one, and no decimals for whole numbers."""
    if value is None or value != value:
        return ""
    return str(value) if isinstance(value, str | bool) or not isinstance(value, Real) else number(value, digits)
