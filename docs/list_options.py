"""Write docs/options.md: what an optimizer's block may say around its rule, as the registries describe it."""

import inspect
from pathlib import Path
from textwrap import fill

from fastgd.optimizers.estimators import ESTIMATORS, Estimator
from fastgd.optimizers.line_search import LINE_SEARCHES, LineSearch
from fastgd.optimizers.options import TABLES, Option, kinds

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
```

```toml
batch_size = "full"

[[optimizer]]
name = "sgd"
line_search = { kind = "armijo" }
```

Numbers are columns of the results as `clip.norm`, and a schedule may drive them by that name (`of = "clip.norm"`). The
column `variant` says which options a trial has. `kind` may be left out where the other keys tell it. A *witness* is the
implementation by others, or the paper, whose form and defaults are taken, and against which the tests compare. On
arrays of your own: `fastgd.optimizers.adam(w, lr=1e-3, clip={"norm": 1.0})`.
"""
AROUND = """
## Options around a rule

An optimizer takes at most one option of each table. In each step they act in this order: `clip` changes the gradient;
the rule takes its step; `proximal` changes the parameters, then `lookahead` does; and `averaging` averages the points
that would be reported without it. A rule goes on from the point to which `proximal` or `lookahead` moved the
parameters. Some rules cannot, and both options are refused for them: those that report another point than the one from
which they step (Nesterov's momentum, schedule-free rules), and those that compute the parameters anew in each step,
from sums of all gradients (FTRL, COCOB). `proximal` needs a rule whose step is the rate times a direction, besides: not
LAMB, Prodigy or Polyak's step.
"""
ESTIMATED = """
## Gradient estimators

`estimator = "saga"`, with mini-batches and any rule that needs nothing but gradients. The table of residuals takes a
number for each row and trial. Where the trials that run together (a *cohort*) would need more memory than there is, the
plan makes several cohorts of them.
"""
SEARCHED = """
## Line searches

With `batch_size = "full"`, or on a landscape, and rules whose step is `lr` times a direction. Over data, the margins of
the parameters and of the direction are kept, two numbers a row and trial: a step passes over the features twice,
however often the objective is evaluated. `lr` (1 where it is left out) is the unit of the rates; what is recorded as
`lr` is the rate that was chosen, and `loss_evaluations` counts evaluations along directions.
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
