"""Folds: which rows train and which are held out, as scikit-learn's splitters choose them."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from fastgd.common.errors import InputError
from fastgd.datasets.record import Dataset
from fastgd.datasets.targets import Label, meant_label

Kind = Literal["kfold", "stratified", "group", "time", "given"]
SHUFFLED = ("kfold", "stratified")  # those whose rows may be shuffled, and this repeated
LARGEST_SEED = 2**32 - 1  # that scikit-learn's splitters take
MOST_FOLDS = 10_000


def _key(default: Any, meaning: str, otherwise: str = "", goes_with: str = "", **bounds: Any) -> Any:
    """Return a key with its meaning, what holds without it, and what it goes with."""
    words = {"otherwise": otherwise, "goes_with": goes_with}
    return Field(default, description=meaning, json_schema_extra=dict(words), **bounds)


class FoldKeys(BaseModel):
    """What `validation = { folds = ... }` may say; each field describes its key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    _alone: int | None = PrivateAttr(None)

    folds: int = _key(..., "In how many parts the rows are cut; each is held out once.", ge=2, le=MOST_FOLDS)
    kind: Kind = _key(
        "kfold",
        "How: any rows; as many rows of each class in each part; no group in two parts; parts that follow all the rows "
        "that train; or by `folds`, which are given from Python.",
    )
    group: str | None = _key(None, "The column of the groups, which is no feature then.", "", '`kind = "group"`')
    shuffle: bool | None = _key(
        None, "Whether rows are shuffled before.", "`true`", '`kind = "kfold"` and `"stratified"`'
    )
    seed: int = _key(0, "Of the shuffles.", "", "`shuffle`", ge=0, le=LARGEST_SEED)
    repeats: int = _key(
        1, "How often this is done, each time with another shuffle.", "", "`shuffle`", ge=1, le=MOST_FOLDS
    )

    @model_validator(mode="after")
    def _consistent(self) -> "FoldKeys":
        if self.kind == "group" and self.group is None:
            raise ValueError('kind = "group" needs the column of the groups: group = "column"')
        if self.kind != "group" and self.group is not None:
            raise ValueError(f'group goes with kind = "group"; found kind = "{self.kind}"')
        if self.kind not in SHUFFLED and self.shuffle:
            raise ValueError(f"shuffle goes with the kinds {' and '.join(SHUFFLED)}; found kind = {self.kind!r}")
        for name in ("seed", "repeats"):
            if not self.shuffled and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} = {getattr(self, name)} goes with rows that are shuffled, and these are not")
        return self

    @property
    def shuffled(self) -> bool:
        """Whether rows are shuffled."""
        return self.kind in SHUFFLED and self.shuffle is not False

    @property
    def given(self) -> bool:
        """Whether they are given from Python."""
        return self.kind == "given"

    @property
    def count(self) -> int:
        """The number of folds, those of all repetitions."""
        return self.folds * self.repeats

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of the folds of a problem: all of them, unless it is one of these alone."""
        return range(self.count) if self._alone is None else (self._alone,)

    def alone(self, number: int) -> "FoldKeys":
        """Return what one of the folds is, of a problem that has no others."""
        one = self.model_copy()
        one._alone = number
        return one


class Fold(NamedTuple):
    """The rows of a fold, ascending: those that train (n,) int32, and those that are held out (m,) int32."""

    train: NDArray[np.int32]
    held: NDArray[np.int32]


def make_folds(dataset: Dataset, keys: FoldKeys, positive: Label | None = None) -> list[Fold]:
    """Return the folds of a dataset, one repetition after another.

    Parameters
    ----------
    dataset : Dataset
    keys : FoldKeys
    positive : str or float, optional
        The label that is told from all others, which are one class then.

    Raises
    ------
    InputError
        There are fewer rows, rows of a class, or groups, than folds, rows have no groups, or of a class that is to be
        in all folds there is one row.
    """
    if keys.kind == "group" and dataset.groups is None:
        where = "groups are a column of a table, or an array of an .npz file; from Python, give folds"
        raise InputError(f"{dataset.name}: rows have no groups {keys.group!r}: {where}")
    if keys.kind == "stratified":
        _check_classes(dataset, positive)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # see `rare_classes`
            pairs = list(_splitter(keys).split(np.zeros((len(dataset.y), 0)), dataset.y, dataset.groups))
    except ValueError as error:
        raise InputError(f"{dataset.name}: {keys.folds} folds of the kind {keys.kind!r}: {error}") from None
    return [Fold(np.sort(train).astype(np.int32), np.sort(held).astype(np.int32)) for train, held in pairs]


def _check_classes(dataset: Dataset, positive: Label | None) -> None:
    """Refuse a class of one row: the fold that holds it out trains on none of them."""
    found = _classes(dataset)
    own = found if positive is None else [meant_label(list(found), positive, f"positive = {positive!r}", dataset.name)]
    for label in own:
        if found[label] == 1:
            raise InputError(
                f"{dataset.name}: the label {_shown(label)} has 1 row, and the fold that holds it out would train "
                f'without it; leave the row out, or take another kind of folds than "stratified"'
            )


def rare_classes(dataset: Dataset, keys: FoldKeys) -> list[str]:
    """Return a note on each class of which there are fewer rows than folds that are to have as many of each."""
    if keys.kind != "stratified":
        return []
    return [
        f"the label {_shown(label)} has {rows} rows, fewer than the {keys.folds} folds: some hold out none of them"
        for label, rows in _classes(dataset).items()
        if rows < keys.folds
    ]


def _classes(dataset: Dataset) -> dict[Any, int]:
    """Return how many rows each label has; none of several targets."""
    if dataset.y.ndim > 1:
        return {}
    labels, rows = np.unique(dataset.y, return_counts=True)
    return dict(zip(labels.tolist(), rows.tolist(), strict=True))


def _shown(label: Any) -> str:
    return f"{label:g}" if isinstance(label, float) else repr(label)


def _splitter(keys: FoldKeys) -> Any:
    """Return scikit-learn's splitter."""
    from sklearn import model_selection

    stratified = keys.kind == "stratified"
    if keys.kind == "time":
        return model_selection.TimeSeriesSplit(keys.folds)
    if keys.kind == "group":
        return model_selection.GroupKFold(keys.folds)
    if keys.repeats > 1:
        repeated = model_selection.RepeatedStratifiedKFold if stratified else model_selection.RepeatedKFold
        return repeated(n_splits=keys.folds, n_repeats=keys.repeats, random_state=keys.seed)
    plain = model_selection.StratifiedKFold if stratified else model_selection.KFold
    return plain(keys.folds, shuffle=keys.shuffled, random_state=keys.seed if keys.shuffled else None)


def given_folds(pairs: Sequence[Any], n: int, count: int) -> list[Fold]:
    """Return folds that are given as pairs of the indices of rows, as scikit-learn's splitters yield them.

    Raises
    ------
    InputError
        They are not so many pairs of indices of rows from 0 to n - 1, or a row is on both sides.
    """
    if not isinstance(pairs, Iterable):
        raise InputError(f"folds must be pairs (train, test), as splitter.split(X, y) yields them; found {pairs!r:.60}")
    pairs = list(pairs)
    if len(pairs) != count:
        raise InputError(f"folds: {count} pairs (train, test) are wanted, as validation says; found {len(pairs)}")
    found = []
    for number, pair in enumerate(pairs):
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise InputError(f"folds[{number}] must be a pair (train, test) of indices of rows; found {pair!r:.60}")
        train, held = (
            _indices(rows, n, f"folds[{number}][{side}]") for side, rows in zip(("0", "1"), pair, strict=True)
        )
        if len(both := np.intersect1d(train, held)):
            raise InputError(f"folds[{number}]: the row {both[0]} is on both sides")
        found.append(Fold(train, held))
    return found


def _indices(rows: Any, n: int, name: str) -> NDArray[np.int32]:
    """Return indices of rows, ascending; a mask is read as the rows that it marks."""
    found = np.asarray(rows)
    if found.dtype == bool and found.shape == (n,):
        found = np.flatnonzero(found)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
        raise InputError(f"{name} must be some indices of rows, found an array of {found.dtype} {found.shape}")
    if found.min() < 0 or found.max() >= n:
        bad = found[(found < 0) | (found >= n)][0]
        raise InputError(f"{name} has the row {bad}, and there are {n:,}: valid are 0 to {n - 1}")
    unique = np.unique(found)
    if len(unique) < len(found):
        raise InputError(f"{name} has a row twice: {len(found):,} indices of {len(unique):,} rows")
    return unique.astype(np.int32)
