"""From a dataset to what the engine sees: the layout, the split, standardisation, the loss's targets, the dtype."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.common.watched import require_unchanged
from fastgd.datasets.arrays import from_rows
from fastgd.datasets.columns import Extremes, extremes, standardisation
from fastgd.datasets.csr import assembled, at_columns, from_dense, take, without_zeros
from fastgd.datasets.data import Data
from fastgd.datasets.folds import Fold
from fastgd.datasets.record import Dataset, Floats, Matrix, Numbered, Scaling, check_memory, digest
from fastgd.datasets.staged_rows import StagedRows
from fastgd.datasets.targets import (
    Label,
    Targets,
    class_numbers,
    classes_of,
    columns_of_targets,
    numeric_targets,
    two_labels,
)
from fastgd.datasets.weights import ClassWeight, identity_of, weighing

Rows = NDArray[np.intp]
Layout = Literal["auto", "dense", "sparse"]
FOR_MINIMA = "only the certified minimum (reference.optimum) needs them there"
MOST_INDEXED_ROWS = 2**31 - 1  # that int32 counts


class _Split(NamedTuple):
    """Training rows (None: all), and the rows that are held out, of this dataset or of another."""

    train: Rows | None
    held: Rows | None
    other: Dataset | None


def prepare(
    dataset: Dataset,
    *,
    targets: Targets,
    positive: Label | None = None,
    standardize: bool = False,
    standardize_target: bool = False,
    validation: float | Dataset = 0.0,
    split_seed: int = 0,
    dtype: str = "float64",
    layout: Layout = "auto",
    class_weight: ClassWeight | None = None,
) -> Data:
    """Return what the engine sees; what needs no change is not copied.

    Parameters
    ----------
    dataset : Dataset
        n rows, d columns.
    targets : {"binary", "unit", "real", "count", "classes"}
        What the loss takes: 0 and 1; numbers from 0 to 1; numbers; numbers >= 0; labels, each of which is a class.
    positive : label or None
        This label against all others.
    standardize : bool
        Bring the training rows to mean 0 and deviation 1, sparse ones to deviation 1 alone; columns that are
        constant, or so but for rounding, are left alone.
    standardize_target : bool
        Bring the training rows' targets to mean 0 and deviation 1.
    validation : float or Dataset
        The fraction of rows held out (0: none), or other rows with the same columns.
    split_seed : int
        Decides, with n alone, which rows are held out: those of a smaller fraction are among those of a larger one.
    dtype : {"float64", "float32"}
    layout : {"auto", "dense", "sparse"}
        Of training and held-out rows; auto: that of the dataset.
    class_weight : "balanced", mapping or None
        The weights of labels, by which those of their rows are multiplied: see `fastgd.datasets.weights`.

    Raises
    ------
    InputError
        Targets that do not fit the loss, columns that do not match, a fraction that leaves no rows, sparse data that
        do not fit into the memory as dense ones.
    """
    classes = _classes(dataset, targets, positive)
    _check_several(dataset, targets, positive, validation)
    _check_weights(dataset, validation)
    numbers, scale = _as_numbers(dataset, targets, positive, classes), (0.0, 1.0)
    y = numbers
    source, dataset = dataset, _laid_out(dataset, layout)
    split = _split(source, validation, split_seed, layout)
    scaling = standardisation(dataset, split.train) if standardize else None
    parts: list[Any] = [dataset.fingerprint, y, f"standardize={standardize}"]
    if standardize_target:
        parts.append("standardize_target")
        scale = _scale_of(y if split.train is None else y[split.train], dataset)
        y = (y - scale[0]) / scale[1]
    weights_of = weighing(source, numbers, split.train, classes, class_weight, dtype)
    parts += identity_of(source, class_weight)
    form = _Form(scaling, dtype)
    train = form.of(dataset, y, split.train, weights_of(source, numbers, split.train, "training"))
    held: _Rows | None = None
    if split.held is not None:
        weights = weights_of(source, numbers, split.held, "held-out")
        held = form.of(dataset, y, split.held, weights, train)
        parts.append(split.held.astype(np.int64, copy=False))
    elif split.other is not None:
        other_y = _as_numbers(split.other, targets, positive, classes)
        scaled = (other_y - scale[0]) / scale[1] if standardize_target else other_y
        held = form.of(split.other, scaled, None, weights_of(split.other, other_y, None, "held-out"))
        parts += [split.other.fingerprint, other_y, *identity_of(split.other, None)]
        if isinstance(validation, Dataset) and validation.features != source.features:
            parts.append(_places(validation, source).astype(np.int64, copy=False))  # which column is which
    if source.sparse or dataset.sparse:
        parts.append(_layout_of(dataset))
    other = split.other
    of_held = [f"{other.name}: {note}" for note in other.notes if note not in dataset.notes] if other else []
    return Data(
        X=train.X,
        y=train.y,
        X_validation=held.X if held else None,
        y_validation=held.y if held else None,
        features=dataset.features,
        fingerprint=digest(*parts),
        dataset=dataset.name,
        notes=(*dataset.notes, *of_held, *(scaling.notes if scaling else ())),
        classes=tuple(classes),
        target_scale=scale,
        labels=two_labels(source.y, y) if targets == "binary" else (),
        scaling=scaling,
        targets=dataset.targets,
        weights=train.weights,
        weights_validation=held.weights if held else None,
        rows=train.rows,
        validation_rows=held.rows if held else None,
        origin=dataset.origin,
        largest_feature=train.largest,
        files=(*dataset.files, *(other.files if other else ())),
    )


class _Rows(NamedTuple):
    """Some rows in the study's form, alone or among others, of which `rows` says which they are."""

    X: "Matrix | StagedRows"
    y: Floats
    weights: Floats | None
    rows: NDArray[np.int32] | None = None
    largest: float | None = None


class _Form(NamedTuple):
    """The form in which a study has rows."""

    scaling: Scaling | None
    dtype: str

    def of(
        self, dataset: Dataset, y: Floats, rows: Rows | None, weights: Floats | None, beside: _Rows | None = None
    ) -> _Rows:
        """Return some rows of a dataset (None: all of them): a copy where they are in memory, else among all rows.

        `beside`: other rows of the dataset, which share what they can.
        """
        if not dataset.mapped:
            X = _formed(dataset, rows, self.scaling, self.dtype)
            return _Rows(X, _cast(y if rows is None else y[rows], self.dtype, dataset.name), weights)
        if beside is None:
            staged, largest = in_place(dataset, self.scaling, self.dtype)
            beside = _Rows(staged, _cast(y, self.dtype, dataset.name), None, largest=largest)
        of_all = weights
        if rows is not None and weights is not None:
            of_all = np.zeros(len(y), self.dtype)
            of_all[rows] = weights
        which = None if rows is None else rows.astype(np.int32)
        return _Rows(beside.X, beside.y, of_all, which, beside.largest)


def _check_weights(dataset: Dataset, validation: float | Dataset) -> None:
    """Refuse held-out rows without weights where the training rows have some, and the other way round."""
    if isinstance(validation, Dataset) and (validation.weights is None) != (dataset.weights is None):
        without, having = (validation, dataset) if validation.weights is None else (dataset, validation)
        raise InputError(f"{without.name}: rows have no weights, and those of {having.name} have; both need them")


def prepare_folds(
    dataset: Dataset,
    folds: Sequence[Fold],
    *,
    targets: Targets,
    positive: Label | None = None,
    standardize: bool = False,
    standardize_target: bool = False,
    dtype: str = "float64",
    layout: Layout = "auto",
    class_weight: ClassWeight | None = None,
) -> list[Data]:
    """Return what the engine sees of each fold: the rows of all, once, and which of them train and are held out.

    Parameters
    ----------
    dataset : Dataset
        n rows, d columns.
    folds : sequence of Fold
        The rows of each.
    targets, positive, standardize, standardize_target, dtype, layout, class_weight
        As in `prepare`. Rows are standardised by each fold's own training rows, as kernels pass over them.

    Raises
    ------
    InputError
        As in `prepare`.
    """
    classes = _classes(dataset, targets, positive)
    _check_several(dataset, targets, positive, 0.0)
    y, source = _as_numbers(dataset, targets, positive, classes), dataset
    dataset = _laid_out(dataset, layout)
    content = digest(dataset.fingerprint, y, f"standardize={standardize}", "folds")
    shared_y = None if standardize_target else _cast(y, dtype, dataset.name)
    known, found = cache(lambda: extremes(dataset)), []
    for train, held in folds:
        scaling = standardisation(dataset, train.astype(np.intp)) if standardize else None
        scale: tuple[Any, Any] = (0.0, 1.0)
        parts: list[Any] = [content, train, held, *identity_of(source, class_weight)]
        if standardize_target:
            parts.append("standardize_target")
            scale = _scale_of(y[train], dataset)
        if source.sparse or dataset.sparse:
            parts.append(_layout_of(dataset))
        X, largest = in_place(dataset, scaling, dtype, known)
        own_y = _cast((y - scale[0]) / scale[1], dtype, dataset.name) if shared_y is None else shared_y
        weights = _weights_of_fold(source, y, Fold(train, held), classes, class_weight, dtype)
        found.append(
            Data(
                X=X,
                y=own_y,
                X_validation=X,
                y_validation=own_y,
                features=dataset.features,
                fingerprint=digest(*parts),
                dataset=dataset.name,
                notes=(*dataset.notes, *(scaling.notes if scaling else ())),
                classes=tuple(classes),
                target_scale=scale,
                labels=two_labels(source.y, y) if targets == "binary" else (),
                scaling=scaling,
                targets=dataset.targets,
                weights=weights,
                weights_validation=weights,
                rows=train,
                validation_rows=held,
                origin=dataset.origin,
                largest_feature=largest,
                files=dataset.files,
            )
        )
    return found


def _weights_of_fold(
    dataset: Dataset,
    numbers: Floats,
    fold: Fold,
    classes: Sequence[Any],
    class_weight: ClassWeight | None,
    dtype: str,
) -> Floats | None:
    """Return the weights (n,) of all rows, with mean 1 over those that train, and over those that are held out."""
    weights_of = weighing(dataset, numbers, fold.train, classes, class_weight, dtype)
    found = weights_of(dataset, numbers, fold.train, "training")
    if found is None:
        return None
    weights = np.zeros(len(numbers), dtype)
    weights[fold.train], weights[fold.held] = found, weights_of(dataset, numbers, fold.held, "held-out")
    return weights


def training_rows(data: Data) -> tuple[Matrix, Floats, Floats | None]:
    """Return the training rows (n, d), their targets and their weights by themselves; where they are among others, or
    take their form only as kernels pass over them, a copy.

    Raises
    ------
    InputError
        Rows that stay in files do not fit into the memory, or a file was changed.
    """
    X, rows = data.X, data.rows
    if data.origin != "memory":
        entries = data.n * X.shape[1] if data.nonzeros is None else data.nonzeros * 1.5
        what = f"{data.dataset}: its {data.n:,} training rows, which have to be in memory for this,"
        check_memory(int(entries) * data.y.itemsize, what, f"an array of {data.y.dtype}", FOR_MINIMA)
    if isinstance(X, StagedRows):
        X = X.copied(rows)
    elif rows is not None:
        X = X[rows] if isinstance(X, np.ndarray) else take(X, rows)
    require_unchanged(data.files)
    return X, data.training_targets, data.training_weights


def _as_numbers(dataset: Dataset, targets: Targets, positive: Label | None, classes: list[Any]) -> Floats:
    """Return targets as the loss takes them."""
    if classes:
        return class_numbers(dataset.y, classes, dataset.name, dataset.place)
    return numeric_targets(dataset.y, targets, positive, dataset.name, dataset.place)


def _layout_of(dataset: Dataset) -> str:
    return f"layout={'sparse' if dataset.sparse else 'dense'}"


def _check_several(dataset: Dataset, targets: Targets, positive: Label | None, validation: float | Dataset) -> None:
    """Refuse several targets of a loss that has one, and held-out rows that have others."""
    if dataset.targets and (targets != "real" or positive is not None):
        listed = ", ".join(map(repr, dataset.targets))
        what = "positive makes 0 and 1 of one target" if positive is not None else "this loss takes one target"
        raise InputError(f"{dataset.name}: {what}, and there are {len(dataset.targets)}: {listed}")
    if isinstance(validation, Dataset) and validation.targets != dataset.targets:
        ours, theirs = (", ".join(map(repr, each.targets)) or "one" for each in (dataset, validation))
        raise InputError(
            f"{validation.name}: validation data must have the targets of {dataset.name}, {ours}: found {theirs}"
        )


def _scale_of(y: Floats, dataset: Dataset) -> tuple[Any, Any]:
    """Return the mean and the deviation of the training rows' targets; of several, those of each."""
    if not dataset.targets:
        return _moments_of_target(y, f"{dataset.name}: the targets cannot be standardised: their")
    found = [
        _moments_of_target(column, f"{dataset.name}: the target {name!r} cannot be standardised: its")
        for name, column in zip(dataset.targets, columns_of_targets(y), strict=True)
    ]
    means, deviations = np.array(found).T
    return means, deviations


def _moments_of_target(y: Floats, fault: str) -> tuple[float, float]:
    mean, deviation = float(np.mean(y)), float(np.std(y))
    if not np.isfinite(deviation) or deviation <= abs(mean) * np.finfo(np.float64).eps * len(y):
        raise InputError(f"{fault} deviation is {deviation:g}")
    return mean, deviation


def new_rows(X: Any, features: Sequence[str], scaling: Scaling | None, *, sparse: bool) -> Matrix:
    """Return rows that are in no dataset (n, d) float64, brought to the form of prepared ones.

    Parameters
    ----------
    X : array_like, table, scipy sparse (n, d) or Dataset
        Columns of tables are matched by their names, others by their places.
    features : sequence of str
    scaling : Scaling or None
    sparse : bool
        Of the prepared rows.

    Raises
    ------
    InputError
        X has other columns, or values that are no finite numbers.
    """
    given = X if isinstance(X, Dataset) else from_rows(X)
    if isinstance(given.features, Numbered):
        if len(given.features) != len(features):
            raise InputError(f"X has {len(given.features):,} columns, and the training rows have {len(features):,}")
    elif given.features != features:
        ours, theirs = set(features), set(given.features)
        missing, extra = sorted(ours - theirs), sorted(theirs - ours)
        if missing or extra:
            found = f"lacks the column {missing[0]!r}" if missing else f"has the column {extra[0]!r} too many"
            raise InputError(f"X {found}; an array's columns are taken by their places (X.to_numpy())")
        place = {feature: j for j, feature in enumerate(given.features)}
        given = replace(given, X=given.X[:, [place[feature] for feature in features]], features=features)
    return _formed(_laid_out(given, "sparse" if sparse else "dense"), None, scaling, "float64")


def _classes(dataset: Dataset, targets: Targets, positive: Label | None) -> list[Any]:
    """Return the labels of a loss of classes; none of other losses."""
    if targets != "classes":
        return []
    if positive is not None:
        raise InputError(f"positive = {positive!r} makes two classes, 1 and 0; this loss takes all labels as they are")
    return classes_of(dataset.y, dataset.name)


def _laid_out(dataset: Dataset, layout: Layout) -> Dataset:
    """Return the dataset in a layout; its fingerprint stays that of its source."""
    X, sparse = dataset.X, dataset.sparse if layout == "auto" else layout == "sparse"
    if sparse == dataset.sparse:
        return dataset
    if dataset.mapped:
        own = "sparse" if dataset.sparse else "dense"
        raise InputError(
            f"{dataset.name}: layout = {layout!r} would make a copy of {own} rows that stay in files; layout = "
            f'"auto" keeps them as they are, and source = "memory" permits copies'
        )
    if isinstance(X, np.ndarray):
        return replace(dataset, X=from_dense(X))
    n, d = X.shape
    advice = f'layout = "sparse" (or "auto") keeps the {X.nnz:,} non-zeros alone'
    check_memory(X.dtype.itemsize * n * d, f"{dataset.name}: {n:,} rows x {d:,} columns", f"dense {X.dtype}", advice)
    return replace(dataset, X=X.toarray())


def _split(dataset: Dataset, validation: float | Dataset, split_seed: int, layout: Layout) -> _Split:
    if isinstance(validation, Dataset):
        own: Layout = ("sparse" if dataset.sparse else "dense") if layout == "auto" else layout
        return _Split(None, None, _laid_out(_aligned(validation, dataset), own))
    if validation == 0:
        return _Split(None, None, None)
    n = len(dataset.y)
    if dataset.mapped and n > MOST_INDEXED_ROWS:
        raise InputError(f"{dataset.name}: {n:,} rows; of files a part is held out of at most {MOST_INDEXED_ROWS:,}")
    held = held_out(n, validation, split_seed)
    return _Split(np.delete(np.arange(n), held), held, None)


def held_out(n: int, fraction: float, split_seed: int) -> Rows:
    """Return the indices of the rows held out, ascending: round(n * fraction) of n.

    Each row draws a key; the smallest are held out. Raw draws, because NumPy promises these across its versions.
    """
    count = round(n * fraction)
    if not 0 < count < n:
        raise InputError(f"validation = {fraction:g} holds out {count} of {n} rows; both parts must have some")
    keys = np.random.PCG64(split_seed).random_raw(n)
    return np.sort(np.argsort(keys, kind="stable")[:count])


def _aligned(validation: Dataset, training: Dataset) -> Dataset:
    """Return the validation data with the columns of the training data, in their order."""
    if validation.features == training.features:
        return validation
    place, columns = _places(validation, training), len(training.features)
    X: Matrix
    if validation.mapped:
        return replace(validation, X=_in_wider(validation, place, columns), features=training.features)
    if isinstance(validation.X, np.ndarray):
        X = np.zeros((len(validation.y), columns), dtype=validation.X.dtype)
        X[:, place] = validation.X
    else:
        X = at_columns(validation.X, place, columns)
    return replace(validation, X=X, features=training.features)


def _in_wider(validation: Dataset, place: Rows, columns: int) -> Matrix:
    """Return rows in files as those of a matrix with more columns: these come last, or it would be a copy."""
    X = validation.X
    if isinstance(X, np.ndarray) or not np.array_equal(place, np.arange(len(place))):
        raise InputError(
            f"{validation.name}: its columns stand in another order than those of the training rows, and rows in files "
            'are not copied: write them in the same order, or source = "memory"'
        )
    return assembled(X.data, X.indices, X.indptr, (X.shape[0], columns))


def _places(validation: Dataset, training: Dataset) -> Rows:
    """Return where each column of the validation data stands among those of the training data."""
    theirs, ours = validation.features, training.features
    if isinstance(theirs, Numbered) and isinstance(ours, Numbered):  # there may be millions: no name is made
        places, missing, extra = np.arange(len(theirs)), ours[len(theirs) :][:1], theirs[len(ours) :][:1]
    else:
        place = {feature: j for j, feature in enumerate(ours)}
        missing, extra = sorted(set(ours).difference(theirs)), sorted(set(theirs).difference(ours))
        places = np.array([place.get(feature, -1) for feature in theirs])
    # A sparse file does not list zeros: columns may be missing because they are empty.
    if extra or (missing and not validation.sparse):
        lacks = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r} too many"
        wider = training.sparse and validation.sparse and isinstance(theirs, Numbered) and len(theirs) > len(ours)
        raise InputError(
            f"{validation.name}: validation data must have the {len(ours):,} columns of {training.name}: "
            f"it has {len(theirs):,} and {lacks}" + (f"; n_features = {len(theirs)} would do for both" if wider else "")
        )
    return places


# --- rows in the study's form -----------------------------------------------------------------------------------------


def _formed(dataset: Dataset, rows: Rows | None, scaling: Scaling | None, dtype: str) -> Matrix:
    """Return the rows, scaled, in dtype; X itself where nothing has to change."""
    if rows is None and scaling is None and dataset.X.dtype == dtype:
        return dataset.X
    return StagedRows(dataset.X, scaling, np.dtype(dtype), dataset.name).copied(rows)


def in_place(
    dataset: Dataset, scaling: Scaling | None, dtype: str, known: Callable[[], Extremes] | None = None
) -> "tuple[Matrix | StagedRows, float | None]":
    """Return all rows in a form in which they are not copied, and their largest value, if it had to be found.

    `known` returns the extremes of the dataset's columns. InputError: some are too large, or too small, for the type.
    """
    if scaling is None and dataset.X.dtype == dtype:
        return dataset.X, None
    source = dataset.X if dataset.mapped else _without_vanishing(dataset.X, scaling, dtype, dataset.name)
    staged = StagedRows(source, scaling, np.dtype(dtype), dataset.name)
    if known is None or source is not dataset.X:
        return staged, staged.largest(extremes(replace(dataset, X=source)))
    return staged, staged.largest(known())


def _without_vanishing(X: Matrix, scaling: Scaling | None, dtype: str, name: str) -> Matrix:
    """Return sparse rows without the values that are too small for dtype, so that no entry is 0; others as they are."""
    if isinstance(X, np.ndarray):
        return X
    kept = StagedRows(X, scaling, np.dtype(dtype), name).sizes(X.data, X.indices) != 0
    return X if kept.all() else without_zeros(np.where(kept, X.data, 0), X.indices, X.indptr, X.shape)


def _cast(y: Floats, dtype: str, name: str) -> Floats:
    with np.errstate(over="ignore"):
        cast: Floats = y.astype(dtype, copy=False)
    if not np.isfinite(cast).all():
        raise InputError(f"{name}: targets are too large for dtype = {dtype!r}")
    return cast
