"""What a study found, in words and numbers: the first lines of its report."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from fastgd.analysis import REPEATS, Results, value_of
from fastgd.common.escape import for_terminal
from fastgd.common.numbers import count, number
from fastgd.plots.readings import measure, settings, varied

MOST_PROBLEMS = 6  # of which each has sentences of its own
MOST_EDGES, MOST_NAMES = 8, 8


@dataclass(frozen=True)
class Finding:
    """A sentence, and what kind of one it is: "best", "tied", "edge", "lost" or "note"."""

    kind: str
    text: str


def studied(results: Results, ranking: pd.DataFrame) -> str:
    """Return what was studied, in a sentence or two."""
    trials = results.table("trials", columns=["trial_id"], filter=pc.field("in_study")).num_rows
    methods, problems = ranking["method"].nunique(), ranking["problem"].nunique()
    repeats = [
        count(int(ranking[name].max()), name.removesuffix("s"))
        for name in REPEATS
        if name in ranking and ranking[name].max() > 1
    ]
    of = f"{count(len(ranking), 'configuration')} of {count(methods, 'optimizer')}"
    over = f", each with {' and '.join(repeats)}" if repeats else ""
    return (
        f"{count(trials, 'trial')}: {of}{over}, on {_problems(results, ranking)}"
        f"{f' and {problems - 1:,} other problems' if problems > 1 else ''}, {_budget(results, ranking)}."
    )


def _problems(results: Results, ranking: pd.DataFrame) -> str:
    """Return the first problem in words."""
    first = ranking.iloc[0]
    name = _quoted(first["problem"])
    if results.on_landscapes:
        return f"{name} ({first['landscape']} in {count(int(first['d']), 'dimension')})"
    return f"{name} ({first['loss']} loss, {int(first['n']):,} training rows, {count(int(first['d']), 'parameter')})"


def _budget(results: Results, ranking: pd.DataFrame) -> str:
    study = results.study
    units = [unit for unit in ("epochs", "steps") if unit in study]
    length = count(int(study[units[0]]), units[0].removesuffix("s")) if units else "to their end"
    if "batch_size" not in ranking:
        return length
    sizes = ranking["batch_size"].dropna().unique()
    if len(sizes) == 1:
        return f"{length} at a batch size of {int(sizes[0]):,}"
    return f"{length} at {count(len(sizes), 'batch size')} from {int(min(sizes)):,} to {int(max(sizes)):,}"


def findings(results: Results, ranking: pd.DataFrame) -> list[Finding]:
    """Return the sentences of a study, the most important first.

    Parameters
    ----------
    results : Results
        The study.
    ranking : pandas.DataFrame
        All its configurations, as `Results.best` ranks them, with `method`.
    """
    problems = [own for _, own in ranking.groupby("problem", sort=False)]
    found = [each for own in problems[:MOST_PROBLEMS] for each in _of_problem(results, own, len(problems))]
    if len(problems) > MOST_PROBLEMS:
        found.insert(0, _winners(problems))
    return [*found, *_edges(results, ranking), *_lost(results)]


def _winners(problems: list[pd.DataFrame]) -> Finding:
    """Return how often each optimizer is first, over many problems."""
    first = pd.Series([own.iloc[0]["method"] for own in problems]).value_counts()
    words = ", ".join(f"{_quoted(name)} on {times}" for name, times in first.head(5).items())
    return Finding("best", f"Over {len(problems):,} problems, the best is {words}.")


def _of_problem(results: Results, own: pd.DataFrame, problems: int) -> Iterator[Finding]:
    """Yield what is best on a problem, by how much, and which optimizers cannot be told from it."""
    value, best = value_of(own), own.iloc[0]
    where = f" on {_quoted(best['problem'])}" if problems > 1 else ""
    if not np.isfinite(best[value]):
        yield Finding("best", f"No configuration{where} ended with a finite loss.")
        return
    first = own.drop_duplicates("method")
    words = measure(results, value.partition("_")[2])
    text = f"{named(results, own, best)} is best{where}: final {words} {number(best[value], 5)}"
    others = first.iloc[1:]
    others = others[np.isfinite(others[value])]
    if (own.get("target_epochs", pd.Series(dtype=float)).notna()).any():
        text += f", the target reached after {number(best['target_epochs'])} epochs"
    elif len(others):
        nearest = others.iloc[0]
        by = nearest[value] - best[value]
        text += f", by {number(by, 2)} ahead of {named(results, own, nearest)}"
    yield Finding("best", f"{text}.")
    yield from _ties(results, own, where)


def _ties(results: Results, own: pd.DataFrame, where: str) -> Iterator[Finding]:
    """Yield how many optimizers the seeds do not tell from the best one."""
    first = own.drop_duplicates("method")
    if len(first) < 2:
        return
    if first["tied"].iloc[1:].isna().all():
        yield Finding(
            "note", f"Whether others{where} are as good is not known: that takes two {results.repeats} or more."
        )
        return
    tied = first.loc[first["tied"].fillna(False).astype(bool), "method"].tolist()
    if len(tied) > 1:
        names = ", ".join(map(_quoted, tied[:MOST_NAMES])) + (" ..." if len(tied) > MOST_NAMES else "")
        those = (
            f"{len(tied)} of {len(first)} optimizers{where} are within the {results.spread_over}' spread of the best"
        )
        yield Finding("tied", f"Tied: {those}: {names}. The data do not tell which of them is best.")
    else:
        over = results.spread_over
        yield Finding("note", f"The {over} tell the best of {len(first)} optimizers{where} from all others.")


def _edges(results: Results, ranking: pd.DataFrame) -> list[Finding]:
    """Return which best rates are the lowest or highest one that was tried."""
    rows = results.best_at_ends(ranking.drop(columns="method")).to_dict("records")
    several = ranking["problem"].nunique() > 1
    found = [
        Finding(
            "edge",
            f"The best rate of {_method(row)}{' on ' + _quoted(row['problem']) if several else ''}, "
            f"{number(row['lr'])}, is at the {row['end']} end of its grid of {row['rates']}: "
            "a better one may lie beyond.",
        )
        for row in rows[:MOST_EDGES]
    ]
    if len(rows) > MOST_EDGES:
        found.append(Finding("edge", f"So are the best rates of {len(rows) - MOST_EDGES:,} more."))
    return found


def _method(row: dict[Any, Any]) -> str:
    variant = row["variant"]
    return _quoted(row["optimizer"]) + (f" ({variant})" if isinstance(variant, str) and variant else "")


def _lost(results: Results) -> list[Finding]:
    """Return how many trials diverged, failed, ran out of time or lost their race."""
    statuses = results.table("trials", columns=["status"], filter=pc.field("in_study")).to_pandas()["status"]
    counts = statuses.astype(str).value_counts()
    words = {"diverged": "diverged", "failed": "failed", "timeout": "ran out of time", "retired": "lost their race"}
    lost = [f"{counts[name]:,} {verb}" for name, verb in words.items() if counts.get(name, 0)]
    return [Finding("lost", f"Of {count(len(statuses), 'trial')}, {' and '.join(lost)}.")] if lost else []


def named(results: Results, among: pd.DataFrame, row: "pd.Series[Any]") -> str:
    """Return a configuration in a few words: its optimizer, its rate, and its other values that vary."""
    same = among[among["method"] == row["method"]]
    apart = [name for name in varied(results, same) if name not in ("lr", "optimizer", "variant", "problem")]
    rate = f" at {number(row['lr'])}" if "lr" in row and pd.notna(row["lr"]) else ""
    others = settings(row.drop("variant").reindex([*row.index.drop("variant"), "variant"], fill_value=""), apart)
    return f"{_quoted(row['method'])}{rate}" + (f" ({for_terminal(others)})" if others else "")


def _quoted(name: Any) -> str:
    """Return a name from a file, as a line that prints."""
    return for_terminal(str(name))
