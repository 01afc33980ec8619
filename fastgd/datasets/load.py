"""From the data keys of a problem to a dataset."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastgd.common.errors import InputError, nearest
from fastgd.datasets.readers.files import load_file, misplaced_key, takes
from fastgd.datasets.readers.reading import Format, ZeroBased
from fastgd.datasets.record import DATASETS, Dataset
from fastgd.datasets.sources.synthetic import Synthetic, make


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
        Whether the first column of an .svm file is 0, or 1; auto: 0 where the file, or one beside it, has a column 0.
    n_features : int or None
        The columns of an .svm file, or of a .parquet file of lists, that may end earlier; None: as many as it has.
    format : {"svm", "csv", "parquet", "npz"} or None
        What the file is, where its extension does not say it.
    csv : mapping or None
        The keys of `Csv`.
    beside : tuple of str
        The other files of the same problem.
    """

    dataset: str | None = None
    path: str | None = None
    synthetic: Mapping[str, Any] | None = None
    target: str | None = None
    zero_based: ZeroBased = "auto"
    n_features: int | None = None
    format: Format | None = None
    csv: Mapping[str, Any] | None = None
    beside: tuple[str, ...] = ()

    def with_own_keys(self) -> "Source":
        """Return the source without the keys that its file does not take: they are for another file of the problem."""
        defaults: dict[str, Any] = {"zero_based": "auto", "n_features": None, "csv": None, "format": None}
        if any(takes(other, self.format, "target") for other in self.beside) and self.path is not None:
            defaults["target"] = None
        own = {key: takes(self.path, self.format, key) for key in defaults}
        beside = self.beside if own["zero_based"] and self.zero_based == "auto" else ()
        return replace(self, beside=beside, **{key: value for key, value in defaults.items() if not own[key]})


def load(source: Source) -> Dataset:
    """Return the dataset of a source, or raise InputError."""
    given = [key for key in ("dataset", "path", "synthetic") if getattr(source, key) is not None]
    if len(given) != 1:
        raise InputError(f"a problem has one of dataset, path and synthetic; found {' and '.join(given) or 'none'}")
    if misplaced := misplaced_key([source.path], asdict(source)):
        raise InputError(f"{source.path or source.dataset or 'synthetic'}: {' '.join(misplaced)}")
    if source.path is not None:
        return load_file(
            source.path,
            source.target,
            source.zero_based,
            source.n_features,
            format=source.format,
            csv=source.csv,
            beside=source.beside,
        )
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
