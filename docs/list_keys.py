"""Write docs/study.md: the study file with every key of every table, as the models describe them."""

from itertools import groupby
from pathlib import Path

from fastgd.study.checking.checks import MOST_COHORTS, MOST_LANES, MOST_TRIALS
from fastgd.study.config import LARGEST_FILE
from fastgd.study.fields import METRICS, MOST_CHECKPOINTS
from fastgd.study.keys import Key, keys
from fastgd.study.landscapes import MOST_STARTS
from fastgd.study.surface_block import MOST_POINTS
from fastgd.study.values import MOST_LEVELS, MOST_TABLES, MOST_VALUES

PAGE = Path(__file__).with_name("study.md")
HEAD = """# The study file

A study is one TOML file: what is minimised, by which optimizers, with which values of their numbers. This page has
every key; `fastgd list keys` prints them, and `make docs` writes the page. From Python, the same keys are the arguments
of `fastgd.Study(...)`, with dictionaries as tables.

The smallest study trains one model once:

```toml
name = "smallest"
epochs = 10

[problem]
loss = "logistic"
dataset = "breast_cancer"

[[optimizer]]
name = "adam"
lr = 0.01
```

## Several values

Where a type says *or several*, a key holds one value, a list, or (numbers that need not be whole) a grid; values may
also be [drawn](#random-search):

```toml
[[optimizer]]
name = "momentum"
lr = { log = [1e-4, 1e1], num = 24 }           # 24 rates, equally spaced in the logarithm, both ends included
momentum = { linear = [0.5, 0.9], num = 3 }    # 0.5, 0.7 and 0.9
clip = { norm = [0.1, 1.0] }                   # numbers of an option's table, too
```

- **Lists in one table are crossed**: this block has 24 x 3 x 2 configurations.
- **Tables of one name are alternatives**: a second `[[optimizer]]` adds its configurations to those of the first, and
  is never crossed with it. `[[problem]]` and `[[schedule]]` likewise. Where there is one, `[optimizer]` will do, or
  `optimizer = { name = "adam", lr = 0.01 }`; a list of such tables is several.
- **Problems, optimizers, schedules, `batch_size` and `seed` are crossed with each other.** Each combination is a
  *trial*, which makes one curve. An optimizer with a `schedule` of its own takes that in place of the study's.
- Seeds are no configurations: rankings take the median over them.
- A value that stands twice in a list, a key that does not exist, and a value out of its bounds are refused, with a
  message that names the key.

On the command line `--set optimizer.0.lr=0.1` replaces a value for one run: the path counts blocks from 0.

`fastgd run STUDY.toml --dry-run` prints the plan: how many trials the file makes, and how they will run. Trials of the
same problem, optimizer, batch size and seed run together, as a *cohort*, because they see the same rows in the same
order; in the plan they are its *lanes*. Lanes are computed four or more at a time, which may leave some of a vector
unused: that is *padding*. A *pass* reads all training rows once, for all lanes of a cohort.

## Random search

A number of an optimizer or of an option around it, a choice, an estimator, `l2` and `batch_size` may be *drawn*.
Without `num`, a key is a **random axis**, and all random axes are drawn together, `[search] draws` times:

```toml
name = "searched"
epochs = 5

[search]
draws = 30                                     # configurations of each block; with 60 these 30 come first
seed = 0

[problem]
loss = "logistic"
dataset = "breast_cancer"
standardize = true
validation = 0.2
l2 = { loguniform = [1e-6, 1e-1] }

[[optimizer]]
name = "momentum"
lr = { loguniform = [1e-4, 1e0] }              # equally likely in the logarithm
momentum = { uniform = [0.0, 0.99] }
form = { choice = ["torch", "lecture"] }       # each value equally likely
dampening = [0.0, 0.1]                         # a list or a grid is crossed with the draws: 60 configurations

[[optimizer]]
name = "adam"
lr = { loguniform = [1e-4, 1e0], num = 10 }    # with num: a list of 10 values of this key alone
beta1 = { uniform = [0.8, 0.95] }
```

- Number i of one random axis goes with number i of every other one: draw i is one configuration, and its penalty and
  its batch size are drawn with the optimizer's numbers.
- A value is a function of the seed, of its key (`lr`, `clip.norm`, `problem.l2`) and of the draw's number alone. More
  draws go on with the search: `fastgd run` computes the new ones, and, as with a longer grid, those whose number of
  lanes takes another kernel, which the plan says. Two optimizers with the same range of `lr` try the same rates.
- Both ends of a range must be valid values of the key. Numbers that are whole are drawn as whole numbers, both ends
  included; others are rounded to 12 digits, as those of a grid are.
- Schedules and line searches take values with `num`, which are a list. `fastgd tune` searches rates from a grid, and
  refuses random axes.

What this search found is a sample of the ranges, so that `fastgd budget results/searched` tells
[what k random configurations are expected to find](questions.md#what-will-k-random-tries-find), and `fastgd fit` makes
[a model](models.md) of the best one.

## A study with most of its tables

```toml
name = "full"
epochs = 5                                     # or steps = 2000
seed = [0, 1, 2]
batch_size = [32, "full"]
dtype = "float64"
order = "shuffle"
init = { normal = 0.1 }
max_seconds = 3600

[problem]                                      # or several [[problem]]
loss = "logistic"
dataset = "breast_cancer"                      # or path = "train.csv", or synthetic = { n = 1_000_000, d = 100 }
intercept = true
standardize = true
l2 = [0.0, 1e-3]
validation = 0.2
split_seed = 0

[[optimizer]]
name = "momentum"
lr = { log = [1e-3, 1e0], num = 4 }
momentum = [0.5, 0.9]
form = "lecture"

[[optimizer]]
name = "adam"
lr = { log = [1e-4, 1e-1], num = 4 }
clip = [{ norm = 1.0 }, { value = 0.1 }]       # a list of tables: alternatives
averaging = { kind = "ema", decay = 0.99 }
schedule = { name = "warmup", length = 2, per = "epoch" }   # for this optimizer alone

[[schedule]]
name = "constant"

[[schedule]]
name = "cosine"
final = 0.01

[stop]
target = 0.05
diverge = 1e3
patience = 3

[record]
every = { log = 20 }
metrics = ["accuracy", "validation_accuracy", "grad_norm"]
parameters = "best"

[surface]
parameters = [0, 1]
low = -3
high = 3
num = 50
```

Studies on landscapes, functions of a few coordinates, have `steps` in place of `epochs`, `[starts]`, and none of the
keys that go with data:

```toml
name = "valley"
steps = 2000

[problem]
landscape = "rosenbrock"
noise = 0.1

[starts]
uniform = 100

[[optimizer]]
name = "adam"
lr = { log = [1e-3, 1e-1], num = 3 }
```

## The keys

"Goes with" says of a key that does not go with everything what it may be combined with; *data* and *landscapes* are the
two kinds of problems. What a rule, a schedule or a landscape has of its own stands on its page:
[optimizers](optimizers.md), [baselines](baselines.md), [schedules](schedules.md), [landscapes](landscapes.md).
"""
TEXTS = {
    "study": (
        "The top of the file",
        "These stand before the first table. A table may be written in one line, as `stop = { target = 0.3 }`.",
    ),
    "problem, of data": (
        "`[problem]`, of data",
        "A linear model: a loss of each row's margin `x w`, over rows of [data](data.md).",
    ),
    "problem, a landscape": (
        "`[problem]`, a landscape",
        "A function of a few coordinates: see [landscapes](landscapes.md).",
    ),
    "optimizer": ("`[[optimizer]]`", "An update rule with the values of its numbers, and what is done around it."),
    "search": ("`[search]`", "See [random search](#random-search)."),
    "schedule": ("`[[schedule]]`", "See [schedules](schedules.md). With no block, every rate is constant."),
}
KEYS = """| key | type | default | meaning | goes with |
| --- | --- | --- | --- | --- |
"""
MEASURED = """| metric | what it is |
| --- | --- |
"""


BOUNDS = f"""
## Bounds

A study is refused, with a message that names the key, where it asks for more than

| what | the most |
| --- | ---: |
| trials over data, or configurations on landscapes | {MOST_TRIALS:,} |
| cohorts | {MOST_COHORTS:,} |
| trials on landscapes: configurations times starts | {MOST_LANES:,} |
| starts | {MOST_STARTS:,} |
| values of a grid, and draws | {MOST_VALUES:,} |
| checkpoints of a trial | {MOST_CHECKPOINTS:,} |
| steps of a trial, and any count | 2^53 |
| points of an error surface | {MOST_POINTS:,} |
| tables of one name, or alternatives that one makes | {MOST_TABLES:,} |
| tables and lists within each other | {MOST_LEVELS} |
| bytes of the file | {LARGEST_FILE:,} |

Data, starts and parameters that would fill more than half of the memory are refused, too.
[security.md](security.md) says what a study of somebody else's can do.
"""


def page() -> str:
    """Return the page."""
    tables = (_table(table, list(members)) for table, members in groupby(keys(), lambda key: key.table))
    return HEAD + "".join(tables) + BOUNDS


def _table(table: str, members: list[Key]) -> str:
    title, text = TEXTS.get(table, (f"`{table}`" if "." in table else f"`[{table}]`", ""))
    parts = [f"### {title}", text, KEYS + "".join(map(_row, members))]
    if table == "record":
        parts.append(MEASURED + "".join(f"| `{name}` | {meaning} |\n" for name, meaning in METRICS.items()))
    return "\n" + "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _row(key: Key) -> str:
    name = f"*{key.name}*" if key.name.startswith("its ") else f"`{key.name.replace(', ', '`, `')}`"
    cells = [cell.replace("|", "\\|") for cell in (name, key.type, key.default, key.meaning, key.goes_with)]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
