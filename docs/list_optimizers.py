"""Write docs/optimizers.md: every rule of the registry with its equation, keys, defaults, state, witness and source."""

import inspect
from itertools import groupby
from pathlib import Path

from fastgd.optimizers import OPTIMIZERS, Optimizer

PAGE = Path(__file__).with_name("optimizers.md")
HEAD = """# Optimizers

Every update rule that a study may name, as the registry describes it: `fastgd list optimizers` shows the same, and
`make docs` writes this page. `w` are the parameters, `g` the gradient, `t` the step from 1. A rule takes the form and
the defaults of its *witness*, the implementation by others (or the paper) against which the tests compare 1,000 steps;
weight decay is decoupled in all of them: it shrinks the parameters, and is not added to the gradient. A key may be one
value, a list or a grid, and any number may be scheduled: [the study file](study.md) tells how. On arrays of your own,
each is a function:
`fastgd.optimizers.adam(w, lr=1e-3).step(g)`.

"""
RATES = """
## Effective rates

The metric `effective_lr` records by which rate a rule multiplies a parameter's gradient, or the average that it keeps
of gradients: `lr` itself in plain descent and momentum, `lr / (sqrt(v) + eps)` in AdaGrad and RMSProp, the same of
the corrected `v^` in Adam, `lr sqrt(e + eps) / sqrt(v + eps)` in AdaDelta, `lr / (beta + sqrt(n))` in FTRL. It is
that of the state at a checkpoint; at the start, that of a rule that has seen nothing. Options around a rule do not
change it.

The columns of the curves are quantiles over features: `effective_lr.rare.q10`, `.q50` and `.q90`, the same of
`medium` and of `frequent`. In less than 0.1 % of the training rows a rare feature is not zero, in more than 5 % a
frequent one; one that is zero in every row is left out, and an intercept is no feature. Rows count as they are
prepared: where dense data are standardised, nothing is zero. A quantile is the rate of one of the features; nothing
is interpolated.

The columns are null where a class has no feature, and for rules without such a rate: {without}.

`fastgd plot DIR --kind rates` draws them for the best trial of each optimizer.
"""


def page() -> str:
    """Return the page."""
    records = sorted(OPTIMIZERS.values(), key=lambda record: FAMILIES.index(record.family))
    families = [(family, list(members)) for family, members in groupby(records, key=lambda record: record.family)]
    overview = "".join(_line(record) for _, members in families for record in members)
    without = ", ".join(record.name for record in records if not record.has_effective_rate)
    rates = RATES.format(without=without)
    return HEAD + OVERVIEW + overview + rates + "".join(_family(family, members) for family, members in families)


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
