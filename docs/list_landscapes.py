"""Write docs/landscapes.md: studies on landscapes, and every landscape of the registry with its formula and minima."""

import inspect
from pathlib import Path

import numpy as np

from fastgd.problems import LANDSCAPES, Landscape

PAGE = Path(__file__).with_name("landscapes.md")
HEAD = """# Landscapes

Functions of a few coordinates, where optimizers are understood: their paths, U-turns and potholes, and which minimum
a start leads to. A study on landscapes runs the same update rules as studies over data, from up to millions of starts
and for thousands of hyper-parameters at once. `fastgd list landscapes` shows the table below, and `make docs` writes
this page. The [gallery](gallery.md) shows what the pictures look like.

```toml
name = "basins"
steps = 500                        # what each trial takes; there are no epochs

[problem]
landscape = "himmelblau"           # a name below, or "package.module:function"

[starts]
grid = 100                         # 100 points along each coordinate: 10,000 starts

[[optimizer]]
name = "momentum"
lr = { log = [1e-3, 1e-1], num = 5 }

[record]
every = { log = 10 }               # checkpoints, the default
```

Every start is run with every configuration: this study has 50,000 trials. Time, memory and disk grow with trials,
steps and checkpoints; `fastgd run STUDY.toml --dry-run` says how much of each ([costs](costs.md)). Most of the time
goes to writing the checkpoints: `every = { log = 2 }` writes a third of it.

[The study file](study.md) has all keys: of the [landscape](study.md#problem-a-landscape) (its dimension, noise,
domain, and what counts as converged), and of the [starts](study.md#starts) (grids, drawn ones, points, files).
Everything else of an `[[optimizer]]` block is there too: options around the rule, schedules of any hyper-parameter,
line searches.

## What is stored

A trial is a configuration from a start: `trial_id` names the configuration, `start` is the start's number. Results
are Parquet as those of any study ([its files](../results/README.md)), and are resumed and extended likewise: more drawn
starts, or more rates, run alone. `fastgd run STUDY.toml --trial ID:START` runs one again, with the same bits.

`max_seconds` ends a run, and what was computed until then is stored; the next run of the study goes on from there.
Optimizers take turns, so that each has some trials. However short `max_seconds` is, a run finishes and stores at least
some trials (a quarter of a second's work, or one group of starts where that takes longer): a study that is run again
and again comes to its end.

- `results.trials`: the configuration, `start_0, start_1, ...`, `end_0, ...` (the first 8 coordinates), `final_loss`,
  `best_loss`, `final_grad_norm`, `steps_to_tolerance` (exact: after how many steps the value was first within the
  tolerance of the lowest minimum's), and what became of it:

  | status | meaning |
  | --- | --- |
  | converged | it ended within the tolerance of the lowest value, or rests at a lowest minimum |
  | trapped | it rests at another minimum (`minimum` says which), or where the slope is gone |
  | cycling | it keeps moving, comes back, and its value falls no more |
  | diverged | not finite after `steps` steps, risen too far, or falling without end |
  | completed | it was still on its way when its steps were over |

  A value has risen too far when it is above that at the start by more than `stop.diverge` (1,000) times a height: how
  high the start is above the lowest value that is known, or the landscape's own scale where that is more. That scale
  is how high a point of the domain is above the lowest value, in the median of 64 points that fill it evenly. Where
  no minimum is known, a value that fell by as much falls without end. So neither the unit of the values nor what is
  added to them changes a verdict. A trial that ends below all minima that are known has not converged; the run says so.

- `results.curves`: value, norm of the gradient, rate and coordinates at the checkpoints.
- `results.trajectories`: of chosen trials, every step and coordinate: `x`, `gradient`, `effective_lr`, and what the
  rule keeps (`slot.mean_square`, ...).
- `results.surfaces`: the values over the domain, so that pictures need no kernels.

`fastgd plot DIR --kind contour` draws the walks on a map; other kinds are `surface`, `basins`, `phase`, `traces` and
`animate`; [pictures](pictures.md) tells what their limits mean.

## A function of your own

A study may name a function of a point in a module of yours, which lies in the folder where `fastgd` is started. It is
evaluated at many points at once, so it is written with arithmetic, `x ** p` and NumPy's element-wise functions
(`np.where` in place of `if`):

```python
# mymodule.py
import numpy as np


def valley(x):
    return (x[0] - 1) ** 2 + 10 * np.square(x[1] - np.sin(x[0]))


def slope(x, g):  # optional
    rest = x[1] - np.sin(x[0])
    g[0] = 2 * (x[0] - 1) - 20 * rest * np.cos(x[0])
    g[1] = 20 * rest
```

```toml
[problem]
landscape = "mymodule:valley"
gradient = "mymodule:slope"
domain = [[-2, 4], [-3, 3]]        # what pictures show
minima = [[1.0, 0.8414709848078965]]
```

Without `gradient`, it is taken by central differences of fourth order along each coordinate, `(8 (f(x + h) - f(x -
h)) - (f(x + 2h) - f(x - 2h))) / 12h` with `h = eps^(1/5) max(1, |x_j|)`: some 12 digits in float64. A gradient that
is given is compared with it. `minima` names the minima that you know: a point is refused where the ground around it
is as steep as the domain is on the whole, unless it is at the domain's edge; one that is near a minimum, and is none,
has a note in the plan. A NamedTuple with parameters, decorated with `fastgd.problems.landscape`, has all that the
built-in ones have: see `fastgd/problems/landscapes/classic.py`.

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
