"""Write docs/landscapes.md: studies on landscapes, and every landscape of the registry with its formula and minima."""

import inspect
from pathlib import Path

import numpy as np

from fastgd.problems import LANDSCAPES, Landscape

PAGE = Path(__file__).with_name("landscapes.md")
HEAD = """# Landscapes

Functions of a few coordinates, where optimizers are understood: their paths, U-turns and potholes, and which minimum
a start leads
to. A study on landscapes runs the same update rules as studies over data, from millions of starts and for thousands
of
hyper-parameters at once. `fastgd list landscapes` shows the table below, and `make docs` writes this page.
The [gallery](gallery.md) shows what the pictures look like.

```toml
name = "basins"
steps = 500                        # what each trial takes; there are no epochs

[problem]                          # or several [[problem]]
landscape = "himmelblau"           # a name below, or "package.module:function"
# dimension = 2                    # of those with any number of coordinates: up to 1,000
# noise = 0.1                      # added to each partial derivative: normal, keyed by seed, start and step
# tolerance = 1e-6                 # above the lowest value: the steps until it is reached are counted
# domain = [-5, 5]                 # or a pair for each coordinate; what pictures show, and where starts are drawn
# condition = 100                  # a landscape's own numbers stand beside

[starts]                           # one of the following; without the table, the landscape's customary start
grid = 200                         # points along each coordinate, or [200, 100]
# uniform = 1_000_000              # drawn in the box
# sobol = 65_536                   # Sobol's sequence, scrambled
# normal = 1000                    # around `center`, the customary start by default, with `scale` = 1
# points = [[-1.2, 1.0], [2, 2]]
# path = "starts.parquet"          # or .csv, .npy: a row for each start
# low, high = ...                  # the box, a number or one for each coordinate: the domain by default
# seed = 0                         # of what is drawn

[[optimizer]]
name = "momentum"
lr = { log = [1e-3, 1e-1], num = 12 }

[record]
every = { log = 10 }               # checkpoints, the default; "epoch": every step
trajectories = "auto"              # whose every step is kept: "all", a number of starts, [0, 5]; auto: of small studies
```

These are 480,000 trials: some 4 seconds, 140 MB on disk and 600 MB of memory. With `grid = 1000` they are 12
million: a minute or two, 3.5 GB on disk and 2.7 GB of memory. `fastgd run STUDY.toml --dry-run` says such things of
any study before it runs ([costs.md](costs.md)). What is written is checkpoints for the most part: with
`every = { log = 2 }`, a third of it.

Everything else of an `[[optimizer]]` block is there too: options around the rule, schedules of any hyper-parameter,
line searches.

## What is stored

A trial is a configuration from a start: `trial_id` names the configuration, `start` is the start's number. Results
are Parquet as
those of any study ([architecture.md](architecture.md)), and are resumed and extended likewise: more drawn
starts, or more rates, run alone. `fastgd run STUDY.toml --trial ID:START` runs one again, with the same bits.

- `results.trials`: the configuration, `start_0, start_1, ...`, `end_0, ...` (the first 8 coordinates), `final_loss`,
  `best_loss`,
  `final_grad_norm`, `steps_to_tolerance` (exact: after how many steps the value was first within the tolerance of the
  lowest
  minimum's), and what became of it:

  | status | meaning |
  | --- | --- |
  | converged | it ended within the tolerance of the lowest value, or rests at a lowest minimum |
  | trapped | it rests at another minimum (`minimum` says which), or where the slope is gone |
  | cycling | it keeps moving, comes back, and its value falls no more |
  | diverged | not finite after `steps` steps, risen by `stop.diverge` times the start, or falling without end |
  | completed | it was still on its way when its steps were over |

- `results.curves`: value, norm of the gradient, rate and coordinates at the checkpoints.
- `results.trajectories`: of chosen trials, every step and coordinate: `x`, `gradient`, `effective_lr`, and what the
  rule keeps
  (`slot.mean_square`, ...).
- `results.surfaces`: the values over the domain, so that pictures need no kernels.

Pictures: `fastgd plot DIR --kind contour | surface | basins | phase | traces | animate`.

## A function of your own

`landscape = "mymodule:valley"` names a function of a point. It is evaluated at many points at once, so it is written
with
arithmetic, `x ** 2` and NumPy's element-wise functions (`np.where` in place of `if`):

```python
import numpy as np


def valley(x):
    return (x[0] - 1) ** 2 + 10 * np.square(x[1] - np.sin(x[0]))


def slope(x, g):  # optional: gradient = "mymodule:slope"
    rest = x[1] - np.sin(x[0])
    g[0] = 2 * (x[0] - 1) - 20 * rest * np.cos(x[0])
    g[1] = 20 * rest
```

Without `gradient`, it is taken by central differences of fourth order: `(8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x -
2h))) / 12h`
along each coordinate, with `h = eps^(1/5) max(1, |x_j|)`: some 12 digits in float64. A gradient that is given is
compared with it.
`minima = [[...], ...]` names the minima that you know. A NamedTuple with parameters, decorated with
`fastgd.problems.landscape`, has
all that the built-in ones have: see `fastgd/problems/classic_landscapes.py`.

## The landscapes

"""


def page() -> str:
    """Return the page."""
    lines = ["| name | coordinates | minima known |\n| --- | --- | --- |\n", *map(_line, LANDSCAPES.values())]
    return HEAD + "".join(lines) + "".join(map(_section, LANDSCAPES.values()))


def _line(record: Landscape) -> str:
    least, most = record.dimension
    count = len(record.minima(record.instance(), max(least, min(2, most))))
    return f"| [{record.name}](#{record.name}) | {least if least == most else f'{least} to {most:,}'} | {count} |\n"


def _section(record: Landscape) -> str:
    d = max(record.dimension[0], min(2, record.dimension[1]))
    keys = ", ".join(f"`{key}` = {_number(value)}" for key, value in record.parameters.items())
    box = ", ".join(f"[{low:g}, {high:g}]" for low, high in np.unique(record.box(d), axis=0))
    facts = [f"Domain {box}; start ({', '.join(f'{x:g}' for x in record.start(d))})."]
    facts += [f"Keys: {keys}."] if keys else []
    facts += [f"Source: {record.reference}."] if record.reference else []
    return f"\n### {record.name}\n\n{inspect.getdoc(record.cls)}\n\n{' '.join(facts)}\n"


def _number(value: float | tuple[float, ...]) -> str:
    return f"[{', '.join(f'{item:g}' for item in value)}]" if isinstance(value, tuple) else f"{value:g}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
