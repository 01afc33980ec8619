"""Write docs/schedules.md: every schedule of the registry with its equation, keys, defaults, witness and source."""

import inspect
from pathlib import Path
from typing import Any

from fastgd.schedules import SCHEDULES, ScheduleRecord

PAGE = Path(__file__).with_name("schedules.md")
HEAD = """# Schedules

Every schedule that a study may name, as the registry describes it: `fastgd list schedules` shows the same, and
`make docs` writes this page. A schedule's *witness* is the implementation by others, or the paper, whose form it takes
and with which the tests compare it.

![Every schedule over 100 epochs or steps](pictures/schedules.png)

`make pictures` draws it: the keys are those of the examples below, and the two schedules with feedback are judged on
made-up validation losses. `fastgd plot DIR --kind schedule -o FILE.png` draws those of a study, run or not.

## How a schedule counts, and what it gives

```toml
[[schedule]]
name = "cosine"
of = "lr"                          # what it drives; the default, but for momentum's own
per = "epoch"                      # or "step": what its index i counts, from 0
horizon = "last"                   # or "torch"
final = [0.0, 0.01]                # a list or a grid makes several schedules
```

- A schedule of `lr` is a factor of the optimizer's rate; one of another hyper-parameter gives its value.
- A rate of 0, as at the start of a warm-up or the end of a decay, is a step of 0: the iterate that is reported stands
  still, to the last bit but for what coasts on sparse rows, which is right to rounding. A rule goes on to average
  gradients meanwhile; one with the rate in its velocity or its sums says in its text what waits. Options around a rule
  go on: an average moves towards the iterate, and look-ahead steps go back to the slow one.
- The index of a schedule counts epochs or steps, as the schedule is usually defined; `per` overrides it. On
  landscapes an epoch is a step.
- `end` below is where the schedule ends: over T epochs or steps its last index, T - 1. With `horizon = "torch"` it is
  T, one past the last, as PyTorch has it. (`one_cycle` ends at the last index in PyTorch too.)
- **Chains.** Any schedule may last for `length` indices, `then` another one follows, which counts from 0 again over
  what is left. The end of a part that is followed is where the next one begins, as in PyTorch and optax. Factors stay
  fractions of the optimizer's rate. Without `then` the value at the end of the length is kept. `of`, `per` and
  `horizon` stand in the first schedule of a chain and hold for all of it.

  ```toml
  [[schedule]]
  name = "warmup"
  length = 500
  then = { name = "constant", length = 2000, then = { name = "cosine", final = 0.01 } }
  ```

- **Several at once.** `also` holds the schedule of another hyper-parameter of the same trials:

  ```toml
  [[schedule]]
  name = "one_cycle"
  also = { name = "one_cycle", of = "momentum", start = 0.95, peak = 0.85, final = 0.95 }
  ```

- **Feedback.** `plateau` and `halve_on_rise` are judged at each epoch's end on the trial's own validation loss,
  whatever `[record] every` says, so the study must hold data out. They may stand in a chain; there they are judged from
  the end of the first epoch in which they took part.

"""


def page() -> str:
    """Return the page."""
    overview = "| name | counts | witness |\n| --- | --- | --- |\n" + "".join(map(_line, SCHEDULES.values()))
    return HEAD + overview + "".join(map(_section, SCHEDULES.values()))


def _line(record: ScheduleRecord) -> str:
    return f"| [{record.name}](#{record.name}) | {record.per}s | {record.witness} |\n"


def _section(record: ScheduleRecord) -> str:
    text = inspect.getdoc(record.cls) or ""
    facts = f"Witness: {record.witness}." + (f" Source: {record.reference}." if record.reference else "")
    return f"\n## {record.name}\n\n{text}\n\n{_keys(record)}{facts}\n\n```toml\nschedule = {_example(record)}\n```\n"


def _keys(record: ScheduleRecord) -> str:
    keys = [f"`{key}`" + ("" if default is None else f" = {_toml(default)}") for key, default in record.params.items()]
    keys += ["`length`"] * record.timed
    return f"Keys: {', '.join(keys)}. " if keys else ""


def _example(record: ScheduleRecord) -> str:
    of = {"of": record.of} if record.of != "lr" else {}
    return _toml({"name": record.name, **of, **record.example})


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
