"""Results read back from their folder, as pandas and NumPy: what was run, and how it went. It needs no Numba."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
from numpy.typing import NDArray

from fastgd.common.errors import InputError, nearest
from fastgd.common.folders import expanded
from fastgd.common.parsing import fault_of, from_toml
from fastgd.common.properties import cached_property
from fastgd.store.contents import Contents
from fastgd.store.manifest import Manifest, read_study
from fastgd.store.optima import OptimumInfo, read_optima
from fastgd.store.surface_files import Surface, SurfaceInfo, read_surface_infos, read_surfaces
from fastgd.store.trial_surfaces import TrialSurface, read_trial_surfaces

METRICS = ("validation_loss", "loss")


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


class StoredStudy:
    """What a results folder holds, without any judgement: `Results` answers questions about it."""

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

    @cached_property
    def settings(self) -> pd.DataFrame:
        """The settings of trials, with the seeds of runs and splits: a row for each `trial_id`, which is the index."""
        repeated = ["seed"] if self.on_landscapes else ["seed", "split_seed"]
        return self._contents.first_rows([*self.identity, *repeated])

    @property
    def trial_columns(self) -> list[str]:
        """The names of all columns of `trials`."""
        return list(self._contents.columns.trials.names)

    @property
    def trial_key(self) -> list[str]:
        """The columns that identify a trial."""
        return ["trial_id", "start"] if self.on_landscapes else ["trial_id"]

    @property
    def repeat_key(self) -> list[str]:
        """The columns in which the trials of a configuration differ: equal ones share their random numbers."""
        trials = self.configurations[0]
        return [name for name in ("split_seed", "seed", "start") if name in trials]

    @property
    def on_landscapes(self) -> bool:
        """Whether the study is one on landscapes, where a trial is a configuration from one start."""
        return self._contents.columns.coordinates is not None

    @cached_property
    def several_splits(self) -> bool:
        """Whether trials of the study differ in which rows were held out, so that each split has its own objective."""
        if self.on_landscapes:
            return False
        splits = self.table("trials", columns=["split_seed"], filter=pc.field("in_study"))["split_seed"]
        return len(pc.unique(splits)) > 1

    @cached_property
    def has_folds(self) -> bool:
        """Whether the study's trials are of folds, which are held out in turn."""
        if self.on_landscapes:
            return False
        folds = self.table("trials", columns=["fold"], filter=pc.field("in_study"))["fold"]
        return bool(folds.null_count < len(folds))

    @property
    def objective(self) -> list[str]:
        """The columns of trials that say which objective a trial minimises."""
        if self.on_landscapes:
            return ["problem"]
        return ["problem", "l2", *(["split_seed"] if self.several_splits else [])]

    @cached_property
    def repeats(self) -> str:
        """In what the trials of a configuration differ most: "seeds"; or, of several, "splits", "folds" or "starts"."""
        if not self.on_landscapes:
            if self.has_folds and self.several_splits:
                return "folds"
            seeds = self.table("trials", columns=["seed"], filter=pc.field("in_study"))["seed"]
            return "splits" if self.several_splits and len(pc.unique(seeds)) == 1 else "seeds"
        return "starts" if len(pc.unique(self.table("trials", columns=["start"])["start"])) > 1 else "seeds"

    @cached_property
    def spread_over(self) -> str:
        """All in which the trials of a configuration differ, in words: "seeds", or "seeds and folds"."""
        others = [self.repeats] if self.on_landscapes else []
        if self.several_splits:
            others = ["folds" if self.has_folds else "splits"]
        seeds = self.table("trials", columns=["seed"], filter=pc.field("in_study"))["seed"]
        found = ["seeds"] if len(pc.unique(seeds)) > 1 or not others else []
        return " and ".join(dict.fromkeys(found + others))

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

    @cached_property
    def surface_infos(self) -> list[SurfaceInfo]:
        """Of which problems surfaces are stored, and their known minima; the values over the grids are not read."""
        return read_surface_infos(self.path)

    @cached_property
    def stored_optima(self) -> list[OptimumInfo]:
        """What is stored of the minima of convex objectives, without where they are."""
        return read_optima(self.path)

    def forget(self, *names: str) -> None:
        """Read tables anew when they are next used: what they are made of has changed."""
        for name in names:
            self.__dict__.pop(name, None)

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

    def seeds_of(self, trial_id: str) -> list[str]:
        """Return the ids of the trials with the configuration of a trial, one for each seed, itself included."""
        if trial_id not in self._seeds:
            raise InputError(f"there is no trial {trial_id!r} in the study of {self.path}")
        return list(self._seeds[trial_id])

    def parameters(self, trial_id: str) -> NDArray[np.float64]:
        """Return the parameters of a trial: the final ones, or with "best_iterate" those after its `best_step`.

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

    @cached_property
    def _seeds(self) -> dict[str, list[str]]:
        """For each trial in the study, the ids of the trials with its configuration; starts share one id."""
        trials, configuration, _ = self.configurations
        ids = pd.DataFrame({"trial": trials["trial_id"], "own": configuration}).drop_duplicates().astype({"trial": str})
        alike = [own.tolist() for _, own in ids.groupby("own", sort=False)["trial"]]
        return {trial: own for own in alike for trial in own}

    @cached_property
    def configurations(self) -> tuple[pd.DataFrame, NDArray[np.int64], pd.DataFrame]:
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

    def batches(self, kind: str, **options: Any) -> Iterator[pa.RecordBatch]:
        """Yield a dataset's rows in pieces, in the order of writing, with the options of `Dataset.to_batches`."""
        given = 0
        try:
            for batch in self._contents.batches(kind, **options):
                yield batch
                given += 1
        except FileNotFoundError:  # another run has compacted the files since the folder was opened
            if given:  # the files that are there now have other pieces
                raise InputError(f"a run in {self.path} ended while its results were read; ask again") from None
            self._contents = Contents.read(self.path)
            yield from self._contents.batches(kind, **options)
