"""`fastgd tune`: runs a search of learning rates or a range test, and shows it as a table, pictures or JSON."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from fastgd import plots
from fastgd.cli import signals
from fastgd.cli.output.consoles import cell, show, show_json, table, whole
from fastgd.cli.pictures import RANGE, saved
from fastgd.cli.runs import executor_of
from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.common.numbers import count
from fastgd.runs.reporting.display import Reporter, errors
from fastgd.runs.reporting.events import Event, Finished
from fastgd.search.found_rates import AT_END, BRACKETED, DIVERGED, FOUND, FoundRates, columns_to_show, json_rows
from fastgd.search.rate_sweeps import RATES
from fastgd.study.config import Study

if TYPE_CHECKING:
    from fastgd.search.range_test import RangeTest


def tune(study: Study, out: Path | None, options: Mapping[str, Any], dask: str | None, *, as_json: bool) -> None:
    """Search the best rates of a study's optimizers, here or on a cluster, and print them."""
    from fastgd.search.rate_search import tune as search

    path = expanded(out or Path("results", f"{study.name}-tune"))
    with executor_of(dask) as executor, _reported(path) as on_event:
        found = search(study, path, executor=executor, progress=False, on_event=on_event, **_given(options))
    picture = path / "tune.png"
    notes = saved(plots.tune(found), picture)
    if as_json:
        record = {key: value for key, value in found.record().items() if key != "points"}
        show_json({**record, "answers": _whole(record["answers"], FOUND)})
        return
    show(_answers(found), "", *_remarks(found))
    ready = f"fastgd run {found.tuned}" if found.tuned else "every trial diverged: there is no rate to run with"
    trials = sum(one.trials for one in found.rounds)
    show(f"{count(trials, 'trial')} in {count(len(found.rounds), 'round')}: {path}", f"tune: {picture}", *notes, ready)


def range_test(study: Study, out: Path | None, options: Mapping[str, Any], dask: str | None, *, as_json: bool) -> None:
    """Let the rates of a study's optimizers grow, here or on a cluster, and print the rates that stand out."""
    from fastgd.search.range_test import range_test as test

    path = expanded(out or Path("results", f"{study.name}-tune"))
    for name in ("factor", "points", "epochs"):
        if options[name] is not None:
            raise InputError(f"--{name} is for a search: a range test has --low, --high and --steps")
    with executor_of(dask) as executor, _reported(path) as on_event:
        found = test(study, path, executor=executor, progress=False, on_event=on_event, **_given(options))
    picture = path / f"{RANGE}.png"
    notes = saved(plots.plot(found.results, "range", by=found.metric), picture)
    if as_json:
        answers = _whole(json_rows(found.answers), RATES)
        show_json({"metric": found.metric, "left_out": found.left_out, "answers": answers})
        return
    show(_rates(found), "")
    if found.left_out:
        show(f"without a rate to test: {', '.join(found.left_out)}")
    show(f"results: {found.results.path}", f"range: {picture}", *notes)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def _reported(path: Path) -> Iterator[Callable[[Event], None]]:
    """Show the progress of all runs in the block on standard error, and say how to go on after an interruption."""
    reporter = Reporter()

    def on_event(event: Event) -> None:
        reporter(event)
        if isinstance(event, Finished):
            errors().print(f"{event.results.path.name}: {count(len(event.results.trials), 'trial')}", soft_wrap=True)

    try:
        with reporter:
            yield on_event
    except KeyboardInterrupt:
        text = f"interrupted: what was done is kept in {path}; the same command goes on from there"
        errors().print(text, soft_wrap=True)
        raise typer.Exit(signals.code()) from None
    if not reporter.cohorts:
        errors().print(f"nothing to run: every trial is in {path}", soft_wrap=True)


# --- tables -----------------------------------------------------------------------------------------------------------


def _answers(found: FoundRates) -> Table:
    """Return the table of a search's answers."""
    about = columns_to_show(found.answers)
    texts = ("problem", "optimizer", "variant", "schedule", "bracket", "flat range", "remark")
    rows = []
    for row in found.answers.to_dict("records"):
        lost = row["status"] == DIVERGED
        own = [cell(row["lr"]), _interval(row["low"], row["high"]), "" if lost else cell(row["loss"], 6)]
        own += [_interval(row["flat_low"], row["flat_high"], decades=True), f"{row['rates']:,}", f"{row['trials']:,}"]
        rows.append([*(cell(row[name]) for name in about), *own, "" if row["status"] == BRACKETED else row["status"]])
    columns = [*about, "best lr", "bracket", found.metric, "flat range", "rates", "trials", "remark"]
    if all(not row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return table(f"{found.name}: the best rates", columns, rows, texts)


def _rates(found: "RangeTest") -> Table:
    """Return the table of a range test's answers."""
    texts = ("problem", "optimizer", "variant")
    columns = (*columns_to_show(found.answers, RATES), *RATES)
    rows = ([cell(row[name]) for name in columns] for row in found.answers.to_dict("records"))
    return table(f"{found.results.manifest.name}: rates that stand out", columns, rows, texts)


def _whole(answers: list[dict[str, Any]], found: Iterable[str]) -> list[dict[str, Any]]:
    """Return answers in which settings, all values except what was found, are integers where they are whole."""
    return whole(answers, set(answers[0] if answers else ()).difference(found))


def _remarks(found: FoundRates) -> list[str]:
    at_end = found.answers["status"].eq(AT_END).any()
    remark = "at an end: the best rate is the last one that was tried; the search does not go further"
    return [remark] if at_end else []


def _interval(low: float, high: float, decades: bool = False) -> str:
    """Return an interval in words; a missing end is shown as dots."""
    if math.isnan(low) and math.isnan(high):
        return ""
    text = f"{cell(low) or '...'} to {cell(high) or '...'}"
    return f"{text} ({math.log10(high / low):.1f} decades)" if decades else text
