"""Write docs/options.md: what an optimizer's block may say around its rule, as the registries describe it."""

import inspect
from pathlib import Path
from textwrap import fill

from fastgd.optimizers._estimators import ESTIMATORS, Estimator
from fastgd.optimizers._line_search import LINE_SEARCHES, LineSearch
from fastgd.optimizers._options import TABLES, Option, kinds

PAGE = Path(__file__).with_name("options.md")
HEAD = """# Options, estimators and line searches

What an `[[optimizer]]` block may say around its rule: `fastgd list options` shows the same, and `make docs` writes this
page. Each is compiled, or computed, only where it is used.

```toml
[[optimizer]]
name = "adam"
lr = { log = [1e-4, 1e-1], num = 12 }
clip = { norm = [0.1, 1.0] }                    # numbers may be lists or grids, and are crossed
averaging = [{ kind = "ema" }, { kind = "polyak" }]   # a list of tables: alternatives

[[optimizer]]
name = "sgd"
lr = 0.1
estimator = ["none", "svrg", "saga"]

[[optimizer]]
name = "sgd"                                    # batch_size = "full"
line_search = { kind = "armijo" }
```

Numbers are columns of the results as `clip.norm`, and a schedule may drive them by that name (`of = "clip.norm"`). The
column `variant` says which options a trial has. `kind` may be left out where the other keys tell it. On arrays of your
own: `fastgd.optimizers.adam(w, lr=1e-3, clip={"norm": 1.0})`.
"""
AROUND = """
## Options around a rule

One of each table: the gradient is clipped, then comes the rule's step, then the proximal step, then look-ahead, and
what would be reported after all of that is averaged. Options that move the iterate are refused where a rule would lose
that: rules that report another point than they step (Nesterov's, schedule-free ones), or that place it from sums.
"""
ESTIMATED = """
## Gradient estimators

`estimator = "saga"`, with mini-batches and any rule that needs nothing but gradients. The table of residuals takes a
number a row and trial, which the plan counts as memory and splits cohorts by.
"""
SEARCHED = """
## Line searches

With `batch_size = "full"` and rules whose step is `lr` times a direction. The margins of the parameters and of the
direction are kept, two numbers a row and trial: a step passes over the features twice, however often the objective is
evaluated. `lr` (1 where it is left out) is the unit of the rates; what is recorded as `lr` is the rate that was chosen,
and `loss_evaluations` counts evaluations along directions.
"""


def page() -> str:
    """Return the page."""
    options = "".join(_section(record, record.name) for table in TABLES for record in kinds(table).values())
    estimators = "".join(_estimator(record) for name, record in ESTIMATORS.items() if name != "none")
    searches = "".join(_section(record, record.name) for record in LINE_SEARCHES.values())

    return HEAD + AROUND + options + ESTIMATED + estimators + SEARCHED + searches


def _section(record: Option | LineSearch, title: str) -> str:
    fields = record.hyper if isinstance(record, Option) else record.fields
    keys = ", ".join(f"`{name}`" + ("" if value is None else f" = {value:g}") for name, value in fields.items())
    return f"\n### {title}\n\n{inspect.getdoc(record.cls)}\n\nKeys: {keys}. {_source(record)}\n"


def _estimator(record: Estimator) -> str:
    return f"\n### {record.name}\n\n{record.summary}\n\n{fill(record.text, 120)}\n\n{_source(record)}\n"


def _source(record: Option | LineSearch | Estimator) -> str:
    reference = f" Source: {record.reference}." if record.reference else ""
    return f"Witness: {record.witness}.{reference}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
