"""Results read back from their folder, as pandas and NumPy, and the ranking of configurations. It needs no Numba."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from numpy.typing import NDArray

from fastgd.analysis.trained_model import TrainedModel
from fastgd.common.errors import InputError, nearest
from fastgd.common.folders import expanded
from fastgd.common.parsing import fault_of, from_toml
from fastgd.common.properties import cached_property
from fastgd.store.contents import Contents
from fastgd.store.manifest import Manifest, read_study
from fastgd.store.surface_files import Surface, read_surfaces
from fastgd.store.trial_surfaces import TrialSurface, read_trial_surfaces

METRICS = ("validation_loss", "loss")
AT = ("final", "best")
# Trials with these statuses rank behind all others, since their last loss says nothing.
LOST = ("diverged", "failed")
# The groups of trials in a ranking, the best first; see `Results.best`.
REACHED_TARGET, ENDED, UNKNOWN, DIVERGED = range(4)


def load(path: str | Path) -> "Results":
    """Return the results in a folder, whether the run is finished or not.

    Parameters
    ----------
    path : path
        The folder that `fastgd.run` wrote to.

    Returns
    -------
    Results
        What is committed there; tables are read when they are first used.

    Raises
    ------
    InputError
        The folder holds no results, or they are damaged.
    """
    return Results(path)


def with_methods(frame: pd.DataFrame) -> pd.DataFrame:
    """Return trials or a ranking with a column `method`: the optimizer, and its variant if that is not the default."""
    variant = frame["variant"].fillna("").astype(str)
    return frame.assign(method=frame["optimizer"].astype(str) + (" (" + variant + ")").where(variant != "", ""))


class _Study:
    """The keys of a study file that readers of results use, with their types; all may be missing."""

    epochs: int
    steps: int
    optimizer: list[dict[str, Any]]
    schedule: list[dict[str, Any]]


def _block_without_name(study: dict[str, Any]) -> str:
    """Return which block of a study has no name, also among blocks within others; empty if all have one."""
    blocks = [
        (f"{key}.{index}", block) for key in ("optimizer", "schedule") for index, block in enumerate(study.get(key, []))
    ]
    for path, block in blocks:  # the list grows while it is read
        if not isinstance(block, dict) or not isinstance(block.get("name"), str):
            return f"{path} must be a table with a name"
        blocks += [(f"{path}.{key}", block[key]) for key in ("schedule", "then", "also") if key in block]
    return ""


class Results:
    """The results of a study.

    Trials that an earlier version of the study had and this one has not are among `trials` and `curves`, with
    `in_study = False`; rankings and plots leave them out.

    Parameters
    ----------
    path : path
        The folder.

    Attributes
    ----------
    path : Path
        The folder.
    manifest : Manifest
        Versions, machine, data and times of the study.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = expanded(path)
        self.manifest = Manifest.read(self.path)
        self._contents = Contents.read(self.path)

    def __repr__(self) -> str:
        count = self._contents.dataset("trials").count_rows()
        return f"<Results of {self.manifest.name!r} in {self.path}: {count} trials>"

    @cached_property
    def study(self) -> dict[str, Any]:
        """The normalised study file."""
        file, text = self.path / "study.toml", read_study(self.path)
        try:
            found = from_toml(text)
        except ValueError as error:
            raise InputError(f"{file} is damaged: {error}") from error
        if fault := fault_of(_Study, found) or _block_without_name(found):
            raise InputError(f"{file} is damaged: {fault}")
        return found

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial; compile, train and evaluate seconds are those of its whole cohort."""
        return self._frame("trials")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row a checkpoint: all curves in memory; see `curves_dataset` for what outgrows it."""
        return self._frame("curves")

    @property
    def curves_dataset(self) -> pds.Dataset:
        """The curves as a `pyarrow.dataset.Dataset`, to be scanned in pieces.

        Here null means not measured, where a DataFrame shows NaN for that and for a loss that is not a number.
        """
        return self._contents.dataset("curves")

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of the last run that computed anything: load, plan, compile, train, evaluate, store."""
        return dict(self.manifest.timings)

    @property
    def hyper(self) -> tuple[str, ...]:
        """The names of the numeric hyper-parameters, those of the schedules included."""
        return self._contents.columns.hyper + self._contents.columns.schedule

    @property
    def identity(self) -> list[str]:
        """The columns of `trials` in which configurations can differ: all settings except the seed."""
        columns = self._contents.columns
        if self.on_landscapes:
            before, after = ["problem", "landscape", "d", "noise"], ["dtype"]
        else:
            before, after = ["problem", "dataset", "loss", "n", "d", "l2"], ["batch_size", "dtype", "layout", "sparse"]
        return [*before, "optimizer", "variant", *columns.hyper, "schedule", *columns.schedule, *after]

    @property
    def _trial_key(self) -> list[str]:
        """The columns that identify a trial."""
        return ["trial_id", "start"] if self.on_landscapes else ["trial_id"]

    @property
    def on_landscapes(self) -> bool:
        """Whether the study is one on landscapes, where a trial is a configuration from one start."""
        return self._contents.columns.coordinates is not None

    @cached_property
    def repeats(self) -> str:
        """In what the trials of a configuration differ: "seeds", or "starts" on landscapes with several starts."""
        if not self.on_landscapes:
            return "seeds"
        return "starts" if len(pc.unique(self.table("trials", columns=["start"])["start"])) > 1 else "seeds"

    @cached_property
    def trajectories(self) -> pd.DataFrame:
        """On landscapes, a row for each recorded step and each coordinate of chosen trials.

        `x`, `gradient` and `slot.*` are the state before the next step; `lr` and `effective_lr` are of the last step.
        """
        return self._frame("trajectories")

    @cached_property
    def surfaces(self) -> list[Surface]:
        """The objective of each problem over two parameters, if it was computed."""
        return read_surfaces(self.path)

    @property
    def trial_surfaces(self) -> list[TrialSurface]:
        """The objective about the end points of trials, as far as `fastgd.surface` computed it, the oldest first.

        Each has the axes `x` (nx,) and `y` (ny,), the `loss` (nx, ny), the trajectories `paths` on this plane, and
        `info`: of which trials it is, in which directions, and where these end.
        """
        return read_trial_surfaces(self.path)

    def metric(self, by: str | None = None) -> str:
        """Return the loss to rank by: the validation loss if every problem of the study has one, else the loss.

        Raises
        ------
        InputError
            `by` is no such loss, or was not measured.
        """
        if by is not None and by not in METRICS:
            raise InputError(f"results cannot be ranked by {by!r}; {nearest(by, METRICS)}")
        if self.on_landscapes:
            if by == "validation_loss":
                raise InputError("landscapes have no validation loss; rank by 'loss'")
            return "loss"
        trials = self.trials[self.trials["in_study"]]
        measured = trials["best_validation_loss"].notna().groupby(trials["problem"]).any()
        if by == "validation_loss" and not measured.any():
            raise InputError("no validation loss was measured: the study has no validation data; rank by 'loss'")
        return by or ("validation_loss" if len(measured) and measured.all() else "loss")

    def best(self, by: str | None = None, at: str = "final") -> pd.DataFrame:
        """Rank the study's configurations by their median over the seeds, within each problem; diverged ones last.

        The trials of a problem are put in order, and a configuration ranks where its trial at the median does:

        1. trials that `stop.target` ended, by the passes over the training rows (epochs) until they reached it: near
           the target all losses are alike. Those that reached it at the same checkpoint are in the order of the loss;
        2. trials that ended otherwise ("completed", "stalled", "converged", ...), by the loss;
        3. trials that ran out of time, or have no such loss: how they would have ended is not known;
        4. trials that diverged or failed.

        Of an even number of trials two are in the middle. The later one decides in which of the four groups the
        configuration is, and its loss or its epochs are the mean of both.

        Parameters
        ----------
        by : {"validation_loss", "loss"}, optional
            The loss to rank by; see `metric` for the default.
        at : {"final", "best"}
            The loss at the end of a trial, or the least one at any of its checkpoints.

        Returns
        -------
        pandas.DataFrame
            A row a configuration: `rank` (from 1, within the problem), the columns of `identity`, `<at>_<by>` (the
            median; a diverged or failed trial counts as infinite, one that ran out of time as NaN), the same with
            `_min` and `_max`, `seeds` and, on landscapes, `starts` (how many there are), `diverged` (a number of
            trials; `timeout` likewise, where there are any), `target_epochs` where a target ended trials (until the
            median reached it; NaN if it did not), and `trial_id`: the trial at the median, the better one of the
            middle two. On landscapes, `start` tells from which start that trial came.
        """
        if at not in AT:
            raise InputError(f"results cannot be ranked at {at!r}; {nearest(at, AT)}")
        value = f"{at}_{self.metric(by)}"
        trials, configuration, identities = self._configurations
        order_by = _sort_keys(trials, value)
        # Sorted, the trials of one configuration are neighbours, and the middle one is their median.
        score, epochs, group = (order_by[name].to_numpy() for name in ("score", "epochs", "group"))
        # There may be millions of trials: keys that are the same for all of them would cost time for nothing.
        differing = [values for values in (epochs, group) if (values != values[:1]).any()]
        order = np.lexsort((score, *differing, configuration))
        first = np.flatnonzero(np.diff(configuration[order], prepend=-1))
        count = np.diff(first, append=len(order))
        middle, upper, last = order[first + (count - 1) // 2], order[first + count // 2], order[first + count - 1]
        own = (trials["status"] == "timeout").to_numpy()
        columns = {
            value: (score[middle] + score[upper]) / 2,
            f"{value}_min": _extreme(np.fmin, score[order], first),
            f"{value}_max": np.where(group[last] == UNKNOWN, np.nan, _extreme(np.fmax, score[order], first)),
            **self._counts(trials, order, first, count),
            "diverged": _sums(group[order] == DIVERGED, first),
            **({"timeout": _sums(own[order], first)} if own.any() else {}),
        }
        if (group == REACHED_TARGET).any():
            columns["target_epochs"] = np.where(
                group[upper] == REACHED_TARGET, (epochs[middle] + epochs[upper]) / 2, np.nan
            )
        columns |= {name: trials[name].to_numpy()[middle] for name in self._trial_key}
        table: pd.DataFrame = identities.iloc[configuration[middle]].assign(**columns)
        problem, reached = pd.factorize(table["problem"])[0], columns.get("target_epochs", np.zeros(len(table)))
        keys = (table["diverged"], table[value], reached, group[upper], problem)
        table = table.iloc[np.lexsort(keys)].reset_index(drop=True)
        table.insert(0, "rank", table.groupby("problem", sort=False).cumcount() + 1)
        return table

    def best_at_ends(self, ranking: pd.DataFrame) -> pd.DataFrame:
        """Return the best configurations whose rate is the lowest or highest one tried: a better rate may lie beyond.

        Parameters
        ----------
        ranking : pandas.DataFrame
            What `best` returned.

        Returns
        -------
        pandas.DataFrame
            The first row of a problem, optimizer and variant in the ranking, with `end` ("lowest" or "highest") and
            `rates`: how many rates were tried with all other settings the same.
        """
        columns, value = [*ranking.columns, "end", "rates"], value_of(ranking)
        if "lr" not in ranking or ranking.empty:
            return ranking.iloc[:0].reindex(columns=columns)
        alike = ranking[[name for name in self.identity if name != "lr"]]
        alike = alike.astype(object).where(alike.notna(), None)
        winners = []
        for _, own in ranking.groupby(["problem", "optimizer", "variant"], dropna=False, sort=False, observed=True):
            best, others = own.iloc[0], alike.loc[own.index]
            rates = own["lr"][[row == others.values[0].tolist() for row in others.values.tolist()]].dropna()
            end = {rates.min(): "lowest", rates.max(): "highest"}.get(best["lr"])
            if rates.nunique() > 1 and end and np.isfinite(best[value]):
                winners.append({**best, "end": end, "rates": rates.nunique()})
        return pd.DataFrame(winners, columns=columns)

    def _counts(
        self, trials: pd.DataFrame, order: NDArray[np.int64], first: NDArray[np.int64], count: NDArray[np.int64]
    ) -> dict[str, NDArray[Any]]:
        """Return how many seeds, and on landscapes how many starts, each configuration has."""
        if not self.on_landscapes:
            return {"seeds": count}
        if trials["seed"].nunique() <= 1:  # there may be millions of trials: counting is not needed
            return {"seeds": np.minimum(count, 1), "starts": count}
        own = trials.iloc[order].groupby(np.repeat(np.arange(len(first)), count))
        return {"seeds": own["seed"].nunique().to_numpy(), "starts": own["start"].nunique().to_numpy()}

    def seeds_of(self, trial_id: str) -> list[str]:
        """Return the ids of the trials with the configuration of a trial, one for each seed, itself included."""
        if trial_id not in self._seeds:
            raise InputError(f"there is no trial {trial_id!r} in the study of {self.path}")
        return list(self._seeds[trial_id])

    def parameters(self, trial_id: str) -> NDArray[np.float64]:
        """Return the final parameters of a trial.

        Returns
        -------
        ndarray of shape (d,)
            The parameters, as the engine orders them.

        Raises
        ------
        InputError
            There is no such trial, or its parameters were not recorded.
        """
        rows = self.table("parameters", filter=pc.field("trial_id") == trial_id)
        if not rows.num_rows and trial_id in set(self.trials["trial_id"]):
            raise InputError(
                f'the parameters of trial {trial_id!r} were not recorded: record.parameters = "all" keeps those of all '
                'trials, and "best" those of the best'
            )
        if not rows.num_rows:
            near = nearest(trial_id, self.trials["trial_id"].head(1000))
            raise InputError(f"there is no trial {trial_id!r} in {self.path}; {near}")
        return np.asarray(rows["parameters"][0].values, dtype=np.float64)

    def model(self, trial_id: str, *, data: tuple[Any, Any] | None = None) -> TrainedModel:
        """Return the model that a trial trained, to predict with; `record.parameters` says whose are stored.

        What results do not hold (standardisation, labels, names of columns) comes from the data, which are loaded again
        as the study says. A study that names modules of its author's ("module:Name") imports them.

        Parameters
        ----------
        trial_id : str
        data : (X, y), optional
            The arrays or tables that the study was run on, if it was; they must be the same.

        Returns
        -------
        TrainedModel
            It needs neither results nor data any more, and can be pickled.

        Raises
        ------
        InputError
            There is no such trial in the study, its parameters were not recorded or are not finite, or the data are
            not there or not those that the trial was trained on.
        """
        # by its name: imports point down, and results are read without what plans and loads
        found: TrainedModel = import_module("fastgd.runs.trained_models").trained_model(self, trial_id, data)
        return found

    @cached_property
    def _seeds(self) -> dict[str, list[str]]:
        """For each trial in the study, the ids of the trials with its configuration; starts share one id."""
        trials, configuration, _ = self._configurations
        ids = pd.DataFrame({"trial": trials["trial_id"], "own": configuration}).drop_duplicates().astype({"trial": str})
        alike = [own.tolist() for _, own in ids.groupby("own", sort=False)["trial"]]
        return {trial: own for own in alike for trial in own}

    @cached_property
    def _configurations(self) -> tuple[pd.DataFrame, NDArray[np.int64], pd.DataFrame]:
        """The trials in the study, the number of each one's configuration, and the settings of the configurations."""
        if self.on_landscapes:
            return self._configurations_of_swarms()
        trials = self.trials[self.trials["in_study"]].reset_index(drop=True)
        codes = self._numbered(trials)
        first = np.flatnonzero(~pd.Series(codes).duplicated())
        return trials, codes, trials.iloc[first][self.identity]

    def _configurations_of_swarms(self) -> tuple[pd.DataFrame, NDArray[np.int64], pd.DataFrame]:
        """Return the same for landscapes, whose trials may be many millions: few of their columns are read."""
        names = ["trial_id", "start", "seed", "status", "final_loss", "best_loss"]
        table = self.table("trials", columns=names, filter=pc.field("in_study"))
        trials: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)  # a column at a time, not a copy
        del table
        codes, used = pd.factorize(trials["trial_id"])
        table = self._contents.first_rows(["configuration", *self.identity]).loc[list(map(str, used))]
        # Configurations that differ only by their seeds are one: the median is over seeds and starts.
        numbers = self._numbered(table)
        first = np.flatnonzero(~pd.Series(numbers).duplicated())
        return trials, numbers[codes], table.iloc[first][self.identity]

    def _numbered(self, trials: pd.DataFrame) -> NDArray[np.int64]:
        """Return the number of each trial's configuration, by its name; in schema 1 without names, by its settings."""
        by = self.identity if self.manifest.schema == 1 else ["configuration"]
        return np.asarray(trials.groupby(by, dropna=False, sort=False, observed=True).ngroup(), dtype=np.int64)

    def _frame(self, kind: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.table(kind).to_pandas()
        return frame

    def table(self, kind: str, **options: Any) -> pa.Table:
        """Read a dataset's table: `trials`, `curves` or `parameters`, with the options of `Dataset.to_table`."""
        try:
            return self._contents.table(kind, **options)
        except FileNotFoundError:  # another run has compacted the files since the folder was opened
            self._contents = Contents.read(self.path)
            return self._contents.table(kind, **options)


def _sort_keys(trials: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the sort keys of trials in a ranking: group, then epochs, then score; see `Results.best`."""
    status = trials["status"]
    score = trials[value].to_numpy(dtype=np.float64, copy=True)
    lost, reached = status.isin(LOST).to_numpy(), (status == "target").to_numpy()
    unknown = ((status == "timeout").to_numpy() | np.isnan(score)) & ~lost
    score[lost], score[unknown] = np.inf, np.nan
    group = np.select([lost, reached, unknown], [DIVERGED, REACHED_TARGET, UNKNOWN], ENDED)
    epochs = np.where(reached, trials["epochs"].to_numpy(dtype=np.float64), 0.0) if reached.any() else 0.0
    return pd.DataFrame({"group": group.astype(np.int8), "epochs": epochs, "score": score})


def _extreme(of: np.ufunc, values: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(of.reduceat(values, first) if len(first) else np.zeros(0))


def _sums(values: NDArray[np.bool_], first: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(np.add.reduceat(values.astype(np.int64), first) if len(first) else np.zeros(0, np.int64))


def value_of(ranking: pd.DataFrame) -> str:
    """Return the column by which a ranking is ordered."""
    return next(name for name in map(str, ranking.columns) if f"{name}_min" in ranking)
