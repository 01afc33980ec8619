"""From the data keys of a problem to a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastgd._errors import InputError, nearest
from fastgd.datasets._record import DATASETS, Dataset
from fastgd.datasets.files import ZeroBased, load_file, misplaced_key
from fastgd.datasets.synthetic import Synthetic, make


@dataclass(frozen=True)
class Source:
    """Where a problem's rows come from: exactly one of `dataset`, `path` and `synthetic`.

    Attributes
    ----------
    dataset : str or None
        A name of the registry.
    path : str or None
        A file.
    synthetic : mapping or None
        The keys of `Synthetic`.
    target : str or None
        The target's column; a named dataset's may be left out.
    zero_based : bool or "auto"
        Whether the first column of an .svm file is 0, or 1; auto: 0 where the file has a column 0.
    n_features : int or None
        The columns of an .svm file, or of a .parquet file of lists, that may end earlier; None: as many as it has.
    """

    dataset: str | None = None
    path: str | None = None
    synthetic: Mapping[str, Any] | None = None
    target: str | None = None
    zero_based: ZeroBased = "auto"
    n_features: int | None = None


def load(source: Source) -> Dataset:
    """Return the dataset of a source, or raise InputError."""
    given = [key for key in ("dataset", "path", "synthetic") if getattr(source, key) is not None]
    if len(given) != 1:
        raise InputError(f"a problem has one of dataset, path and synthetic; found {' and '.join(given) or 'none'}")
    if misplaced := misplaced_key(source.path, source.zero_based, source.n_features):
        raise InputError(f"{source.path or source.dataset or 'synthetic'}: {' '.join(misplaced)}")
    if source.path is not None:
        return load_file(source.path, source.target, source.zero_based, source.n_features)
    if source.synthetic is not None:
        _check_target("synthetic", source.target)
        return make(Synthetic.of(source.synthetic))
    return _named(str(source.dataset), source.target)


def _named(name: str, target: str | None) -> Dataset:
    record = DATASETS.find(name)
    if record.load is None:
        raise InputError(f"dataset = {name!r} is written as {name} = {{ n = 1_000_000, d = 100 }}")
    _check_target(name, target)
    return record.load()


def _check_target(name: str, target: str | None) -> None:
    valid = DATASETS[name].target
    if target not in (None, valid):
        raise InputError(f"{name} has no target {target!r}; {nearest(str(target), [valid])}")
