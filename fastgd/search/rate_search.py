"""`fastgd.tune`: the search of learning rates, from a coarse grid to a fine one. Each round is a study of its own."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from fastgd.analysis import Results
from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.datasets.arrays import Arrays
from fastgd.runs.reporting.events import Event, Planned, Searching
from fastgd.runs.reporting.reports import OnEvent, reported
from fastgd.runs.runner import Elsewhere, keeping_data, run
from fastgd.search.candidates import Candidate, candidates_of, check_ended, check_metric, study_with, with_losses_only
from fastgd.search.found_rates import AT_END, BRACKETED, DIVERGED, NO_RATE, STUDY, FoundRates, Round
from fastgd.search.rate_grid import RateGrid, best_rate, excess, flat_range, neighbours
from fastgd.store.disk.files import remove, write_text
from fastgd.study.config import Study

LOW, HIGH = 1e-4, 1.0  # the first grid of an optimizer whose study names a single rate
_MARK = "that `fastgd tune` found"  # in the first line of the study at the best rates
SHARE = 5  # the early rounds have a fifth of the budget
Budget: TypeAlias = dict[str, int]


@np.errstate(over="ignore", invalid="ignore")  # trials that diverge are data
def tune(
    study: Study,
    out: str | Path | None = None,
    *,
    factor: float = 1.3,
    low: float | None = None,
    high: float | None = None,
    points: int = 9,
    epochs: int | None = None,
    steps: int | None = None,
    by: str | None = None,
    data: Arrays | None = None,
    threads: int | None = None,
    executor: Elsewhere | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> FoundRates:
    """Find the best learning rate of every optimizer of a study, from coarse to fine.

    The first round is a logarithmic grid of rates with a part of the study's budget. Each further one is a finer grid
    between the neighbours of the best rate, or goes on beyond the end at which the best rate lies. Once the neighbours
    are close enough, five rates about the best one are given the whole budget, and the search goes on with it until
    that best rate is bracketed, too. An optimizer with a schedule has the whole budget in every round: in a part of it
    the schedule would have another shape (a cosine over one epoch is a constant), which favours other rates.

    Every round is a study in a folder `round-0`, `round-1`, ... of its own: the same call again runs nothing anew, and
    goes on where it was interrupted. The other hyper-parameters keep their grids in all rounds; the best combination
    counts.

    Parameters
    ----------
    study : Study
    out : path, optional
        The folder: by default `results/<name>-tune`.
    factor : float
        The search ends where the two rates next to the best one are at most this ratio apart.
    low, high : float, optional
        The ends of the first grid: by default those of each optimizer's rates in the study, and 1e-4 and 1 where it has
        a single one.
    points : int
        The number of rates in a grid.
    epochs, steps : int, optional
        The budget of the rounds before the last ones, for optimizers whose rate is constant; by default a fifth of the
        study's, at least 1.
    by : {"validation_loss", "loss"}, optional
        The loss to judge by, as for `Results.best`: at the end, the median over the seeds, diverged trials last.
    data, threads, executor, progress, on_event
        As for `fastgd.run`. The processes of an executor keep the data from round to round.

    Returns
    -------
    FoundRates

    Raises
    ------
    InputError
        The options make no search, the study cannot run, or `max_seconds` was over before a round's trials ended: the
        same call goes on from there.
    KeyboardInterrupt
        The search was interrupted; the same call goes on from there.
    """
    if epochs is not None and steps is not None:
        raise InputError("give epochs or steps, not both")
    check_metric(study, by)
    candidates = candidates_of(study)
    grids = {index: _grid(one, low, high, points, factor) for index, one in enumerate(candidates) if one.rates}
    path = Path("results", f"{study.name}-tune") if out is None else expanded(out)
    whole = _budget(study)
    given = {key: value for key, value in (("epochs", epochs), ("steps", steps)) if value is not None}
    part = given or {key: max(1, math.ceil(value / SHARE)) for key, value in whole.items()}
    with reported(on_event, progress) as emit, keeping_data(executor):
        options = {"data": data, "threads": threads, "executor": executor, "progress": False, "on_event": emit}
        search = _Search(study, path, candidates, grids, by, options)
        if part != whole:
            steady = {index: grid.first() for index, grid in grids.items() if candidates[index].has_constant_schedule}
            search.until_bracketed(part, steady)
        search.until_bracketed(whole, search.first_with_whole_budget(), full=True)
    return search.finish(factor)


def _grid(candidate: Candidate, low: float | None, high: float | None, points: int, factor: float) -> RateGrid:
    """Return the first grid of an optimizer: over its rates in the study, where the study has several."""
    several = len(candidate.rates) > 1
    ends = (min(candidate.rates), max(candidate.rates)) if several else (LOW, HIGH)
    return RateGrid(ends[0] if low is None else low, ends[1] if high is None else high, points, factor)


def _budget(study: Study) -> Budget:
    return {"epochs": study.epochs} if study.epochs is not None else {"steps": study.steps or 0}


@dataclass(frozen=True)
class _Point:
    """A rate that was tried in a round, with the loss of the best combination of the other hyper-parameters."""

    round: int
    full: bool
    lr: float
    loss: float
    row: Mapping[str, Any]
    start: float
    trials: int


@dataclass
class _Case:
    """A candidate on one problem with one batch size, and the rates that were tried for it."""

    candidate: int
    cell: Mapping[str, Any]
    points: list[_Point] = field(default_factory=list)

    def tried(self, full: bool) -> dict[float, float]:
        """Return the loss at each rate that was tried, after the whole budget or after a part of it."""
        return {point.lr: point.loss for point in self.points if point.full == full}

    def best(self) -> _Point:
        """Return the best rate: among those that had the whole budget, if any did."""
        return min(self.points, key=lambda point: (not point.full, point.loss, point.lr))

    def excesses(self) -> dict[float, float]:
        """Return by how much each rate is worse than the best one after the same budget; see `excess`.

        Between the lowest and the highest rate that had the whole budget, only such rates count. Beyond them, the
        rates that had a part of it do.
        """
        start, whole, part = self.best().start, self.tried(full=True), self.tried(full=False)
        early = excess(part, start) if part else {}
        outside = {rate: worse for rate, worse in early.items() if not whole or not min(whole) <= rate <= max(whole)}
        return outside | (excess(whole, start) if whole else {})


@dataclass
class _Search:
    """The rounds of a search, one after another."""

    study: Study
    path: Path
    candidates: list[Candidate]
    grids: Mapping[int, RateGrid]
    by: str | None
    options: Mapping[str, Any]
    cases: dict[tuple[Any, ...], _Case] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)

    def until_bracketed(self, budget: Budget, rates: dict[int, list[float]], full: bool = False) -> None:
        """Run rounds of one budget until no optimizer has rates to try."""
        others = [index for index in range(len(self.candidates)) if full and index not in self.grids]
        while rates or others:
            self._round(budget, rates, others, full)
            others = []
            rates = _union(
                (case.candidate, self.grids[case.candidate].after(tried))
                for case in self.cases.values()
                if case.candidate in self.grids and (tried := case.tried(full))
            )

    def first_with_whole_budget(self) -> dict[int, list[float]]:
        """Return the first rates that get the whole budget: around the best ones so far, or the first grid."""
        best = [(case.candidate, best_rate(case.tried(full=False))) for case in self.cases.values()]
        tried = {index for index, _ in best}
        fresh = {index: grid.first() for index, grid in self.grids.items() if index not in tried}
        return fresh | _union((index, self.grids[index].around(rate)) for index, rate in best if rate is not None)

    def _round(self, budget: Budget, rates: Mapping[int, list[float]], others: Iterable[int], full: bool) -> None:
        number = len(self.rounds)
        blocks = [self.candidates[index].with_values() for index in others]
        blocks += [self.candidates[index].with_values(lr=own) for index, own in sorted(rates.items())]
        changes = {"epochs": None, "steps": None, **budget, "name": f"{self.study.name}-round-{number}"}
        study = study_with(with_losses_only(self.study), blocks, **changes)
        options = self.options
        emit, factor = options["on_event"], 0.0 if number else self._foreseen(budget, rates, full)
        if factor:
            options = {**options, "on_event": lambda event: self._report(event, emit, factor)}
        results = run(study, self.path / f"round-{number}", **options)
        check_ended(study, results)
        self.by = results.metric(self.by)
        trials = self._add_round(results, number, full)
        self.rounds.append(Round(results.path.name, budget, full, trials))

    def _foreseen(self, budget: Budget, rates: Mapping[int, list[float]], full: bool) -> float:
        """Return how many times as much as the first round all rounds are expected to cost; 0: not known."""
        whole = _budget(self.study)
        if not rates or budget.keys() != whole.keys():
            return 0.0
        share = min(value / whole[key] for key, value in budget.items())
        total = 0.0
        for index, grid in self.grids.items():
            searched, about = grid.foreseen()
            total += searched if full or index not in rates else share * searched + about
        return total / (share * sum(map(len, rates.values())))

    @staticmethod
    def _report(event: Event, emit: OnEvent, factor: float) -> None:
        """Pass an event of the first round on; after its plan, add what the whole search is expected to cost."""
        emit(event)
        if isinstance(event, Planned):
            emit(Searching(event.summary.cost.times(factor)))

    def _add_round(self, results: Results, number: int, full: bool) -> int:
        """Add the rates of a round to their cases; return the number of its trials."""
        ranking = results.best(self.by)
        ranking["start"] = ranking["trial_id"].map(_starts(results, str(self.by)))
        cell = [name for name in results.identity if name not in (*results.hyper, *_OF_CANDIDATE, *_OF_PROBLEM)]
        for index, candidate in enumerate(self.candidates):
            for values, rows in candidate.rows(ranking).groupby(cell, dropna=False, sort=False):
                known = dict(zip(cell, map(_or_none, values), strict=True))
                case = self.cases.setdefault((index, *known.values()), _Case(index, known))
                case.points += _points(rows, f"final_{self.by}", number, full)
        return int(_trials(ranking).sum())

    def finish(self, factor: float) -> FoundRates:
        """Write the answers, and the study at the best rates."""
        cases = sorted(self.cases.values(), key=lambda case: case.candidate)
        answers = pd.DataFrame([self._answer(case) for case in cases])
        points = pd.DataFrame([{"answer": i, **_described(p)} for i, case in enumerate(cases) for p in case.points])
        self._write_study(cases)
        found = FoundRates(self.path, self.study.name, str(self.by), factor, self.rounds, answers, points)
        found.save()
        return found

    def _answer(self, case: _Case) -> dict[str, Any]:
        candidate, best = self.candidates[case.candidate], case.best()
        row, found = best.row, _described(best)
        low = high = flat_low = flat_high = math.nan
        status = DIVERGED if best.loss == math.inf else NO_RATE
        if case.candidate in self.grids and status != DIVERGED:
            low, high = neighbours(case.tried(best.full), best.lr)
            flat_low, flat_high = flat_range(case.excesses(), best.lr)
            status = BRACKETED if low > 0 and high < math.inf else AT_END
        schedule = {f"schedule.{key}": value for key, value in candidate.schedule.numbers.items()}
        settings = {name: None if status == DIVERGED else row[name] for name in self._varied(candidate)}
        return {
            **case.cell,
            **{name: row[name] or "" for name in _OF_CANDIDATE},
            **schedule,
            **settings,
            "status": status,
            "lr": math.nan if status == DIVERGED else best.lr,
            "low": low or math.nan,
            "high": high if high < math.inf else math.nan,
            **{name: found[name] for name in ("loss", "loss_min", "loss_max")},
            "start": best.start,
            "flat_low": flat_low,
            "flat_high": flat_high,
            "seeds": found["seeds"],
            "diverged": found["diverged"],
            "rates": len({point.lr for point in case.points}),
            "rounds": len({point.round for point in case.points}),
            "trials": sum(point.trials for point in case.points),
        }

    def _varied(self, candidate: Candidate) -> list[str]:
        """Return the hyper-parameters of an optimizer, other than the rate, of which the study has several values."""
        values: dict[str, set[float]] = {}
        for other in self.candidates:
            if other.block.name == candidate.block.name:
                for name, grid in other.block.grids.items():
                    values.setdefault(name, set()).update(grid)
        return [name for name in candidate.block.grids if name != "lr" and len(values[name]) > 1]

    def _write_study(self, cases: Iterable[_Case]) -> None:
        """Write the study with each optimizer at its best rates, each rate once."""
        blocks: dict[str, dict[str, Any]] = {}
        for case in cases:
            best, candidate = case.best(), self.candidates[case.candidate]
            if best.loss < math.inf:
                block = candidate.with_values(**{name: best.row[name] for name in candidate.block.grids})
                blocks[repr(block)] = block
        file = self.path / STUDY
        if not blocks:
            if file.is_file() and _MARK in file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]:
                remove([file])
            return
        study = study_with(self.study, blocks.values(), name=f"{self.study.name}-tuned")
        head = f"# {self.study.name} with each optimizer at the best rate {_MARK}: `fastgd run {file}`.\n"
        write_text(file, f"{head}\n{study.to_toml()}")


# The columns that tell candidates apart, besides numbers, and those that follow from the problem's name.
_OF_CANDIDATE = ("optimizer", "variant", "schedule")
_OF_PROBLEM = ("dataset", "loss", "n", "d", "landscape", "noise", "dtype", "layout", "sparse")


def _points(rows: pd.DataFrame, value: str, number: int, full: bool) -> Iterator[_Point]:
    """Yield a point for each rate: its first row, since rows are in the order of the ranking."""
    rows = rows.drop(columns="loss", errors="ignore").rename(
        columns={f"{value}{end}": f"loss{end}" for end in ("", "_min", "_max")}
    )
    start = float(rows["start"].median())
    rates = rows["lr"] if "lr" in rows else pd.Series(np.nan, rows.index)
    for rate, own in rows.groupby(rates, dropna=False):
        best = own.iloc[0]
        loss = float(best["loss"])
        loss = math.inf if math.isnan(loss) else loss
        row = {str(name): item for name, item in best.items()}
        yield _Point(number, full, float(rate), loss, row, start, int(_trials(own).sum()))


def _trials(ranked: Any) -> Any:
    """Return how many trials a row of a ranking stands for, or how many each of its rows does."""
    return ranked["seeds"] * ranked.get("starts", 1)


def _described(point: _Point) -> dict[str, Any]:
    """Return a point as a row of a table."""
    spread = {name: float(point.row[name]) for name in ("loss_min", "loss_max")}
    counts = {"seeds": _trials(point.row), "diverged": int(point.row["diverged"])}
    return {"round": point.round, "full": point.full, "lr": point.lr, "loss": point.loss, **spread, **counts}


def _union(rates: Iterable[tuple[int, list[float]]]) -> dict[int, list[float]]:
    """Return the rates of each candidate for all problems and batch sizes together, since a study crosses them."""
    found: dict[int, set[float]] = {}
    for index, own in rates:
        if own:
            found.setdefault(index, set()).update(own)
    return {index: sorted(own) for index, own in found.items()}


def _starts(results: Results, metric: str) -> dict[str, float]:
    """Return the loss of each trial before the first step; on landscapes the median over the starts."""
    rows = results.table("curves", columns=["trial_id", metric], filter=pc.field("step") == 0).to_pandas()
    return dict(rows.groupby("trial_id", observed=True)[metric].median())


def _or_none(value: Any) -> Any:
    return None if pd.isna(value) else value
