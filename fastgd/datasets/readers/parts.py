"""The files of a table: one, or the parts of a folder, where names of folders such as `fold=1` add columns."""

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from fastgd.common.errors import InputError
from fastgd.datasets.readers.reading import check_names

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # as a folder is named whose value is missing


class Parts(NamedTuple):
    """The files of a table, in the order of its rows.

    Attributes
    ----------
    file : Path
        What the user names: a file, or a folder.
    files : list of Path
    folders : pyarrow.Schema
        The columns that names of folders make.
    """

    file: Path
    files: list[Path]
    folders: Any

    @property
    def base(self) -> str:
        """The folder below which names of folders make columns: those around a single file do not."""
        return str(self.file.parent if self.files == [self.file] else self.file)

    @property
    def hive(self) -> Any:
        """How pyarrow reads the names of folders."""
        import pyarrow.dataset as ds

        return ds.partitioning(self.folders, flavor="hive")

    def constants(self, part: Path) -> dict[str, Any]:
        """Return the values of the columns that the names of a part's folders make, as scalars of pyarrow."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        if not self.folders.names:
            return {}
        values = ds.get_partition_keys(self.hive.parse(part.relative_to(self.file).as_posix()))
        return {field.name: pa.scalar(values[field.name], field.type) for field in self.folders}


def files_of(file: Path) -> list[Path]:
    """Return the parts of a table, in the order of their names; those that begin with . or _ hold no rows."""
    if not file.is_dir():
        return [file]
    inner = (path for path in sorted(file.rglob("*")) if path.is_file())
    files = [path for path in inner if not any(part[0] in "._" for part in path.relative_to(file).parts)]
    if not files:
        raise InputError(f"{file}: the folder holds no files")
    return files


def parts_of(file: Path, files: list[Path], columns: list[str]) -> Parts:
    """Return the parts of a table, whose files have some columns: fold=1/a.parquet has the column fold, too."""
    import pyarrow as pa

    values: dict[str, set[str]] = {}
    for path in files:
        folders = path.parent.relative_to(file).parts if path != file else ()
        pairs = [tuple(map(unquote, folder.split("=", 1))) for folder in folders if "=" in folder]
        own = [name for name, _ in pairs]
        check_names(own, path)
        if path != files[0] and own != list(values):
            theirs = list(values) or "none"
            raise InputError(f"{path}: its folders name {own or 'no column'}, and those of {files[0]} {theirs}")
        for name, value in pairs:
            values.setdefault(name, set()).add(value)
    if both := [name for name in values if name in columns]:
        raise InputError(f"{file}: there is a column {both[0]!r} in the files, and folders name another one")
    return Parts(file, files, pa.schema({name: _type_of(found) for name, found in values.items()}))


def _type_of(values: set[str]) -> Any:
    """Return the type of a column of folders: pyarrow's own guess is int32 or text."""
    import pyarrow as pa

    known = values - {NO_VALUE}
    if known and all(re.fullmatch(r"-?\d{1,18}", value) for value in known):
        return pa.int64()
    number = r"-?(\d{1,15}(\.\d*)?|\.\d+)(e[+-]?\d+)?"
    return pa.float64() if known and all(re.fullmatch(number, value, re.I) for value in known) else pa.string()
