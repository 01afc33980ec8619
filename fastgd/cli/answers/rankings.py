"""`fastgd best` and the summary at the end of a run: they show results as tables."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from rich.table import Table

from fastgd.analysis import REPEATS, Results, best_of_each, load, spread_of, value_of, with_methods
from fastgd.cli.output.consoles import cell, show, show_json, table
from fastgd.cli.output.formats import Cells, is_text, records, show_answer
from fastgd.common.numbers import count, number, seconds
from fastgd.store.schema import UNFINISHED

if TYPE_CHECKING:
    import pandas as pd

TOP = 20
MOST_EDGES = 3  # best rates at the edge of their grid that have a sentence each
MOST_NAMES = 12  # of optimizers in a sentence
MOST_TIES = 3  # problems of which each has a sentence on its ties
MOST_MINIMA = 3  # objectives of which each has a sentence on its minimum


def best(folder: Path, options: dict[str, Any], top: int | None, form: str) -> None:
    """Print the ranking of a folder's configurations, or of settings over all problems."""
    people = form not in ("json", "csv")
    is_text(form)
    results = load(folder)
    over = options["over"] is not None
    each = None if over else options["each"]
    # What is tied, and at the edge of a grid, is a matter of all configurations.
    everyone = results.best(**{**options, "each": options["each"] if over else None})
    ranking = best_of_each(everyone, each) if each else everyone
    shown = top or (TOP if people else None)
    # The best of each value of a column keep their ranks among all.
    place = ranking["rank"] if over else ranking.groupby("problem", sort=False, observed=True).cumcount() + 1
    chosen = ranking if shown is None else ranking[place <= shown]
    if form == "json":
        show_json(records(chosen, results.identity))
        return
    title = f"{results.manifest.name}: the best {'over all problems' if over else 'configurations'}"
    cells = _over_problems(results, chosen, title) if over else ranking_cells(results, everyone, chosen, title)
    show_answer(chosen, form, cells)
    if form != "text":
        return
    if len(chosen) < len(ranking):
        show(f"{len(ranking) - len(chosen):,} more of {len(ranking):,}: --top N, or --json for all")
    if over:
        value = ranking.attrs["value"].replace("_", " ")
        show(f"ranked by the mean of the places in {count(ranking.attrs['problems'], 'problem')}, by the {value}")
        if "mean_normalised_gap" in ranking:
            show("normalised gap: from 0, the best of a problem, to 1, its start or worse")
    else:
        show(*remarks(results, everyone))


def _over_problems(results: Results, ranking: "pd.DataFrame", title: str) -> Cells:
    """Return the cells of a ranking over problems, with the columns in which its rows differ."""
    alike = [name for name in results.identity if name in ranking and name != "lr"]
    same = [name for name in alike if ranking[name].nunique(dropna=False) == 1 and len(ranking) > 1]
    twice = ["optimizer", "variant"] if "method" in ranking else []
    return Cells.of(title, ranking.drop(columns=list({*same, *twice} & {*ranking})))


def summary(results: Results) -> None:
    """Print what a run found: the best of each optimizer, how trials ended, the times, and where the results lie."""
    ranking = results.best()
    winners = best_of_each(ranking, "method")
    show(ranking_table(results, ranking, winners, f"{results.manifest.name}: the best of each optimizer"))
    show(*remarks(results, ranking), *_minima(results))
    trials = results.table("trials", columns=["status"], filter=pc.field("in_study")).to_pandas()
    counts = trials["status"].value_counts()
    ends = ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)
    times = results.timings
    show(
        "",
        f"{count(len(trials), 'trial')}: {ends}",
        f"times: {', '.join(f'{what} {seconds(spent)}' for what, spent in times.items())}",
        f"results: {results.path}",
    )


def _minima(results: Results) -> list[str]:
    """Return sentences on the stored minima of objectives, and how near the study's trials came to them."""
    stored, found = results.optima, []
    apart = [name for name in ("l2", "split_seed") if name in stored and stored[name].nunique() > 1]
    for row in stored.head(MOST_MINIMA).to_dict("records"):
        known = "not certified" if math.isnan(row["error"]) else f"certified to {number(row['error'], 2)}"
        if row["contradicted"]:
            known = f"CONTRADICTED by a trial that saw {number(row['best_seen'], 12)}"
        above = row["best_seen"] - row["minimum"]
        nearest = "" if math.isnan(above) else f"; the nearest trial is {number(above, 2)} above"
        names = {"split_seed": "fold"} if results.has_folds else {}
        objective = ", ".join(
            [str(row["problem"]), *(f"{names.get(name, name)} {number(row[name])}" for name in apart)]
        )
        found.append(f"minimum of {objective}: {number(row['minimum'], 12)}, {known}{nearest}")
    if len(stored) > MOST_MINIMA:
        found.append(f"more minima: fastgd optimum {results.path}")
    return found


def remarks(results: Results, ranking: "pd.DataFrame") -> list[str]:
    """Return sentences on what a ranking compares, and on best rates that are the lowest or highest one tried."""
    if ranking.empty:
        return []
    found = [f"ranked by {_compared(ranking)}", *_ties(results, ranking)]
    edges = results.best_at_ends(ranking)
    if len(edges) > MOST_EDGES:
        names = list(dict.fromkeys(with_methods(edges)["method"]))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        text = "the best rate is the lowest or highest that was tried, and a better one may lie beyond:"
        return [*found, f"{text} {', '.join(names[:MOST_NAMES])}{more}"]
    for row in edges.to_dict("records"):
        method = " ".join(filter(None, (row["optimizer"], f"({row['variant']})" if _known(row["variant"]) else "")))
        where = f" on {row['problem']}" if ranking["problem"].nunique() > 1 else ""
        text = f"is the {row['end']} of the {row['rates']} that were tried: a better one may lie beyond"
        found.append(f"{method}{where}: the best rate, {row['lr']:.4g}, {text}")
    return found


def _ties(results: Results, ranking: "pd.DataFrame") -> list[str]:
    """Return sentences on how many optimizers the data do not tell from the best one of their problem."""
    winners = best_of_each(ranking, "method")
    over, found = results.spread_over, []
    if (winners.groupby("problem", observed=True)["rank"].size() == 1).all():  # one optimizer: its configurations
        winners = ranking
    several, what = ranking["problem"].nunique() > 1, "optimizers" if winners is not ranking else "configurations"
    for problem, own in winners.groupby("problem", sort=False, observed=True):
        tied, known = int(own["tied"].fillna(False).sum()), bool(own["tied"].notna().any())
        where = f" on {problem}" if several else ""
        if known and tied > 1:
            found.append(f"tied: {tied} of {len(own)} {what} are within the {over}' spread of the best{where}")
        elif known and len(own) > 1:
            found.append(f"not tied: the {over} tell the best of {len(own)} {what}{where} from all others")
    if len(found) > MOST_TIES:
        ties = sum(line.startswith("tied") for line in found)
        found = [f"tied: on {ties} of {len(found)} problems others are within the {over}' spread of the best"]
    single = all((ranking[name] == 1).all() for name in ("seeds", "starts") if name in ranking)
    if not found and single and winners is not ranking:
        found = [f"whether the first are tied is not known: that takes two {over} or more"]
    return found


def _compared(ranking: "pd.DataFrame") -> str:
    """Return what a ranking compares, in words."""
    value, groups = value_of(ranking).replace("_", " "), []
    if "target_epochs" in ranking:
        groups.append("the epochs until the training objective reached the target")
    groups.append(f"the {value}")
    counts = {name: int(ranking[name].max()) for name in REPEATS if name in ranking}
    several = [count(number, name.removesuffix("s")) for name, number in counts.items() if number > 1]
    middle = "mean" if spread_of(ranking) in ranking else "median"
    over = f", the {middle} of {' x '.join(several)}" if several else ""
    late = [("timeout", "ran out of time"), ("retired", "lost its race"), ("diverged", "diverged or failed")]
    last = [f"what {why}" for name, why in late if name in ranking and ranking[name].any()]
    return f"{', then '.join(groups)}{over}" + (f"; behind all others {', then '.join(last)}" if last else "")


def _known(item: Any) -> bool:
    return not (item is None or item != item or item == "")


def ranking_table(results: Results, ranking: "pd.DataFrame", rows: "pd.DataFrame", title: str) -> Table:
    """Return the table of some rows of a ranking, with the columns in which its configurations differ."""
    cells = ranking_cells(results, ranking, rows, title)
    return table(cells.title, cells.columns, cells.rows, cells.texts)


def ranking_cells(results: Results, ranking: "pd.DataFrame", rows: "pd.DataFrame", title: str) -> Cells:
    """Return the same as the texts of its cells."""
    value, over = value_of(ranking), results.repeats
    counts = [name for name in REPEATS if name == over or (name in ranking and (ranking[name] > 1).any())]
    at, spread = ["start"] if over == "starts" else [], f"range over {results.spread_over}"  # of the median trial
    about = columns_to_show(results, ranking)
    own = spread_of(ranking)  # of folds, whose means are compared
    columns = ["rank", *about, "target_epochs", value, own, spread, "tied", *at, *counts, *UNFINISHED, "diverged"]
    there = {*ranking} if (ranking[counts] == 1).all(axis=None) else {*ranking, spread}
    there -= {"tied"} if ranking["tied"].isna().all() else set()
    shown = [column for column in columns if column in there]
    texts = ("problem", "optimizer", "variant", "schedule", "dtype", "layout", "sparse", spread, "tied")
    cells = [[_cell(row, column, value) for column in shown] for row in rows.to_dict("records")]
    return Cells(title, shown, cells, texts)


def columns_to_show(results: Results, ranking: "pd.DataFrame") -> list[str]:
    """Return optimizer, lr, and the columns in which configurations of one problem and optimizer differ."""
    apart = [column for column in ("problem", "variant", "schedule") if ranking[column].nunique(dropna=False) > 1]
    groups = ranking.groupby(["problem", "optimizer", "variant"], dropna=False, sort=False)
    apart += [column for column in results.identity if (groups[column].nunique() > 1).any()]
    return [column for column in results.identity if column in ("optimizer", "lr", *apart)]


def _cell(row: dict[Any, Any], column: str, value: str) -> str:
    if column.startswith("range over"):
        ends = [row[f"{value}_{end}"] for end in ("min", "max")]
        known = any(end == end for end in ends)
        return " to ".join(number(end, 5) if end == end else "?" for end in ends) if known else ""
    item = row[column]
    if column == "tied":
        return ("tied" if item else "") if isinstance(item, bool) else "?"
    if column == value and item != item:
        return next((name for name in UNFINISHED if row.get(name)), "")
    if column == value and math.isinf(item) and row["diverged"]:
        return "diverged"
    return cell(item, 6 if column == value else 4)
