"""`fastgd time`, `sensitivity`, `versus`, `ranks`, `profiles`, `ecdf` and `budget`: questions to results, one each."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgd.analysis import OF_PROBLEM, Results, load
from fastgd.cli.answers.rankings import columns_to_show
from fastgd.cli.output.formats import Cells, is_text, show_answer
from fastgd.common.numbers import count, number

if TYPE_CHECKING:
    import pandas as pd

TOP = 20
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_RATIOS = (1.0, 1.5, 2.0, 5.0, 10.0)
_SHARES = (0.25, 0.5, 0.75, 1.0)


def time(folder: Path, goal: dict[str, Any], each: str, top: int | None, form: str) -> None:
    """Print how long configurations or trials take to a goal."""
    is_text(form)
    results = load(folder)
    table = results.time_to(**goal, each=each)
    unit = table.attrs["unit"]
    shown = table.groupby("problem", sort=False, observed=True).head(top or TOP)
    columns = [*_differing(results, table), unit, *(name for name in (*_TIMES, *_OF_TRIALS) if name in table)]
    title = f"{results.manifest.name}: {unit.replace('_', ' ')} to {table.attrs['goal']}"
    remarks = [_between(table), *_minimum(table)]
    if each == "configuration":
        remarks.append("the median over the seeds; empty where half of the trials or more did not get there")
    if unit == "amortised_seconds":
        remarks.append("seconds are the cohort's, shared out among its trials: one trial alone takes longer")
    show_answer(table, form, Cells.of(title, shown[list(dict.fromkeys(columns))]), remarks, results.identity)


_TIMES, _OF_TRIALS = ("reached", "trials"), ("seed", "start", "status", "level", "censored_at", "trial_id")


def sensitivity(folder: Path, hyper: str, within: float, judge: dict[str, Any], form: str) -> None:
    """Print how much a hyper-parameter matters to each optimizer."""
    is_text(form)
    results = load(folder)
    table = results.sensitivity(hyper, within, **judge)
    title = f"{results.manifest.name}: how much {hyper} matters"
    remarks = [
        f"low to high: values that lose at most {within:.0%} of what the best one gained, all else being the same",
        *(
            f"{row['method']} on {row['problem']}: {hyper} {number(row[hyper], 4)} is the {row['end']} that was tried: "
            "a better one may lie beyond"
            for row in table.to_dict("records")
            if row["end"]
        ),
    ]
    if alone := [str(row["method"]) for row in table.to_dict("records") if row["values"] == 1]:
        remarks.append(
            f"one value: no other {hyper} was tried with all else the same ({', '.join(dict.fromkeys(alone))}), "
            "as where values are drawn together"
        )
    show_answer(table, form, Cells.of(title, table), remarks)


def versus(folder: Path, a: str, b: str, judge: dict[str, Any], form: str) -> None:
    """Print the paired differences of two configurations or optimizers."""
    is_text(form)
    results = load(folder)
    table = results.compare(a, b, **judge)
    value = table.attrs["value"]
    names = [f"{value}_a", f"{value}_b", "pairs", "mean_difference", "low", "high", "a_better", "b_better", "p_value"]
    title = f"{results.manifest.name}: {a} (a) against {b} (b), {value.replace('_', ' ')}"
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    remarks = [_verdict(row, a, b, table.attrs["less_is_better"]) for row in rows]
    remarks.append("low to high: Student's 95 % interval of the mean difference a - b over pairs with the same seed")
    if scale := table.attrs.get("scale_over_problems"):
        remarks.append(f"over all problems each is one pair: its difference as a share of {scale}")
    show_answer(table, form, Cells.of(title, table[["problem", *names, "tied"]]), remarks)


def _verdict(row: dict[Any, Any], a: str, b: str, less_is_better: bool) -> str:
    where, over = f"{row['problem']}: ", f" ({count(row['pairs'], 'pair')})"
    if row["tied"] is None:
        return f"{where}whether they differ is not known{over}"
    if row["tied"]:
        return f"{where}tied, the data do not tell them apart{over}"
    better = a if (row["mean_difference"] < 0) == less_is_better else b
    return f"{where}{better} is better{over}"


def ranks(folder: Path, blocks: str | None, alpha: float, judge: dict[str, Any], form: str) -> None:
    """Print the mean ranks of optimizers."""
    is_text(form)
    results = load(folder)
    table = results.ranks(blocks=blocks, alpha=alpha, **judge)
    about = table.attrs
    blocks_in_words = count(about["count"], "problem" if about["blocks"] == "problem" else "seed")
    remarks = [f"ranked by the {about['value'].replace('_', ' ')} in {blocks_in_words}"]
    remarks.append(f"mean ranks differ where they are {about['critical_difference']:.3g} apart (Nemenyi, {alpha:g})")
    if about["p_value"] == about["p_value"]:
        remarks.append(f"Friedman's test that all are alike: {about['friedman']:.4g}, p = {about['p_value']:.2g}")
    tied, methods = int(table["tied"].sum()), len(table)
    remarks.append(f"the data do not tell {tied} of {methods} optimizers apart" if tied > 1 else "the first stands out")
    if about["left_out"]:
        remarks.append(f"left out are {about['left_out']:,} in which not all have a value")
    show_answer(table, form, Cells.of(f"{results.manifest.name}: mean ranks", table), remarks)


def profiles(folder: Path, kind: str, goal: dict[str, Any], form: str) -> None:
    """Print performance or data profiles."""
    is_text(form)
    results = load(folder)
    table = results.profiles(kind=kind, **goal)
    about = table.attrs
    solved = f"{about['solved']:,} of {count(about['instances'], 'pair')} of problem and seed"
    remarks = [f"some optimizer reaches the {about['goal']} on {solved}", "--json and --format csv have every step"]
    cells = _shares(table, "ratio", _RATIOS) if kind == "performance" else _times(table, about["unit"])
    what = (
        "as a multiple of the fastest one's"
        if kind == "performance"
        else "until a share of problems and seeds is solved"
    )
    title = f"{results.manifest.name}: {about['unit'].replace('_', ' ')} to {about['goal']}, {what}"
    show_answer(table, form, Cells.of(title, cells), remarks)


def ecdf(folder: Path, of: str, goal: dict[str, Any], form: str) -> None:
    """Print when shares of the trials have reached a goal."""
    is_text(form)
    results = load(folder)
    table = results.ecdf(of=of, **goal)
    unit = table.attrs["unit"]
    title = f"{results.manifest.name}: {unit.replace('_', ' ')} until a share of the trials is at {table.attrs['goal']}"
    remarks = ["empty where fewer of them get there", "--json and --format csv have every step"]
    show_answer(table, form, Cells.of(title, _times(table, unit)), remarks)


def budget(folder: Path, interval: float, replacement: bool, judge: dict[str, Any], form: str) -> None:
    """Print what k random configurations are expected to find."""
    is_text(form)
    results = load(folder)
    table = results.budget(interval=interval, replacement=replacement, **judge)
    value = f"expected_{table.attrs['value']}"
    rows: list[dict[str, Any]] = []
    for (problem, method), own in table.groupby(["problem", "method"], sort=False):
        at = own.set_index("trials")[value]
        sizes = {f"k={size}": at.get(size, np.nan) for size in _SIZES}
        rows.append({"problem": problem, "method": method, "configurations": own["configurations"].iloc[0], **sizes})
    import pandas as pd

    cells = pd.DataFrame(rows).dropna(axis=1, how="all")
    title = f"{results.manifest.name}: {value.replace('_', ' ')} of the best of k random configurations"
    draws = "which may repeat" if replacement else "all of them different"
    remarks = [
        f"exact, for k draws from the stored configurations, {draws}",
        "--json and --format csv have the intervals",
    ]
    if unknown := table.attrs["unknown"]:
        remarks.append(
            f"left out: {count(unknown, 'configuration')} that lost a race or ran out of time; "
            "without them the rest is better than random"
        )
    show_answer(table, form, Cells.of(title, cells, 6), remarks)


def _differing(results: Results, table: "pd.DataFrame") -> list[str]:
    """Return the columns that tell rows apart."""
    shown = ["problem"] if table["problem"].nunique() > 1 else []
    about = columns_to_show(results, table) if "optimizer" in table else ["lr"] if "lr" in table else []
    return [*shown, "method", *(name for name in about if name not in (*OF_PROBLEM, "optimizer", "variant"))]


def _between(table: "pd.DataFrame") -> str:
    return f"times between checkpoints: {table.attrs['between_checkpoints']}"


def _minimum(table: "pd.DataFrame") -> list[str]:
    return [f"the minimum: {table.attrs['minimum']}"] if table.attrs["minimum"] else []


def _shares(table: "pd.DataFrame", axis: str, points: tuple[float, ...]) -> "pd.DataFrame":
    """Return the share of each method at some points of an axis."""
    import pandas as pd

    rows = []
    for method, own in table.groupby("method", sort=False):
        place = np.searchsorted(own[axis].to_numpy(), points, side="right") - 1
        shares = np.where(place >= 0, own["share"].to_numpy()[place], 0.0)
        named = {f"{axis} {number(point)}": f"{share:.0%}" for point, share in zip(points, shares, strict=True)}
        rows.append({"method": method, **named, "ever": f"{own['share'].max():.0%}"})
    return pd.DataFrame(rows)


def _times(table: "pd.DataFrame", axis: str) -> "pd.DataFrame":
    """Return when each method has reached some shares."""
    import pandas as pd

    rows = []
    for method, own in table.groupby("method", sort=False):
        share, times = own["share"].to_numpy(), own[axis].to_numpy()
        place = np.searchsorted(share, np.array(_SHARES) - 1e-12)
        found = [times[p] if p < len(times) else np.nan for p in place]
        named = {f"{wanted:.0%} at": when for wanted, when in zip(_SHARES, found, strict=True)}
        rows.append({"method": method, **named, "ever": f"{share.max():.0%}", "trials": own["trials"].iloc[0]})
    return pd.DataFrame(rows)
