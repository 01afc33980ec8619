"""`fastgd run --dry-run`: shows the plan of a study as a table."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import RenderableType

from fastgd.cli.output.consoles import table
from fastgd.common.numbers import amount, count
from fastgd.plan.plan import PlanSummary, UnitSummary

TEXTS = ("problem", "optimizer", "kernel")


def describe(name: str, summary: PlanSummary, standing: Sequence[str] = ()) -> list[RenderableType]:
    """Return a plan as a table with a row for all cohorts that differ only by their seeds, and the totals below it.

    standing: sentences on which results the folder holds already.
    """
    by = sorted(summary.cohorts, key=_kind)
    rows = [_row(list(cohorts)) for _, cohorts in groupby(by, key=_kind)]
    columns = list(rows[0]) if rows else []  # a shard may have nothing to do
    if len({row["problem"] for row in rows}) == 1:
        columns.remove("problem")
    if not summary.passes:  # landscapes have no data to pass over
        columns = [column for column in columns if column not in ("batch size", "passes")]
    cells = ([row[column] for column in columns] for row in rows)
    shown: list[RenderableType] = [table(f"{name}: the plan", columns, cells, TEXTS), ""] if rows else []
    return [
        *shown,
        f"{count(summary.trials, 'trial')} in {count(len(summary.cohorts), 'cohort')}: "
        f"{count(summary.lanes, 'lane')}, "
        f"{summary.padding:.0%} of what is computed is padding",
        _work(summary),
        summary.takes,
        *(f"note: {text}" for text in summary.notes),
        *standing,
        "nothing was run: leave out --dry-run to run it",
    ]


def _work(summary: PlanSummary) -> str:
    passes = f", {summary.passes:,.0f} passes over the data" if summary.passes else ""
    return f"{amount(summary.flops, 'flop')}{passes}; the largest part takes {amount(summary.bytes, 'B')} of the memory"


def _kind(cohort: UnitSummary) -> tuple[str, str, int, str]:
    return cohort.problem, cohort.optimizer, cohort.batch_size, cohort.kernel


def _row(cohorts: Sequence[UnitSummary]) -> dict[str, str]:
    lanes = sum(cohort.lanes for cohort in cohorts)
    computed = sum(cohort.lanes / (1 - cohort.padding) for cohort in cohorts)
    problem, optimizer, batch_size, kernel = _kind(cohorts[0])
    return {
        "problem": problem,
        "optimizer": optimizer,
        "batch size": f"{batch_size:,}",
        "cohorts": f"{len(cohorts):,}",
        "lanes": f"{lanes:,}",
        "padding": f"{1 - lanes / computed:.0%}",
        "kernel": kernel,
        "memory": amount(max(cohort.bytes for cohort in cohorts), "B"),
        "passes": f"{sum(cohort.passes for cohort in cohorts):,.0f}",
        "work": amount(sum(cohort.flops for cohort in cohorts), "flop"),
    }
