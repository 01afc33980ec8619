"""The candidates of a search of rates: each optimizer of a study with one variant and schedule, and its results."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from fastgd.analysis import METRICS, Results
from fastgd.common.errors import InputError, nearest
from fastgd.optimizers import find
from fastgd.plan.planner import make_plan
from fastgd.plan.sparsity import MASKED
from fastgd.plan.units.methods import methods_of, methods_of_block
from fastgd.study.config import OptimizerBlock, Study, require_study


@dataclass(frozen=True)
class Candidate:
    """An optimizer with one variant and one schedule; its other hyper-parameters may be grids.

    Attributes
    ----------
    block : OptimizerBlock
        Its block, without the other alternatives.
    schedule : Schedule
        Its schedule; that of the study, where the block has none.
    """

    block: OptimizerBlock
    schedule: Any

    @property
    def rates(self) -> list[float]:
        """The study's rates of the optimizer, among which to search; none where there is nothing to search.

        A line search chooses its rates itself. A rule whose rate has a default is meant to be used with it, and is
        searched only if the study names another rate.
        """
        given = self.block.hyper.get("lr", [])
        if self.block.line_search or given == [find(self.block.name).hyper.get("lr")]:
            return []
        return given

    @property
    def has_constant_schedule(self) -> bool:
        """Whether nothing is scheduled: a trial with a part of the budget is then the beginning of the whole trial."""
        return all(driver.name == "constant" and driver.then is None for driver in self.schedule.drivers)

    def with_values(self, **values: Any) -> dict[str, Any]:
        """Return its block for a study file, with the values of some hyper-parameters, an option's as "table.name"."""
        fields = self.block.model_dump()
        for name, value in values.items():
            table, _, key = name.rpartition(".")
            (fields[table] if table else fields)[key] = value
        return fields

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table of trials, or of a ranking, that belong to the candidate."""
        own = table["optimizer"] == self.block.name
        masked = table.get("sparse") == MASKED
        variants = np.where(masked, self._variant(masked=True), self._variant())
        own &= table["variant"].astype(object).fillna("") == variants
        own &= table["schedule"] == self.schedule.label
        for name, values in self._numbers.items():
            own &= table[name].isin(values) if name in table else False
        rows: pd.DataFrame = table[own]
        return rows

    @property
    def _numbers(self) -> dict[str, list[float]]:
        """The values that its numbers may have in results, by column; the rate may have any."""
        grids = {name: values for name, values in self.block.grids.items() if name != "lr"}
        schedule = {f"schedule.{key}": [value] for key, value in self.schedule.numbers.items()}
        search = self.block.line_search.numbers if self.block.line_search else {}
        return {**grids, **schedule, **{name: [value] for name, value in search.items()}}

    def _variant(self, masked: bool = False) -> str:
        """What stands in the column `variant`."""
        (method,) = methods_of_block(self.block, masked=masked)
        return method.variant


def candidates_of(study: Study) -> list[Candidate]:
    """Return the optimizers of a study, one for each variant, estimator and schedule.

    Raises
    ------
    InputError
        The study draws its configurations: there is no grid of rates to be made finer.
    """
    if study.search is not None and study.search.draws is not None:
        raise InputError(
            f"search.draws = {study.search.draws}: rates are searched from a grid or between two numbers, and this "
            "study draws its configurations, which fastgd run tries; give lr = [lo, hi], and num for what else is drawn"
        )
    found = []
    for method in methods_of(study):
        options = {name: [value] for name, value in method.choices.items()}
        for schedule in method.block.schedules(study.schedule):
            usual = schedule == study.schedule[0] and len(study.schedule) == 1
            own = None if usual or method.baseline else schedule
            changes = {"options": options, "estimator": [method.estimator], "schedule": own}
            found.append(Candidate(method.block.model_copy(update=changes), schedule))
    return list({repr(candidate): candidate for candidate in found}.values())


def study_with(study: Study, blocks: Iterable[dict[str, Any]], **changes: Any) -> Study:
    """Return a study with other optimizers and fields; fields that are None are left out."""
    fields = study.model_dump(exclude_none=True) | {"optimizer": list(blocks)} | changes
    if len(study.schedule) > 1 and "schedule" not in changes:
        del fields["schedule"]  # every candidate has its own
    return Study(**{name: value for name, value in fields.items() if value is not None})


def with_losses_only(study: Study) -> Study:
    """Return a study whose trials take their whole budget and store only their losses.

    Trials that stop at a target all have about the same loss, and parameters and trajectories say nothing about rates.
    """
    record = {"parameters": "none"} | ({"trajectories": 0} if study.landscapes else {})
    stop = study.stop.model_copy(update={"target": None})
    record_of_losses = study.record.model_copy(update=record)
    return study.model_copy(update={"stop": stop, "record": record_of_losses, "surface": None, "search": None})


def check_ended(study: Study, results: Results) -> None:
    """Refuse results of trials that ran out of time, since it is not known where their losses would have ended."""
    if study.max_seconds is None:
        return
    status = results.table("trials", columns=["status"], filter=pc.field("in_study"))["status"].to_pandas()
    if (status == "timeout").any() or (study.landscapes and len(status) < make_plan(study).count):
        text = (
            f"max_seconds = {study.max_seconds:g} was over before all trials ended; the same again goes on from there"
        )
        raise InputError(f"{results.path}: {text}")


def check_metric(study: Study, by: str | None) -> None:
    """Refuse to judge by a loss that the study's trials will not have, before any of them runs."""
    require_study(study)
    if by is not None and by not in METRICS:
        raise InputError(f"rates cannot be judged by {by!r}; {nearest(by, METRICS)}")
    if by == "validation_loss" and not any(problem.validation for problem in study.data_problems):
        raise InputError("rates cannot be judged by 'validation_loss': the study holds no data out; judge by 'loss'")
