"""From the data keys of a problem to a dataset: which file takes which of them, and who reads it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from fastgd.common.errors import InputError, nearest
from fastgd.common.folders import expanded
from fastgd.common.numbers import amount
from fastgd.datasets.mapped import reading as mapped
from fastgd.datasets.mapped.reading import size_in_memory
from fastgd.datasets.readers import csv, npz, svm, tables
from fastgd.datasets.readers.csv_keys import Csv
from fastgd.datasets.readers.reading import (
    COMPRESSED,
    EXTENSIONS,
    FORMATS,
    Format,
    Reading,
    ZeroBased,
    format_of,
    reading,
)
from fastgd.datasets.record import DATASETS, Dataset, Origin, holds_copies, room_for_rows
from fastgd.datasets.sources.synthetic import Synthetic, make

Reader = Callable[[Path, Reading], Dataset]
READERS: dict[Format, Reader] = {"svm": svm.read, "csv": csv.read, "npz": npz.read}
READERS |= {kind: partial(tables.read, kind) for kind in tables.OPENERS}
WITH_TARGET: tuple[Format, ...] = ("csv", *tables.OPENERS)
TAKES: dict[str, tuple[Format, ...]] = {
    "target": WITH_TARGET,
    "targets": (*WITH_TARGET, "npz"),  # several: they name the columns of an archive's y
    "zero_based": ("svm",),
    "n_features": ("svm", *tables.OPENERS),
    "csv": ("csv",),
    "format": FORMATS,
    "weights": (*WITH_TARGET, "npz"),
}
STAYS = 'its rows stay in files (source = "%s")'
MEANT = {
    "zero_based": "is for .svm and .libsvm files",
    "n_features": "is for .svm and .libsvm, and for .parquet and .arrow (of lists) files",
    "csv": "is for .csv files",
    "format": "is for files",
    "weights": "is for .csv, .parquet, .arrow and .npz files; arrays have those that fastgd.run(weights=...) is given",
}


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
    target : str, tuple of str or None
        The target's column, or the columns of several targets; a named dataset's may be left out.
    zero_based : bool or "auto"
        Whether the first column of an .svm file is 0, or 1; auto: 0 where the file, or one beside it, has a column 0.
    n_features : int or None
        The columns of an .svm file, or of a table of lists, that may end earlier; None: as many as it has.
    format : {"svm", "csv", "parquet", "arrow", "npz"} or None
        What the file is, where its extension does not say it.
    csv : mapping or None
        The keys of `Csv`.
    weights : str or None
        The column of the rows' weights, or the array of an .npz file.
    group : str or None
        The column, or the array, of their groups.
    beside : tuple of str
        The other files of the same problem.
    source : {"auto", "memory", "map", "stream"}
        Where the rows of a file are; auto: in memory if they fit there, else in a file that is mapped, or that is
        streamed where they take more than half of the memory.
    """

    dataset: str | None = None
    path: str | None = None
    synthetic: Mapping[str, Any] | None = None
    target: str | tuple[str, ...] | None = None
    zero_based: ZeroBased = "auto"
    n_features: int | None = None
    format: Format | None = None
    csv: Mapping[str, Any] | None = None
    weights: str | None = None
    group: str | None = None
    beside: tuple[str, ...] = ()
    source: Literal["auto", "memory", "map", "stream"] = "memory"

    @property
    def key_of_target(self) -> str:
        """As what `TAKES` has the target: several are taken by more files than one."""
        return "targets" if isinstance(self.target, tuple) else "target"

    def with_own_keys(self) -> "Source":
        """Return the source without the keys that its file does not take: they are for another file of the problem."""
        defaults: dict[str, Any] = {
            "zero_based": "auto",
            "n_features": None,
            "csv": None,
            "format": None,
            "weights": None,
        }
        if any(takes(other, self.format, self.key_of_target) for other in self.beside) and self.path is not None:
            defaults["target"] = None
        keys = {key: self.key_of_target if key == "target" else key for key in defaults}
        own = {key: takes(self.path, self.format, keys[key]) for key in defaults}
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
        return _of_file(source.path, source)
    if source.synthetic is not None:
        _check_target("synthetic", source.target)
        return make(Synthetic.of(source.synthetic))
    return _named(str(source.dataset), source.target)


def _named(name: str, target: Any) -> Dataset:
    record = DATASETS.find(name)
    if record.load is None:
        raise InputError(f"dataset = {name!r} is written as {name} = {{ n = 1_000_000, d = 100 }}")
    _check_target(name, target)
    return record.load()


def _check_target(name: str, target: Any) -> None:
    valid = DATASETS[name].target
    if target not in (None, valid):
        asked = list(target) if isinstance(target, tuple) else target
        raise InputError(f"{name} has no target {asked!r}; {nearest(str(target), [valid])}")


def _of_file(path: str, source: Source) -> Dataset:
    """Return the dataset of a file."""
    file, kind = expanded(path), format_of(path, source.format)
    if kind is None:
        raise unknown_file(path)
    if kind not in TAKES[source.key_of_target] and source.target is not None:
        what = file.suffix.lower() if EXTENSIONS.get(file.suffix.lower()) == kind else f".{kind}"
        asked: Any = source.target
        takers = ".csv, .parquet and .arrow"
        if isinstance(asked, tuple):
            asked, takers = list(asked), ".csv, .parquet, .arrow and .npz"
        text = f"target = {asked!r} is for {takers}; a {what} file knows its own target"
        raise InputError(f"{path}: {text}")
    keys = _reading(source)
    with reading(file):
        origin, notes = _origin(file, kind, source.source)
        if origin != "memory":
            found = mapped.read(file, kind, keys, origin)
        else:  # a study may have no room for them there: the name is that of the file as it is before it is read
            key = mapped.key_of(file, kind, keys) if source.source == "auto" else None
            found = replace(READERS[kind](file, keys), key=key)
        return replace(found, name=file.name, notes=(*found.notes, *notes))


def _reading(source: Source) -> Reading:
    others = tuple(expanded(other) for other in source.beside if format_of(other, source.format) == "svm")
    given = (source.target, source.zero_based, source.n_features, Csv.of(source.csv), others)
    return Reading(*given, source.weights, source.group)


def keep_in_files(source: Source, dataset: Dataset) -> None:
    """Write rows that were read into memory into the cache, from which they map: they need not be read again.

    Raises
    ------
    InputError
        They cannot be written.
    """
    if source.path is not None and dataset.key is not None:
        file, kind = expanded(source.path), format_of(source.path, source.format)
        assert kind is not None
        with reading(file):
            mapped.keep(file, kind, _reading(source), dataset)


def _origin(file: Path, kind: Format, asked: str) -> tuple[Origin, tuple[str, ...]]:
    """Return where the rows of a file are to be, and what is noted where that is not in memory, as it usually is."""
    if asked != "auto":
        return cast(Origin, asked), ()
    size, room = size_in_memory(file, kind), room_for_rows()
    if size > room:
        return "stream", (
            f"{STAYS % 'stream'}: about {amount(size, 'B')}, and {amount(room, 'B')} of rows may be in memory",
        )
    if holds_copies(size):
        return "memory", ()
    return "map", (f"{STAYS % 'map'}: memory has no room for them and a copy in the form that the study has them in",)


def origin_in_files(path: str, format: str | None) -> Literal["map", "stream"]:
    """Return where rows of a file are that are not to be in memory: streamed, if they take more than half of it."""
    kind = format_of(path, cast("Format | None", format))
    return "stream" if kind and size_in_memory(expanded(path), kind) > room_for_rows() else "map"


def unknown_file(path: str) -> InputError:
    """Return the error about a file whose name does not say what it is."""
    suffix = Path(path).suffix.lower()
    outer = f" ({', '.join(COMPRESSED)} are for .svm and .csv)" if suffix in COMPRESSED else ""
    return InputError(
        f"{path}: unknown extension {suffix!r}; valid: {', '.join(EXTENSIONS)}{outer}; "
        'or say what it is: format = "csv" or "svm", for example'
    )


def counts_from_0(paths: Iterable[str], format: Format | None, zero_based: ZeroBased) -> bool | None:
    """Return whether the columns of a problem's svmlight files count from 0; None: none of its files is one."""
    files = [expanded(path) for path in paths if format_of(path, format) == "svm"]
    return svm.counts_from_0(files, zero_based) if files else None


def takes(path: str | None, format: Format | None, key: str) -> bool:
    """Whether a file takes a key of its problem; None is no file."""
    return path is not None and format_of(path, format) in TAKES[key]


def misplaced_key(paths: Iterable[str | None], keys: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first key that is given and that no file takes, and what it is for; None where all is well.

    Parameters
    ----------
    paths : iterable of str or None
        The files of a problem; None: rows that come from elsewhere.
    keys : mapping
        `format`, `zero_based`, `n_features`, `csv` and `weights` as in `Source`.
    """
    files, format = list(paths), keys["format"]
    for key, meaning in MEANT.items():
        given = keys[key] is not None and keys[key] != "auto"
        if given and not any(takes(path, format, key) for path in files):
            return key, meaning
    return None
