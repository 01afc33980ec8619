"""From the data keys of a problem to a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastgd._errors import InputError, nearest
from fastgd.datasets._record import DATASETS, Dataset
from fastgd.datasets.files import load_file
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
    """

    dataset: str | None = None
    path: str | None = None
    synthetic: Mapping[str, Any] | None = None
    target: str | None = None


def load(source: Source) -> Dataset:
    """Return the dataset of a source, or raise InputError."""
    given = [key for key in ("dataset", "path", "synthetic") if getattr(source, key) is not None]
    if len(given) != 1:
        raise InputError(f"a problem has one of dataset, path and synthetic; found {' and '.join(given) or 'none'}")
    if source.path is not None:
        return load_file(source.path, source.target)
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
