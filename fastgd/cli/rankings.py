"""`fastgd best` and the summary at the end of a run: they show results as tables."""

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from rich.table import Table

from fastgd.analysis import Results, load, value_of
from fastgd.cli.consoles import cell, show, show_json, table, whole
from fastgd.common.numbers import count, number, seconds

if TYPE_CHECKING:
    import pandas as pd

TOP = 20


def best(folder: Path, by: str | None, at: str, top: int | None, *, as_json: bool) -> None:
    """Print the ranking of a folder's configurations."""
    results = load(folder)
    ranking = results.best(by, at)
    if as_json:
        chosen = ranking if top is None else ranking[ranking["rank"] <= top]
        rows = chosen.astype(object).where(chosen.notna(), None).to_dict("records")
        show_json(whole(rows, results.identity))
        return
    chosen = ranking[ranking["rank"] <= (top or TOP)]
    show(ranking_table(results, ranking, chosen, f"{results.manifest.name}: the best configurations"))
    if len(chosen) < len(ranking):
        show(f"{len(ranking) - len(chosen):,} more of {len(ranking):,}: --top N, or --json for all")
    show(*remarks(results, ranking))


def summary(results: Results) -> None:
    """Print what a run found: the best of each optimizer, how trials ended, the times, and where the results lie."""
    ranking = results.best()
    winners = ranking.groupby(["problem", "optimizer", "variant"], dropna=False, sort=False).head(1)
    show(ranking_table(results, ranking, winners, f"{results.manifest.name}: the best of each optimizer"))
    show(*remarks(results, ranking))
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


def remarks(results: Results, ranking: "pd.DataFrame") -> list[str]:
    """Return sentences on what a ranking compares, and on best rates that are the lowest or highest one tried."""
    if ranking.empty:
        return []
    found = [f"ranked by {_compared(ranking)}"]
    for row in results.best_at_ends(ranking).to_dict("records"):
        method = " ".join(filter(None, (row["optimizer"], f"({row['variant']})" if _known(row["variant"]) else "")))
        where = f" on {row['problem']}" if ranking["problem"].nunique() > 1 else ""
        text = f"is the {row['end']} of the {row['rates']} that were tried: a better one may lie beyond"
        found.append(f"{method}{where}: the best rate, {row['lr']:.4g}, {text}")
    return found


def _compared(ranking: "pd.DataFrame") -> str:
    """Return what a ranking compares, in words."""
    value, groups = value_of(ranking).replace("_", " "), []
    if "target_epochs" in ranking:
        groups.append("the epochs until the training objective reached the target")
    groups.append(f"the {value}")
    counts = {name: int(ranking[name].max()) for name in ("seeds", "splits", "starts") if name in ranking}
    several = [count(number, name.removesuffix("s")) for name, number in counts.items() if number > 1]
    over = f", the median of {' x '.join(several)}" if several else ""
    late = [("timeout", "ran out of time"), ("diverged", "diverged or failed")]
    last = [f"what {why}" for name, why in late if name in ranking and ranking[name].any()]
    return f"{', then '.join(groups)}{over}" + (f"; behind all others {', then '.join(last)}" if last else "")


def _known(item: Any) -> bool:
    return not (item is None or item != item or item == "")


def ranking_table(results: Results, ranking: "pd.DataFrame", rows: "pd.DataFrame", title: str) -> Table:
    """Return the table of some rows of a ranking, with the columns in which its configurations differ."""
    value, over = value_of(ranking), results.repeats
    counts = [
        name
        for name in ("seeds", "splits", "starts")
        if name == over or (name in ranking and (ranking[name] > 1).any())
    ]
    at, spread = ["start"] if over == "starts" else [], f"range over {over}"  # of the median trial
    about = _columns_to_show(results, ranking)
    columns = ["rank", *about, "target_epochs", value, spread, *at, *counts, "timeout", "diverged"]
    there = {*ranking} if (ranking[counts] == 1).all(axis=None) else {*ranking, spread}
    shown = [column for column in columns if column in there]
    texts = ("problem", "optimizer", "variant", "schedule", "dtype", "layout", "sparse", spread)
    cells = ([_cell(row, column, value) for column in shown] for row in rows.to_dict("records"))
    return table(title, shown, cells, texts)


def _columns_to_show(results: Results, ranking: "pd.DataFrame") -> list[str]:
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
    if column == value and item != item:
        return "timeout" if row.get("timeout") else ""
    if column == value and item == inf and row["diverged"]:
        return "diverged"
    return cell(item, 6 if column == value else 4)
