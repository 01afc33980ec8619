"""Write docs/optimizers.md: every rule of the registry with its equation, keys, defaults, state, witness and source."""

import inspect
from itertools import groupby
from pathlib import Path

from fastgd.optimizers import OPTIMIZERS, Optimizer

PAGE = Path(__file__).with_name("optimizers.md")
HEAD = """# Optimizers

Every update rule that a study may name, as the registry describes it: `fastgd list optimizers` shows the same, and
`make docs` writes this page. `w` are the parameters, `g` the gradient, `t` the step from 1. A rule takes the form and
the defaults of its witness, against which the tests compare 1,000 steps; weight decay is decoupled in all of them. A
key may be one value, a list or a grid, and any number may be scheduled. On arrays of your own, each is a function:
`fastgd.optimizers.adam(w, lr=1e-3).step(g)`.

"""


def page() -> str:
    """Return the page."""
    records = sorted(OPTIMIZERS.values(), key=lambda record: FAMILIES.index(record.family))
    families = [(family, list(members)) for family, members in groupby(records, key=lambda record: record.family)]
    overview = "".join(_line(record) for _, members in families for record in members)
    return HEAD + OVERVIEW + overview + "".join(_family(family, members) for family, members in families)


FAMILIES = list(dict.fromkeys(record.family for record in OPTIMIZERS.values()))
OVERVIEW = """| name | family | state of a parameter | bytes (float64) | witness |
| --- | --- | --- | --- | --- |
"""


def _line(record: Optimizer) -> str:
    state = ", ".join(record.slots) or "none"
    name = f"[{record.name}](#{record.name})"
    return f"| {name} | {record.family} | {state} | {8 * (1 + len(record.slots))} | {record.witness} |\n"


def _family(family: str, members: list[Optimizer]) -> str:
    return f"\n## The {family} family\n" + "".join(map(_section, members))


def _section(record: Optimizer) -> str:
    keys = [f"`{name}`" + ("" if value is None else f" = {value:g}") for name, value in record.hyper.items()]
    keys += [f"`{name}` = " + " or ".join(map(_plain, values)) for name, values in record.options.items()]
    text = inspect.getdoc(record.cls) or ""
    facts = f"Keys: {', '.join(keys)}. Witness: {record.witness}. Source: {record.reference}."
    return f"\n### {record.name}\n\n{text}\n\n{facts}\n"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
