"""`fastgd.range_test`: one run in which the learning rate grows from step to step until it is too large."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.datasets.arrays import Arrays
from fastgd.runs.reporting.reports import OnEvent
from fastgd.runs.runner import Elsewhere, run
from fastgd.search.candidates import Candidate, candidates_of, check_ended, check_metric, study_with, with_losses_only
from fastgd.search.rate_grid import range_fault
from fastgd.search.rate_sweeps import RATES, RateSweep, sweeps_of
from fastgd.study.config import Schedule, Study
from fastgd.study.fields import ALWAYS_RECORDED

LOW, HIGH, STEPS = 1e-6, 10.0, 300
FOLDER = "range-test"
RESOLUTION = 100  # neighbouring checkpoints are at most about a hundredth of all steps apart


@dataclass(frozen=True)
class RangeTest:
    """The result of `fastgd.range_test`.

    Attributes
    ----------
    results : Results
        Those of the runs in which the rates grew.
    metric : str
        The loss that was looked at.
    answers : pandas.DataFrame
        A row for each configuration, with the columns of `Results.best` that tell configurations apart and
        `suggestion`, the rate to try: a tenth of `least`, that of the least loss; `steepest`, the rate at which the
        loss falls most along the logarithm of the rate; `blow_up`, that at which the loss is above the start's again.
        NaN where there is none.
    left_out : list of str
        The optimizers without a rate to test.
    """

    results: Results
    metric: str
    answers: pd.DataFrame = field(repr=False)
    left_out: list[str]


@np.errstate(over="ignore", invalid="ignore")  # trials that diverge are data
def range_test(
    study: Study,
    out: str | Path | None = None,
    *,
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    by: str | None = None,
    data: Arrays | None = None,
    threads: int | None = None,
    executor: Elsewhere | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> RangeTest:
    """Let the rate of every optimizer grow from step to step, and see where the loss falls and where it blows up.

    This is the range test of Smith (2017), https://arxiv.org/abs/1506.01186, with exact losses over all rows: a few
    hundred steps in place of a search. The study's own schedules are left out. The runs are a study of
    their own in the folder `range-test`; the same call again runs nothing anew.

    Parameters
    ----------
    study : Study
    out : path, optional
        The folder around `range-test`: by default `results/<name>-tune`, as for `fastgd.tune`.
    low, high : float
        The first and the last rate.
    steps : int
        The number of steps between them.
    by, data, threads, executor, progress, on_event
        As for `fastgd.tune`.

    Returns
    -------
    RangeTest

    Raises
    ------
    InputError
        The options make no test, no optimizer has a rate, or the study cannot run.
    """
    if fault := range_fault(low, high):
        raise InputError(f"a rate cannot grow from {low:g} to {high:g}: {fault}")
    check_metric(study, by)
    candidates = candidates_of(study)
    tested = [candidate for candidate in candidates if candidate.rates]
    if not tested:
        raise InputError("no optimizer of the study has a rate to test")
    path = Path("results", f"{study.name}-tune") if out is None else expanded(out)
    sweep = _sweeping(study, tested, low, high, steps)
    options: dict[str, Any] = {"threads": threads, "executor": executor, "progress": progress, "on_event": on_event}
    results = run(sweep, path / FOLDER, data=data, **options)
    check_ended(sweep, results)
    answers = _answers(results, sweeps_of(results, by))
    left_out = list(dict.fromkeys(candidate.block.name for candidate in candidates if not candidate.rates))
    return RangeTest(results, results.metric(by), answers, left_out)


def _sweeping(study: Study, tested: list[Candidate], low: float, high: float, steps: int) -> Study:
    """Return the study of the test: a rate of 1 times a factor that grows from `low` to `high`."""
    growing = Schedule(name="exponential", per="step", params={"final": high, "start": low})
    blocks = [{**candidate.with_values(lr=1.0), "schedule": None} for candidate in tested]
    blocks = list({repr(block): {k: v for k, v in block.items() if v is not None} for block in blocks}.values())
    # checkpoints at equal ratios, and so many that the last ones, where most happens, are close together
    every = {"log": max(2, math.ceil(math.log(steps) * min(steps, RESOLUTION)))} if steps > 1 else "epoch"
    lean = with_losses_only(study)
    record = lean.record.model_copy(update={"every": every, "metrics": list(ALWAYS_RECORDED)})
    stop = lean.stop.model_copy(update={"patience": None})
    changes = {"epochs": None, "steps": steps, "schedule": [growing], "record": record, "stop": stop}
    return study_with(lean, blocks, name=f"{study.name}-{FOLDER}", **changes)


def _answers(results: Results, sweeps: list[RateSweep]) -> pd.DataFrame:
    """Return the rates that stand out in sweeps, with the columns that tell the configurations apart."""
    table = pd.DataFrame([sweep.configuration for sweep in sweeps])
    hyper = [name for name in results.hyper if (table.groupby("optimizer")[name].nunique() > 1).any()]
    about = [name for name in results.identity if name not in (*results.hyper, *_OF_PROBLEM)]
    found = {name: [getattr(sweep, name) for sweep in sweeps] for name in RATES}
    return table[[*about, *hyper]].assign(**found)


# Columns that follow from the problem's name, or are the same in the whole test.
_OF_PROBLEM = ("dataset", "loss", "n", "d", "landscape", "noise", "dtype", "layout", "sparse", "schedule")
