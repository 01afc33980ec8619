"""Opens the Parquet files of results, for all readers: files that changed after they were written are refused.

The footer of a part names the file itself and the id of the results folder, which the manifest keeps. So a part that is
copied, renamed, swapped or of another study is refused by name. When a run ends, the manifest names the parts that
count, with their rows, and the surfaces: what counts later is of a newer generation, or more, so a crash between a
compaction and the manifest raises no alarm.

All readers open files here, and all writers write them by `store/disk/files.py`. Files are deleted by `remove` there,
which leaves links alone, and only if they have a temporary name of ours, or a footer that says that fastgd wrote them
to this very place (`is_own`). New parts never take a name that any file has. A results folder in which `curves` or the
like is a link is read, and not written to.
"""

import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from fastgd.common.errors import InputError, UnreadableError
from fastgd.common.parsing import fault_of, from_json
from fastgd.common.remote import arrow_filesystem, is_remote, parquet_source
from fastgd.store.disk.seal import DamageError, check

# Keys of the metadata in a footer: the file's own name, and the id of the results folder that it belongs to.
PART_NAME, FOLDER_ID = b"fastgd.part", b"fastgd.folder"
# Every file that fastgd wrote has one of these two keys.
SCHEMA_VERSION, SURFACE_INFO = b"fastgd.schema", b"fastgd.surface"
# Datasets verify the checksum of every page that they read.
FORMAT = pds.ParquetFileFormat(
    default_fragment_scan_options=pds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


class Footer(NamedTuple):
    """What the footer of a file says: its schema, its number of rows, and whether the file is sealed."""

    schema: pa.Schema
    rows: int
    sealed: bool

    def entry(self, key: bytes) -> str:
        """Return an entry of the metadata; an empty text where there is none."""
        found: bytes = (self.schema.metadata or {}).get(key, b"")
        return found.decode(errors="replace")


def damaged_file(path: Path, why: object) -> InputError:
    """Return the error about a file whose bytes are not those that were written."""
    return InputError(f"{path} is damaged ({why}): restore it, or see `fastgd verify {path.parent.parent} --repair`")


def foreign_file(path: Path) -> InputError:
    """Return the error about a file that fastgd did not write, where one of its own should stand."""
    return InputError(f"{path} was not written by fastgd: move it out of the results folder")


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Turn the errors of readers into InputErrors that name the file; a missing file or memory raises as it is."""
    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise UnreadableError(f"cannot read {path}: {error.strerror}") from error
        raise damaged_file(path, error) from error
    except (pa.ArrowException, DamageError) as error:
        raise damaged_file(path, error) from error


def read_footer(path: Path) -> Footer:
    """Return what a file's footer says, after checking it against the file's seal.

    Raises
    ------
    InputError
        The file is damaged, or cannot be read.
    """
    with naming_damage(path):
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            raise UnreadableError(f"{path} is no file: move it out of the results folder")
    with naming_damage(path), _opened_for_footer(path) as file:
        sealed = check(file)
        found = pq.read_metadata(file)
        footer = Footer(found.schema.to_arrow_schema(), found.num_rows, sealed)
        if bool(footer.entry(PART_NAME)) != sealed:
            raise DamageError("its seal is gone")
    return footer


def _opened_for_footer(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0) if is_remote(path) else path.open("rb")


def read_own_footer(path: Path, folder: str) -> Footer:
    """Return the footer of a file that must belong to the results folder with the id `folder`.

    Raises
    ------
    InputError
        The file is damaged, has been renamed, belongs to another results folder, or was not written by fastgd.
    """
    footer = read_footer(path)
    part, folder_id = footer.entry(PART_NAME), footer.entry(FOLDER_ID)
    if not _is_marked(footer):
        raise foreign_file(path)
    if footer.sealed and part != name_in_footer(path):
        raise InputError(
            f"{path} is {part} under another name: give it back its name, remove the copy, or see "
            f"`fastgd verify {path.parent.parent} --repair`"
        )
    if footer.sealed and folder and folder_id != folder:
        raise InputError(
            f"{path} belongs to another results folder: put the folder's own file in its place, or see "
            f"`fastgd verify {path.parent.parent} --repair`"
        )
    return footer


def own_record(path: Path, folder: str, key: bytes, kind: type, what: str) -> dict[str, Any]:
    """Return the fields of a dataclass that the footer of a folder's own file holds as JSON.

    Raises
    ------
    InputError
        The file is damaged, or another folder's.
    """
    text = read_own_footer(path, folder).entry(key)
    if not text:
        raise foreign_file(path)
    with naming_damage(path):
        try:
            found = from_json(text)
        except ValueError as error:
            raise DamageError(f"its footer: {error}") from error
        if not isinstance(found, dict) or set(found) != {field.name for field in fields(kind)}:
            raise DamageError(f"its footer does not say what {what} it is")
        if fault := fault_of(kind, found):
            raise DamageError(fault)
    return found


def name_in_footer(path: Path) -> str:
    """Return the name by which a file's footer calls the file: its folder and its own name."""
    return f"{path.parent.name}/{path.name}"


def is_own(path: Path, folder: str) -> bool:
    """Whether fastgd wrote a file to this place. Only such files are ever deleted, and links never are."""
    if path.is_symlink() or path.parent.is_symlink():
        return False
    try:
        read_own_footer(path, folder)
    except (InputError, OSError) as error:
        return _refused(path, error)
    return True


def is_foreign(path: Path) -> bool:
    """Whether a file is an intact one that fastgd did not write: such a file is left where it is."""
    try:
        return not _is_marked(read_footer(path))
    except (InputError, OSError) as error:
        return _refused(path, error)


def _refused(path: Path, error: Exception) -> bool:
    """Return False: it is not known whose a file is; raise where the store of an object could not be reached."""
    if is_remote(path) and isinstance(error, UnreadableError):
        raise error
    return False


def _is_marked(footer: Footer) -> bool:
    return bool(footer.entry(SCHEMA_VERSION) or footer.entry(SURFACE_INFO))


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file whose pages are checked as they are read; errors name the file."""
    with naming_damage(path), pq.ParquetFile(**parquet_source(path), page_checksum_verification=True) as file:
        yield file


def dataset_of(paths: Sequence[Path], schema: pa.Schema) -> pds.Dataset:
    """Return files as one dataset, whose pages are checked as they are read."""
    filesystem = arrow_filesystem(paths[0]) if paths else None
    return pds.dataset([str(path) for path in paths], schema=schema, format=FORMAT, filesystem=filesystem)


def row_groups(path: Path, columns: list[str] | None = None, without: Iterable[int] = ()) -> Iterator[pa.Table]:
    """Read a file row group by row group, which bounds the memory; the numbers in `without` are skipped."""
    skipped = set(without)
    with open_parquet(path) as file:
        for group in range(file.num_row_groups):
            if group not in skipped:
                yield file.read_row_group(group, columns=columns, use_threads=False)


def refuse_damaged(paths: Iterable[Path]) -> None:
    """Raise InputError for the first of the files that cannot be read as a whole."""
    for path in paths:
        read_footer(path)
        for _ in row_groups(path):
            pass
