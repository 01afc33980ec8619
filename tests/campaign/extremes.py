"""Extreme studies: values from 5e-324 to 1e308 in every numeric key run to their end, or are refused.

A study is one of `extreme_templates`, with a few of its numbers replaced: any number in it, in its schedule, or in the
rows beside it may be. The template as it stands is the study without the extreme value: the trials that both have in
common must be the same to the last bit.
"""

import copy
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w
from typer.testing import CliRunner

import fastgd
from campaign.attack import STALL, Attack, Found
from campaign.extreme_templates import SCHEDULES, TEMPLATES
from fastgd.cli.app import app
from fastgd.runs.reporting.events import CohortStarted

FLOATS = [5e-324, 1e-308, 1e-160, 1e-45, 1e-38, 1e-20, 1e20, 3.4e38, 1e39, 1e160, 1e308, -1e308, -1e160, 0.0, -0.0]
WHOLE = [0, 1, 2**31, 2**53, 2**63 - 1, -1, -(2**63)]
COUNTS = (
    "epochs",
    "steps",
    "batch_size",
    "normal",
    "uniform",
    "grid",
    "sobol",
    "num",
    "log",
)  # how much there is to do
SEARCHES = ("searches", "walls")  # templates of line searches, which go with no schedule of the rate
PICTURES = ("curves", "sensitivity", "heatmap", "schedule", "rates")
OF_LANDSCAPES = ("contour", "surface", "basins", "phase", "traces", "animate")
PASSING = ["cohort_id", "cohort_lanes", "compile_seconds", "train_seconds", "evaluate_seconds", "in_study"]
NAMES = ["trial_id", "configuration"]  # which all starts of a study decide together
SHARE_DRAWN = 0.4  # of the studies have a picture drawn, which takes longer than to run them
Fields = dict[str, Any]


def make(random: np.random.Generator, tries: int, folder: Path) -> Found:
    """Run extreme studies, and look at their results in every way."""
    ordinary: dict[str, fastgd.Results] = {}
    failures = []
    for number in range(tries):
        name = str(random.choice(list(TEMPLATES)))
        schedule = random.integers(-2 * len(SCHEDULES), len(SCHEDULES))
        template = copy.deepcopy(TEMPLATES[name]) | {"name": f"extreme {number}"}
        if schedule >= 0 and name not in SEARCHES:
            template["schedule"] = copy.deepcopy(SCHEDULES[schedule])
        study, changed = replaced(template | {"rows": rows()}, random)
        own = folder / str(number)
        drawn = random.random() < SHARE_DRAWN
        fault, results = checked(
            written(study, own), own / "results", lambda kinds, drawn=drawn: [str(random.choice(kinds))] * drawn
        )
        if not fault and results is not None:
            if (key := f"{name} {max(schedule, -1)}") not in ordinary:
                file = written(template | {"rows": rows()}, folder / key)
                ordinary[key] = fastgd.run(fastgd.Study.from_toml(file), folder / key / "results", progress=False)
            fault = differing(results, ordinary[key], changed)
        if fault:
            failures.append(f"{name}, schedule {schedule}, {changed}: {fault}")
    return Found(tries, failures)


def rows() -> list[list[float]]:
    """Rows of three features and a label."""
    random = np.random.default_rng(0)
    X = random.standard_normal((24, 3)).round(3)
    return np.column_stack([X, X.sum(axis=1) > 0]).tolist()


def numbers(fields: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths to the numbers of a study."""
    items = fields.items() if isinstance(fields, dict) else enumerate(fields) if isinstance(fields, list) else ()
    for key, value in items:
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in COUNTS:
            yield (*path, key)
        yield from numbers(value, (*path, key))


def replaced(fields: Fields, random: np.random.Generator) -> tuple[Fields, dict[str, Any]]:
    """Return a study with one to three of its numbers replaced, and which these are."""
    fields, changed = copy.deepcopy(fields), {}
    everywhere = list(numbers(fields))
    keys = [path for path in everywhere if path[0] != "rows"]
    data = [path for path in everywhere if path[0] == "rows"] if "landscape" not in fields["problem"] else []
    for _ in range(random.choice([1, 1, 2, 3])):
        among = data if data and random.random() < 0.1 else keys
        path = among[random.integers(len(among))]
        inner = fields
        for key in path[:-1]:
            inner = inner[key]
        pool = FLOATS if isinstance(inner[path[-1]], float) or random.random() < 0.2 else WHOLE
        inner[path[-1]] = value = pool[random.integers(len(pool))]
        changed[".".join(map(str, path))] = value
    return fields, changed


def written(fields: Fields, folder: Path) -> Path:
    """Write a study with its rows; return its file."""
    folder.mkdir(parents=True)
    table = pd.DataFrame(fields["rows"], columns=["a", "b", "c", "y"])
    table.to_csv(folder / "rows.csv", index=False)
    lines = (" ".join([repr(row[-1]), *(f"{i + 1}:{v!r}" for i, v in enumerate(row[:-1]))]) for row in fields["rows"])
    (folder / "rows.svm").write_text("\n".join(lines) + "\n")
    file = folder / "study.toml"
    file.write_text(tomli_w.dumps({key: value for key, value in fields.items() if key != "rows"}))
    return file


def checked(
    file: Path, out: Path, chosen: Callable[[Any], Any] = lambda kinds: kinds
) -> tuple[str, fastgd.Results | None]:
    """Run a study and look at its results; return what is wrong, and the results if there are any.

    `chosen` picks those of the kinds of pictures that are drawn.
    """
    results = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if (planned := CliRunner().invoke(app, ["run", str(file), "--dry-run"])).exit_code not in (0, 2):
                return f"the plan ended with {planned.exit_code}: {_told(planned)}", None
            start = time.perf_counter(), time.process_time()
            results = fastgd.run(fastgd.Study.from_toml(file), out, threads=2, progress=False)
            # Of two clocks the slower one: other processes may have had the processors.
            spent = min(time.perf_counter() - start[0], time.process_time() - start[1]) - results.timings["compile"]
            return (f"took {spent:.1f} s" if spent > STALL else "") or _looked_at(file, results, chosen), results
        except fastgd.InputError as error:
            return (f"refused after it began: {error}" if out.exists() else ""), None
        except Exception:
            return traceback.format_exc(limit=-4), results


def _looked_at(file: Path, results: fastgd.Results, chosen: Callable[[Any], Any]) -> str:
    """Return what is wrong with results."""
    return _undefined(results) or _again(file, results) or _rankings(results) or _pictures(results, chosen)


def _undefined(results: fastgd.Results) -> str:
    """Values that are no finite numbers stand in trials that diverged alone; what guesses never saw is infinite.

    On a landscape the value may be too large for a float where a trial begins, and come back from there: such trials
    are judged by where they end.
    """
    keys = ["trial_id", *(["start"] if "start" in results.trials else [])]
    curves = results.curves.merge(results.trials[[*keys, "status", "optimizer"]], on=keys)
    guesses = curves["optimizer"].isin(["grid", "random_search"])
    odd = ~np.isfinite(curves["loss"]) & (curves["status"] != "diverged") & ~guesses
    if "start" in keys:
        odd &= curves["step"] == curves.groupby(keys, observed=True)["step"].transform("max")
    odd = curves[odd]
    return f"not finite, and not diverged:\n{odd.head(3).T}" if len(odd) else ""


def _again(file: Path, results: fastgd.Results) -> str:
    """Run a study that is finished: nothing runs."""
    events: list[Any] = []
    fastgd.run(fastgd.Study.from_toml(file), results.path, threads=2, progress=False, on_event=events.append)
    again = [event for event in events if isinstance(event, CohortStarted)]
    return f"ran again: {again}" if again else ""


def _rankings(results: fastgd.Results) -> str:
    for options in ((), ("--json",), ("--json", "--at", "best", "--by", "loss")):
        done = CliRunner().invoke(app, ["best", str(results.path), *options])
        if done.exit_code:
            return f"best {options} ended with {done.exit_code}: {_told(done)}"
        if "--json" in options:
            json.loads(done.stdout, parse_constant=_no_number)
    return ""


def _told(done: Any) -> str:
    return done.output + "".join(traceback.format_exception(done.exception)[-4:] if done.exception else [])


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _pictures(results: fastgd.Results, chosen: Callable[[Any], Any]) -> str:
    for kind in chosen([*PICTURES, *(OF_LANDSCAPES if results.on_landscapes else ())]):
        try:
            options = {"frames": 5} if kind == "animate" else {}
            figure = fastgd.plots.plot(results, kind, **options)
            fastgd.plots.save(figure, results.path.parent / f"picture{fastgd.plots.PLOTS.find(kind).suffix}")
        except fastgd.InputError:
            continue
        except Exception:
            return f"a picture of kind {kind}: {traceback.format_exc(limit=-5)}"
    return ""


def differing(results: fastgd.Results, ordinary: fastgd.Results, changed: Fields) -> str:
    """Return which trials are in both results and not the same; starts that are given by number."""
    keys = ["trial_id", "start"] if "start" in results.trials else ["trial_id"]
    if any(path.startswith("starts.points") for path in changed) and len(changed) == 1:
        keys = ["start", *(name for name in results.identity if name in ordinary.identity)]
    elif any(path.startswith(("starts", "rows")) for path in changed):
        return ""
    one, other = (_comparable(each.trials) for each in (results, ordinary))
    if "trial_id" not in keys:
        moved = int(next(iter(changed)).split(".")[2])
        one, other = (each[each["start"] != moved].drop(columns=NAMES) for each in (one, other))
    both = one.merge(other, on=keys, suffixes=("", " (ordinary)"))
    for column in (name for name in both if f"{name} (ordinary)" in both):
        found, expected = both[column], both[f"{column} (ordinary)"]
        apart = ~((found == expected) | (found.isna() & expected.isna()))
        if apart.any():
            where = both[apart].iloc[0]
            return f"{column}: {where[column]!r} beside an extreme trial, {where[f'{column} (ordinary)']!r} without"
    return ""


def _comparable(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials without what runs may have otherwise, and with words in place of categories."""
    kept = trials.drop(columns=[*PASSING, "kernel"])
    return kept.astype({name: object for name, kind in kept.dtypes.items() if kind == "category"})


ATTACK = Attack(
    name="extreme studies",
    promise="values from 5e-324 to 1e308 in any number of a study: it runs to its end, or is refused before it starts; "
    "ordinary trials have the same bits, results are ranked, drawn and resumed",
    test="tests/test_corpus.py",
    make=make,
    tries=672,
    few=20,
    beyond="all rules and landscapes: the studies are made of 23 templates, which share their kernels",
)
