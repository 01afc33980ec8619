"""From the problems of a study to its data: rows are read once, and prepared once for the problems that share them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from fastgd.common.errors import InputError, TooLargeError
from fastgd.datasets import (
    Data,
    Dataset,
    FoldKeys,
    Source,
    from_arrays,
    given_folds,
    load,
    make_folds,
    prepare,
    prepare_folds,
    rare_classes,
)
from fastgd.datasets.arrays import Arrays
from fastgd.datasets.load import keep_in_files
from fastgd.problems import find_loss
from fastgd.runs.reporting.events import Loading
from fastgd.runs.reporting.reports import OnEvent
from fastgd.store.manifest import WEIGHTED
from fastgd.study.config import Problem, Study

IN_FILES = 'source = "map" or "stream"'
PREPARED_BY = (
    "positive",
    "standardize",
    "standardize_target",
    "layout",
    "class_weight",
)  # the keys of a problem of its data's form


class Loader:
    """Loads the data of a study, and holds the rows as they were read until it is told to let go of them.

    Parameters
    ----------
    emit : callable
        Receives the events.
    given : (X, y) or (X, y, weights), optional
        Arrays in place of the problems' datasets.
    folds : sequence of (train, test), optional
        Those of problems whose folds are given.
    """

    def __init__(self, emit: OnEvent, given: Arrays | None = None, folds: Sequence[Any] | None = None) -> None:
        if given is not None and not (isinstance(given, tuple | list) and len(given) in (2, 3)):
            many = f" of {len(given)}" if isinstance(given, tuple | list) else ""
            raise InputError(f"data must be (X, y), or (X, y, weights); found {type(given).__name__}{many}")
        self._emit, self._given, self._folds = emit, given, folds
        self._read: dict[str, tuple[Source, Dataset]] = {}

    def load(self, study: Study) -> list[Data]:
        """Load and prepare the data of each split of every problem; those that ask for the same share it."""
        _check_folds(study, self._folds)
        prepared: dict[str, list[Data]] = {}
        result = []
        for index, problem in enumerate(study.data_problems):
            for seed in [None] if problem.folds else problem.split_seed:
                key = repr((_source(problem), find_loss(problem.loss).targets, _preparation(problem, seed)))
                if key not in prepared:
                    prepared[key] = self._prepared(index, problem, study.dtype, seed)
                result += prepared[key]
        return result

    def load_all_rows(self, study: Study) -> Data:
        """Load and prepare all rows of a study's first problem for training, with those that it holds out."""
        problem = study.data_problems[0]
        dataset = self._dataset(0, problem)  # as it is: the column of groups is no feature
        whole = problem.model_copy(update={"validation": 0.0})
        (prepared,) = self._prepared(0, whole, study.dtype, None, dataset)
        return prepared

    # --- the rows as they were read -----------------------------------------------------------------------------------

    def unshared_bytes(self, data: Sequence[Data]) -> int:
        """Return what is free once rows are let go of that no data share: their copies have another form."""
        used = [array for rows in data for array in rows.arrays]
        return sum(
            array.nbytes
            for _, dataset in self._read.values()
            if self._given is None and not dataset.mapped
            for array in dataset.arrays
            if not any(np.may_share_memory(array, other) for other in used)
        )

    def let_go(self, *, keep: bool = False) -> None:
        """Let go of rows as they were read; `keep`: in files from which they map, so that they are not read again."""
        read, self._read = self._read, {}
        for source, dataset in read.values() if keep else ():
            # without room for them, or memory to write them, they are read again, and that says what is wrong
            with suppress(InputError, MemoryError):
                keep_in_files(source, dataset)

    def _dataset(self, index: int, problem: Problem) -> Dataset:
        """Return the rows of a problem."""
        source = _source(problem)
        given = problem.dataset or problem.path or problem.synthetic
        if self._given is None and given is None:
            raise InputError(f"problem.{index} names no data; give one of dataset, path and synthetic")
        if self._given is not None and given is not None:
            raise InputError(f"problem.{index} names data and arrays were given too; leave one of them out")
        if repr(source) not in self._read:
            named = problem.dataset or problem.path or ("arrays" if self._given else "synthetic")
            self._emit(Loading(str(named)))
        if self._given is None:
            return self._loaded(problem, source)
        if repr(source) not in self._read:
            self._read[repr(source)] = source, _of_arrays(problem, self._given)
        return self._read[repr(source)][1]

    def _loaded(self, problem: Problem, source: Source) -> Dataset:
        """Return the rows of a problem, or those of the file that is held out."""
        key = repr(source)
        if key not in self._read:
            try:
                self._read[key] = source, load(source)
            except TooLargeError as error:
                if problem.path is None or problem.source in ("map", "stream"):
                    raise
                raise TooLargeError(f"{error}: {IN_FILES} leaves them in the file") from None
        return self._read[key][1]

    def _prepared(
        self, index: int, problem: Problem, dtype: str, split_seed: int | None, dataset: Dataset | None = None
    ) -> list[Data]:
        """Return the data of a problem's split, or of all of its folds; `dataset`: its rows, if not those it names."""
        dataset = self._dataset(index, problem) if dataset is None else dataset
        held, how = problem.validation, {name: getattr(problem, name) for name in PREPARED_BY}
        how |= {"targets": find_loss(problem.loss).targets, "dtype": dtype}
        try:
            if isinstance(held, FoldKeys):
                own = (
                    given_folds(self._folds or (), len(dataset.y), held.count)
                    if held.given
                    else make_folds(dataset, held, how["positive"])
                )
                noted = replace(dataset, notes=(*dataset.notes, *rare_classes(dataset, held)))
                return prepare_folds(noted, own, **how)
            validation = self._loaded(problem, _source(problem, held)) if isinstance(held, str) else held
            return [prepare(dataset, validation=validation, split_seed=split_seed or 0, **how)]
        except InputError as error:
            raise type(error)(f"problem.{index} (loss {problem.loss!r}): {error}") from None


def load_data(study: Study, data: Arrays | None, emit: OnEvent, folds: Sequence[Any] | None = None) -> list[Data]:
    """Load and prepare the data of each split of every problem: see `Loader`."""
    return Loader(emit, data, folds).load(study)


def load_all_rows(study: Study, data: Arrays | None, emit: OnEvent) -> Data:
    """Load and prepare all rows of a study's first problem for training, with those that it holds out."""
    return Loader(emit, data).load_all_rows(study)


def with_weights(data: Arrays | None, weights: Any) -> Arrays | None:
    """Return arrays with what their rows weigh."""
    if weights is None:
        return data
    if data is None or len(data) != 2:
        where = "those of files are a column: problem.weights" if data is None else "these have a third array already"
        raise InputError(f"weights go with data=(X, y), and {where}")
    return (*data, weights)


def _of_arrays(problem: Problem, given: Arrays) -> Dataset:
    X, y, *weights = given
    found = from_arrays(X, y, targets=problem.targets, weights=weights[0] if weights else None)
    found = found if problem.source == "auto" else replace(found, origin=problem.source)
    return replace(found, notes=(*found.notes, *([WEIGHTED] if weights else [])))


def _check_folds(study: Study, folds: Sequence[Any] | None) -> None:
    """Refuse folds that no problem asks for, and problems whose folds are not given."""
    wanted = [index for index, problem in enumerate(study.data_problems) if problem.folds and problem.folds.given]
    if wanted and folds is None:
        raise InputError(
            f"problem.{wanted[0]}.validation has folds that are given: give them, as folds=[(train, test)]"
        )
    if folds is not None and not wanted:
        raise InputError('folds are given, and no problem asks for them: validation = { folds = k, kind = "given" }')


def _preparation(problem: Problem, split_seed: int | None) -> tuple[Any, ...]:
    held_out = problem.validation
    rows = _source(problem, held_out) if isinstance(held_out, str) else held_out
    return *(getattr(problem, name) for name in PREPARED_BY), rows, split_seed


def _source(problem: Problem, held_out: str | None = None) -> Source:
    """Return where a problem's rows come from, or those of the file that is held out, read by the same keys."""
    path = held_out or problem.path
    synthetic: Any = problem.synthetic
    if synthetic is not None and not isinstance(synthetic, dict):
        synthetic = synthetic.model_dump(exclude_none=True)
    source = Source(
        dataset=None if held_out else problem.dataset,
        path=path,
        synthetic=None if held_out else synthetic,
        beside=tuple(file for file in problem.files if file != path),
        **{key: getattr(problem, key) for key in ("target", "format", "csv", "zero_based", "n_features", "weights")},
        group=problem.folds.group if problem.folds else None,
        source=problem.source,
    )
    return source.with_own_keys()
