"""svmlight files, which scikit-learn parses: whether columns count from 0 or 1, and which token cannot be parsed."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO, Any

from fastgd.common.errors import InputError
from fastgd.common.parsing import shortened
from fastgd.datasets.arrays import build
from fastgd.datasets.csr import MOST_COLUMNS, check_columns
from fastgd.datasets.readers.reading import Reading, ZeroBased, opened, reading
from fastgd.datasets.record import Dataset, Place, row_number

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BYTES_PER_READ = 1 << 20
BYTES_PER_PIECE = 1 << 24  # that are parsed together
COLUMN_0 = re.compile(rb"\s[+-]?0+:")
FROM_1 = 'columns count from 1, as there is no column 0 (zero_based = "auto")'


def read(file: Path, keys: Reading) -> Dataset:
    """Return the dataset of an svmlight file; with `zero_based = "auto"` all files of a problem count alike."""
    from sklearn.datasets import load_svmlight_file

    zero_based = counts_from_0((file, *keys.beside), keys.zero_based)
    try:
        with _lines(file) as lines:
            X, y = load_svmlight_file(lines, zero_based=zero_based)
    except (ValueError, OverflowError) as error:
        with _lines(file) as lines:
            raise _bad(file, lines.readlines(), 1, zero_based, error) from error
    if keys.n_features is not None:
        check_columns(X.shape[1], keys.n_features, str(file))
        X.resize(X.shape[0], keys.n_features)
    return build(str(file), X, y, notes=notes_of(keys, zero_based), place=place_of(file))


def pieces(file: Path, zero_based: bool) -> Iterator[tuple[Any, Any]]:
    """Yield X and y of some rows at a time; their columns are as many as they need."""
    from sklearn.datasets import load_svmlight_file

    first = 1
    with _lines(file, whole=False) as stream:
        while True:
            lines = stream.readlines(BYTES_PER_PIECE)
            try:
                yield load_svmlight_file(BytesIO(b"".join(lines)), zero_based=zero_based)
            except (ValueError, OverflowError) as error:
                raise _bad(file, lines, first, zero_based, error) from error
            if not lines:
                return
            first += len(lines)


def notes_of(keys: Reading, zero_based: bool) -> tuple[str, ...]:
    """Return what is noted of columns that were found to count from 1."""
    return (FROM_1,) if keys.zero_based == "auto" and not zero_based else ()


def place_of(file: Path) -> Place:
    """Return how messages call the row at an index: by its line."""
    return lambda row: _line(file, row)


def counts_from_0(files: Iterable[Path], zero_based: ZeroBased) -> bool:
    """Return whether the columns of the files of a problem count from 0: as is said, or if any has a column 0."""
    return any(map(_has_column_0, files)) if zero_based == "auto" else zero_based


@contextmanager
def _lines(file: Path, *, whole: bool = True) -> Iterator[IO[bytes]]:
    with opened(file, whole=whole) as stream:
        if stream.peek(3)[:3] == BYTE_ORDER_MARK:  # type: ignore[attr-defined]
            stream.read(3)
        yield stream


def _has_column_0(file: Path) -> bool:
    """Whether a file has an index 0. It is searched, not parsed: only blocks with a match are looked at by line."""
    with reading(file), _lines(file, whole=False) as stream:
        while lines := stream.readlines(BYTES_PER_READ):
            may = COLUMN_0.search(b"".join(lines))
            if may and any(COLUMN_0.search(line.partition(b"#")[0]) for line in lines):
                return True
    return False


def _tokens(line: bytes) -> list[bytes]:
    return line.partition(b"#")[0].split()


def _line(file: Path, row: int) -> str:
    """Return the line of the file that a row is from: comments and blank lines count too."""
    try:
        with _lines(file, whole=False) as lines:
            found = next(islice((number for number, line in enumerate(lines, 1) if _tokens(line)), row, None), None)
    except (OSError, ValueError):
        found = None
    return row_number(row) if found is None else f"line {found}"


def _bad(file: Path, lines: list[bytes], first: int, zero_based: bool, error: Exception) -> InputError:
    """Return the error about the first line that the parser refuses: halves are parsed, twice the lines at most."""
    from sklearn.datasets import load_svmlight_file

    reason = str(error) if isinstance(error, ValueError) else f"a column is above {MOST_COLUMNS:,}"
    while len(lines) > 1:
        half = len(lines) // 2
        try:
            load_svmlight_file(BytesIO(b"".join(lines[:half])), zero_based=zero_based)
            lines, first = lines[half:], first + half
        except (ValueError, OverflowError):
            lines = lines[:half]
    token = _bad_token(_tokens(lines[0]), 0 if zero_based else 1) if lines else None
    found = "" if token is None else f"; found {shortened(token.decode(errors='replace'))}"
    return InputError(f"{file}, line {first}: {reason.rstrip('.')[:120]}{found}")


def _bad_token(tokens: Iterable[bytes], least: int) -> bytes | None:
    """Return the first token that is no label or no `index:value` with an index above those before it."""
    label, *features = tokens
    if not _reads(float, label):
        return label
    before = least - 1
    for token in features[features[:1] != [] and features[0].startswith(b"qid:") :]:
        index, colon, value = token.partition(b":")
        if not (colon and _reads(int, index) and _reads(float, value) and before < int(index) < MOST_COLUMNS + least):
            return token
        before = int(index)
    return None


def _reads(kind: type[int] | type[float], text: bytes) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
