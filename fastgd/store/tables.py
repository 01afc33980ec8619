"""The one place that opens Parquet files of results: what has changed since it was written is refused, by name."""

import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from fastgd.common.errors import InputError
from fastgd.store.seal import DamageError, check

PART, FOLDER = b"fastgd.part", b"fastgd.folder"  # in a footer: the file's own name, the id of its results folder
SCHEMA, SURFACE = b"fastgd.schema", b"fastgd.surface"  # one of them stands in every file that fastgd wrote
# How datasets read: page by page, each against its checksum.
FORMAT = pds.ParquetFileFormat(
    default_fragment_scan_options=pds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


class UnreadableError(InputError):
    """A file cannot be read, which says nothing of what stands in it."""


class About(NamedTuple):
    """What the footer of a file says: its schema, how many rows it has, and whether it is sealed."""

    schema: pa.Schema
    rows: int
    sealed: bool

    def names(self, key: bytes) -> str:
        """Return an entry of the metadata; empty: there is none."""
        found: bytes = (self.schema.metadata or {}).get(key, b"")
        return found.decode(errors="replace")


def damaged(path: Path, why: object) -> InputError:
    """Return the message on a file whose bytes are not those that were written."""
    return InputError(f"{path} is damaged ({why}): restore it, or see `fastgd verify {path.parent.parent} --repair`")


def unmarked(path: Path) -> InputError:
    """Return the message on a file of others that stands in the place of one of fastgd's."""
    return InputError(f"{path} was not written by fastgd: move it out of the results folder")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Report a file that cannot be read as what it is; that a file is missing, or memory, is passed on."""
    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise UnreadableError(f"cannot read {path}: {error.strerror}") from error
        raise damaged(path, error) from error
    except (pa.ArrowException, DamageError) as error:
        raise damaged(path, error) from error


def about(path: Path) -> About:
    """Return what a footer says, checked against the file's seal.

    Raises
    ------
    InputError
        The file is damaged, or cannot be read.
    """
    with reading(path):
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise UnreadableError(f"{path} is no file: move it out of the results folder")
    with reading(path), path.open("rb") as file:
        sealed = check(file)
        found = pq.read_metadata(file)
        what = About(found.schema.to_arrow_schema(), found.num_rows, sealed)
        if bool(what.names(PART)) != sealed:
            raise DamageError("its seal is gone")
    return what


def about_own(path: Path, folder: str) -> About:
    """Return what the footer of a part says; `folder` is the id of the results folder that it stands in.

    Raises
    ------
    InputError
        The file is damaged, another part under this name, one of another results folder, or none of fastgd's.
    """
    what = about(path)
    named, home = what.names(PART), what.names(FOLDER)
    if not _is_marked(what):
        raise unmarked(path)
    if what.sealed and named != part_of(path):
        raise InputError(
            f"{path} is {named} under another name: give it back its name, remove the copy, or see "
            f"`fastgd verify {path.parent.parent} --repair`"
        )
    if what.sealed and folder and home != folder:
        raise InputError(
            f"{path} belongs to another results folder: put the folder's own file in its place, or see "
            f"`fastgd verify {path.parent.parent} --repair`"
        )
    return what


def part_of(path: Path) -> str:
    """Return the name that a file's footer has for it."""
    return f"{path.parent.name}/{path.name}"


def is_own(path: Path, folder: str) -> bool:
    """Whether a file is one that fastgd wrote to this place: only such are deleted. Links never are."""
    if path.is_symlink() or path.parent.is_symlink():
        return False
    try:
        about_own(path, folder)
    except (InputError, OSError):
        return False
    return True


def is_of_others(path: Path) -> bool:
    """Whether a file is a good one that fastgd did not write: it is left where it stands."""
    try:
        return not _is_marked(about(path))
    except (InputError, OSError):
        return False


def _is_marked(what: About) -> bool:
    return bool(what.names(SCHEMA) or what.names(SURFACE))


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file, to be read with its pages' checksums; what is wrong with it is told by its name."""
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield file


def groups(path: Path, columns: list[str] | None = None, without: Iterable[int] = ()) -> Iterator[pa.Table]:
    """Read a file row group by row group, which bounds the memory; those in `without` are left out."""
    left_out = set(without)
    with opened(path) as file:
        for group in range(file.num_row_groups):
            if group not in left_out:
                yield file.read_row_group(group, columns=columns, use_threads=False)


def find_damage(paths: Iterable[Path]) -> None:
    """Raise InputError for the first of the files that does not read whole."""
    for path in paths:
        about(path)
        for _ in groups(path):
            pass
