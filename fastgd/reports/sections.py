"""What the templates show of one study: its words, the best of each optimizer, provenance, and how to reproduce it."""

import re
import shlex
from typing import Any

import numpy as np
import pandas as pd

from fastgd.analysis import Results, value_of
from fastgd.common.escape import for_terminal
from fastgd.common.numbers import number, seconds
from fastgd.plots.readings import measure
from fastgd.reports.findings import findings, named, studied
from fastgd.reports.profiles import widths_of
from fastgd.reports.selection import MOST_STARTS, Selection
from fastgd.reports.study_data import constants_of
from fastgd.store.manifest import WEIGHTED, read_study
from fastgd.store.schema import UNFINISHED

MOST_WINNERS = 60  # rows of one problem's table of the best of each optimizer


def section(selection: Selection, data: dict[str, Any], place: int) -> dict[str, Any]:
    """Return what the template of a study takes; `data` is what its script reads."""
    results, ranking = selection.results, selection.ranking
    return {
        "id": f"study-{place + 1}",
        "name": for_terminal(results.manifest.name),
        "studied": studied(results, ranking),
        "findings": findings(results, ranking),
        "constants": constants_of(results, ranking),
        "value": f"final {measure(results, value_of(ranking).partition('_')[2])}",
        "repeats": results.spread_over,
        "winners": winners(results, ranking),
        "widths": widths_of(results),
        "with_profiles": bool(data["profiles"]),
        "with_maps": bool(data["maps"]),
        "left_out": left_out(selection, data),
        "provenance": provenance(results),
        "notes": [for_terminal(note) for note in results.manifest.notes],
        "study": study_lines(results),
        "commands": commands(results),
        "landscape": results.on_landscapes,
    }


def winners(results: Results, ranking: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each problem the best configuration of each optimizer: rows of texts, and the numbers behind them."""
    value = value_of(ranking)
    ends = results.best_at_ends(ranking.drop(columns="method"))
    at_end = {(row["problem"], row["trial_id"]): row["end"] for row in ends.to_dict("records")}
    found = []
    for problem, own in ranking.groupby("problem", sort=False):
        first = own.drop_duplicates("method")
        least = first[value].iloc[0]
        rows = [_winner(results, own, row, value, least, at_end) for _, row in first.head(MOST_WINNERS).iterrows()]
        remarks = any(row["tied"] or row["end"] or row["diverged"] for row in rows)
        found.append(
            {
                "problem": for_terminal(str(problem)),
                "rows": rows,
                "more": len(first) - len(rows),
                "with_spread": any(row["spread_text"] for row in rows),
                "with_remarks": remarks,
            }
        )
    return found


def _winner(
    results: Results, own: pd.DataFrame, row: "pd.Series[Any]", value: str, least: float, at_end: dict[Any, str]
) -> dict[str, Any]:
    ends = [row[f"{value}_{end}"] for end in ("min", "max")]
    spread = ends[1] - ends[0] if np.isfinite(ends).all() else np.nan
    behind = row[value] - least if np.isfinite(row[value]) else np.nan
    return {
        "rank": int(row["rank"]),
        "method": for_terminal(str(row["method"])),
        "words": named(results, own, row).removeprefix(for_terminal(str(row["method"]))).removeprefix(" at "),
        "value": _sortable(row[value]),
        "text": number(row[value], 6) if np.isfinite(row[value]) else _lost(row, value),
        "behind": _sortable(behind),
        "behind_text": number(behind, 2) if np.isfinite(behind) and behind > 0 else "",
        "spread": _sortable(spread),
        "spread_text": number(spread, 2) if np.isfinite(spread) and int(row.get(results.repeats, 1)) > 1 else "",
        "tied": bool(row["tied"]) if "tied" in row and pd.notna(row["tied"]) else False,
        "end": at_end.get((row["problem"], row["trial_id"]), ""),
        "diverged": int(row["diverged"]),
    }


def _lost(row: "pd.Series[Any]", value: str) -> str:
    if np.isinf(row[value]):
        return "diverged"
    return next((name for name in UNFINISHED if row.get(name)), "no loss")


def _sortable(value: Any) -> str:
    """Return a number as the attribute by which the script sorts; nothing, which comes last, where it is not finite."""
    return repr(float(value)) if np.isfinite(value) else ""


def left_out(selection: Selection, data: dict[str, Any]) -> list[str]:
    """Return in words what the page does not hold of the study."""
    found, curves = [], data["curves"]
    if len(selection.shown) < len(selection.ranking):
        found.append(
            f"The tables hold {len(selection.shown):,} of {len(selection.ranking):,} configurations: the best of each "
            "problem and optimizer, an equal share."
        )
    if len(selection.rows) < selection.all_trials:
        starts = f", at most {MOST_STARTS} starts of each" if selection.results.repeats == "starts" else ""
        found.append(
            f"Of {selection.all_trials:,} trials, {len(selection.rows):,} are here: those of the best configurations "
            f"of each problem and optimizer{starts}. The ranking counts all of them."
        )
    if curves["most"] > curves["points"]:
        found.append(
            f"Of a curve's up to {curves['most']:,} checkpoints at most {curves['points']} are here, evenly spaced, "
            "with the first and the last."
        )
    if curves["metrics"]:
        found.append(
            "Curves are rounded to a thousandth of their distance from the least known loss; tables are exact."
        )
    return found


def provenance(results: Results) -> list[tuple[str, str]]:
    """Return what the manifest says, as names and texts."""
    manifest = results.manifest
    packages = ", ".join(f"{name} {version}" for name, version in manifest.packages.items())
    times = ", ".join(f"{what} {seconds(spent)}" for what, spent in manifest.timings.items())
    rows = [
        ("fastgd", f"{manifest.fastgd}, results of schema {manifest.schema}"),
        ("study", f"sha256 {manifest.study_hash}"),
        *((f"data of {problem}", _hash(data)) for problem, data in manifest.fingerprints.items()),
        ("packages", packages),
        ("Python", manifest.python),
        ("processor", manifest.cpu),
        ("threads", f"{manifest.threads}, {manifest.threading_layer}; vectors of {manifest.simd_bits} bits"),
        ("last run that computed", f"{manifest.started} to {manifest.ended or '(interrupted, or running)'}"),
        ("times of that run", times),
    ]
    return [(for_terminal(name), for_terminal(text)) for name, text in rows if text]


def _hash(fingerprint: str) -> str:
    """Return a fingerprint with its kind; landscapes have their formula's name in its place."""
    return f"sha256 {fingerprint}" if re.fullmatch(r"[0-9a-f]{64}", fingerprint) else fingerprint


def study_lines(results: Results) -> str:
    """Return the study file, in which what does not print is written as an escape."""
    return "\n".join(for_terminal(line.expandtabs(4)) for line in read_study(results.path).splitlines())


def commands(results: Results) -> list[tuple[str, str]]:
    """Return commands that make the same results again, and ask more of them, each with what it does."""
    folder = for_terminal(shlex.quote(results.path.name or "results"))
    named_problems = [problem for problem in _problems(results.study) if isinstance(problem, dict)]
    known = ("dataset", "path", "synthetic", "landscape")
    of_arrays = any(not any(problem.get(key) for key in known) for problem in named_problems)
    arrays = "(X, y, weights)" if any(note.endswith(WEIGHTED) for note in results.manifest.notes) else "(X, y)"
    first = (
        (
            f'fastgd.run("study.toml", out="{folder}", data={arrays})',
            "In Python: the study was run on arrays, which are not among its results.",
        )
        if of_arrays
        else (
            f"fastgd run study.toml --out {folder}",
            "The file below as study.toml: on such a machine, the same bits.",
        )
    )
    return [
        (f"pip install fastgd=={for_terminal(results.manifest.fastgd)}", "The version that made these results."),
        first,
        (f"fastgd verify {folder}", "Checks every byte of a folder of results."),
        (f"fastgd best {folder}", "The whole ranking; --json for programs."),
        (f"fastgd plot {folder} --kind sensitivity", "Pictures for papers: .png, .svg or .pdf."),
    ]


def _problems(study: dict[str, Any]) -> list[Any]:
    found = study.get("problem", [])
    return found if isinstance(found, list) else [found]


def summary(selections: list[Selection]) -> dict[str, Any]:
    """Return several studies side by side: facts of each, and per problem the best of each optimizer in all of them."""
    studies = [selection.results for selection in selections]
    facts = [
        ("trials", [f"{selection.all_trials:,}" for selection in selections]),
        ("configurations", [f"{len(selection.ranking):,}" for selection in selections]),
        ("optimizers", [str(selection.ranking["method"].nunique()) for selection in selections]),
        ("problems", [str(selection.ranking["problem"].nunique()) for selection in selections]),
        ("best", [_best(selection) for selection in selections]),
        ("fastgd", [for_terminal(results.manifest.fastgd) for results in studies]),
        ("processor", [for_terminal(results.manifest.cpu) for results in studies]),
    ]
    return {
        "names": [for_terminal(results.manifest.name) for results in studies],
        "facts": facts,
        "problems": _shared(selections),
    }


def _best(selection: Selection) -> str:
    first = selection.ranking.iloc[0]
    several = selection.ranking["problem"].nunique() > 1
    where = f" on {for_terminal(str(first['problem']))}" if several else ""
    return named(selection.results, selection.ranking, first) + where


def _shared(selections: list[Selection]) -> list[dict[str, Any]]:
    """Return for each problem of at least two studies the best of each optimizer: rows of optimizers, a text a study.

    Problems are the same where their data and the compared loss are: values of others are not set side by side.
    """
    tables = [_winners_by_problem(selection) for selection in selections]
    keys = dict.fromkeys(key for table in tables for key in table)
    found = []
    for key in keys:
        own = [table.get(key, {}) for table in tables]
        if sum(map(bool, own)) < 2:
            continue
        rows = [
            {"method": for_terminal(method), "cells": [_text(each.get(method)) for each in own]}
            for method in dict.fromkeys(name for each in own for name in each)
        ]
        found.append({"problem": for_terminal(key[0]), "value": key[2].replace("_", " "), "rows": rows})
    return found


def _winners_by_problem(selection: Selection) -> dict[tuple[str, str, str], dict[str, float]]:
    ranking, value = selection.ranking, value_of(selection.ranking)
    first = ranking.drop_duplicates(["problem", "method"])
    data = selection.results.manifest.fingerprints
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in first.to_dict("records"):
        key = (str(row["problem"]), data.get(str(row["problem"]), ""), value)
        found.setdefault(key, {})[str(row["method"])] = float(row[value])
    return found


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return number(value, 6) if np.isfinite(value) else "diverged or no loss"


def title_of(selections: list[Selection]) -> str:
    """Return the page's title."""
    names = [for_terminal(selection.results.manifest.name) for selection in selections]
    return names[0] if len(names) == 1 else f"{len(names)} studies: {', '.join(names)}"
