"""Arrow IPC: files and streams of it, what their headers tell, and what is said about those that are wrong."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather

from fastgd.common.errors import InputError
from fastgd.common.system import MemoryLimit
from fastgd.datasets import Source, from_arrays, load, record
from fastgd.datasets.mapped.reading import size_in_memory
from fastgd.datasets.readers import arrow

N = 50
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((N, 3)), np.arange(N) % 2.0
COLUMNS = {**dict(zip("abc", X.T, strict=True)), "y": Y}
PACKED = (None, "lz4", "zstd")
NEW = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}


def write(path, columns, new=pa.ipc.new_file, rows=7, compression=None):
    table = pa.table(columns)
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def vectors(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def read(path, target="y", **keys):
    return load(Source(path=str(path), target=target, **keys))


def refusal(path, target="y", **keys):
    with pytest.raises(InputError) as caught:
        read(path, target, **keys)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("new", NEW.values(), ids=NEW)
@pytest.mark.parametrize("suffix", [".arrow", ".feather", ".ipc"])
def test_columns_and_vectors_are_the_arrays(suffix, new, packed, tmp_path):
    path, expected = tmp_path / f"a{suffix}", from_arrays(X, Y)
    of_columns = read(write(path, COLUMNS, new, compression=packed))
    assert (of_columns.fingerprint, of_columns.features) == (expected.fingerprint, ("a", "b", "c"))
    of_vectors = read(write(path, {"v": vectors(X), "y": Y}, new, compression=packed))
    assert (of_vectors.fingerprint, of_vectors.features) == (expected.fingerprint, ("x0", "x1", "x2"))


def test_rows_in_memory_do_not_change_with_their_file(tmp_path):
    for columns in (COLUMNS, {"a": X[:, 0], "y": Y}, {"v": vectors(X), "y": Y}):
        dataset = read(write(tmp_path / "a.arrow", columns, rows=N))
        before = dataset.X.copy()
        with (tmp_path / "a.arrow").open("r+b") as file:
            file.write(bytes(file.seek(0, 2)))
            file.seek(0)
            file.write(bytes(file.seek(0, 2)))
        np.testing.assert_array_equal(dataset.X, before)
        np.testing.assert_array_equal(dataset.y, Y)


def test_the_index_that_pandas_stores_is_no_feature(tmp_path):
    frame = pd.DataFrame(COLUMNS, index=pd.Index(np.arange(N) + 7, name="id"))
    feather.write_feather(pa.Table.from_pandas(frame), tmp_path / "a.feather")
    dataset = read(tmp_path / "a.feather")
    assert dataset.fingerprint == from_arrays(X, Y).fingerprint
    assert dataset.notes == ("the index that pandas stored is no feature: 'id'",)


def test_labels_are_texts_categories_and_views(tmp_path):
    labels = np.where(Y, "late", "on time").tolist()
    for column in (pa.array(labels), pa.array(labels).dictionary_encode(), pa.array(labels, pa.string_view())):
        for new in NEW.values():
            assert read(write(tmp_path / "a.arrow", {**COLUMNS, "y": column}, new)).y.tolist() == labels


def test_sparse_rows(tmp_path):
    columns = {"indices": [[0, 2], [], [1]], "values": [[1.0, 2.0], [], [3.0]], "y": [0, 1, 1]}
    dataset = read(write(tmp_path / "a.arrow", columns), n_features=4)
    assert dataset.X.toarray().tolist() == [[1, 0, 2, 0], [0] * 4, [0, 3, 0, 0]]
    assert refusal(tmp_path / "a.arrow", n_features=2) == ": there is a column x2; n_features = 2 ends at x1"


# --- folders ----------------------------------------------------------------------------------------------------------


def test_parts_and_the_columns_of_their_folders(tmp_path):
    folder = tmp_path / "d.arrow"
    for fold, new in zip(("1", "2"), NEW.values(), strict=True):
        (folder / f"my%20fold={fold}").mkdir(parents=True)
        write(folder / f"my%20fold={fold}" / "a", {"x": [1.0, 2.0], "y": [0, 1]}, new)
    dataset = read(folder)
    assert dataset.features == ("x", "my fold")
    assert dataset.X.tolist() == [[1, 1], [2, 1], [1, 2], [2, 2]]
    assert read(folder, "my fold").y.tolist() == [1, 1, 2, 2]
    (folder / "my%20fold=__HIVE_DEFAULT_PARTITION__").mkdir()
    write(folder / "my%20fold=__HIVE_DEFAULT_PARTITION__" / "a", {"x": [1.0], "y": [0]})
    missing = ": row 1 of my%20fold=__HIVE_DEFAULT_PARTITION__/a, column 'my fold': found nan"
    assert refusal(folder).startswith(missing)
    write(folder / "my%20fold=2" / "a", {"x": [1], "y": [0]})
    assert refusal(folder) == f"/my%20fold=2/a: column 'x' holds int64, and in {folder}/my%20fold=1/a double"
    (folder / "my%20fold=2" / "a").write_text("no table")
    assert refusal(folder).startswith("/my%20fold=2/a cannot be read: it begins neither as a file nor as a stream of")


def test_a_part_that_is_damaged_is_named(tmp_path):
    (tmp_path / "d.arrow").mkdir()
    for part in "ab":
        path = write(tmp_path / "d.arrow" / part, {"x": [1.0, 2.0], "y": ["u", "v"]}, rows=N)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"uv", b"u\xff"))
    for source in ("memory", "stream"):
        assert refusal(tmp_path / "d.arrow", source=source).startswith("/b cannot be read: In column 1: Invalid: ")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        ({"v": vectors(X), "y": Y}, {"n_features": 3}, ": n_features = 3 is for sparse rows; these are lists of 3"),
        ({"v": vectors(X), "a": Y, "y": Y}, {}, ": a table of lists has no column 'a': its features are in the lists"),
        ({"v": vectors(X)}, {}, ": lists alone; there is no column for the target"),
        ({"v": vectors(X), "y": Y}, {"target": "v"}, ": there is no column 'v'; valid: y"),
        ({"v": vectors(X), "u": vectors(X), "y": Y}, {}, ": the columns v, u hold lists; sparse rows are two columns"),
        ({"v": X.tolist(), "y": Y}, {}, ": the columns v hold lists; sparse rows are two columns of lists, 'indices'"),
        ({"v": pa.array([["a"]] * N, pa.list_(pa.string(), 1)), "y": Y}, {}, ": column 'v' must hold lists of numbers"),
        ({"v": vectors(np.where(X[4, 1] == X, np.nan, X)), "y": Y}, {}, ": row 5, column 'x1': found nan; every feat"),
        ({"v": pa.array([[]] * N, pa.list_(pa.float64(), 0)), "y": Y}, {}, ": X must have rows and columns, (n, d)"),
        ({**COLUMNS, "a": pa.array([{"b": 1}] * N)}, {}, ": column 'a' is not numeric: row 1 holds {'b': 1}"),
        (COLUMNS, {"zero_based": True}, ": zero_based is for .svm and .libsvm files"),
    ],
)
@pytest.mark.parametrize("source", ["memory", "stream"])
def test_tables_that_will_not_do(columns, keys, message, source, tmp_path):
    assert refusal(write(tmp_path / "a.arrow", columns), **keys, source=source).startswith(message)


def test_files_that_are_none_or_cut(tmp_path):
    path = write(tmp_path / "a.arrow", COLUMNS, pa.ipc.new_stream)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    assert refusal(path).startswith(" cannot be read: the stream has no end; it was cut, or was not closed")
    path.write_bytes(write(tmp_path / "b.arrow", COLUMNS).read_bytes()[:-100])
    assert refusal(path) == " cannot be read: Not an Arrow file"
    for content in (b"", b"PAR1" + bytes(100), b"FEA1" + bytes(100)):
        path.write_bytes(content)
        assert refusal(path).startswith(
            " cannot be read: it begins neither as a file nor as a stream of Arrow IPC (the"
        )
        assert size_in_memory(path, "arrow") == 0
    assert refusal(tmp_path / "none.arrow") == ": there is no such file"
    assert refusal(tmp_path / "a.arrow.gz").startswith(": unknown extension '.gz'")


# --- what headers tell ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("new", NEW.values(), ids=NEW)
def test_headers_tell_what_a_file_unpacks_to(new, packed, tmp_path):
    texts = pa.array(np.where(Y, "late", "on time").tolist()).dictionary_encode()
    columns = {**COLUMNS, "same": np.zeros(N), "t": texts}
    path = write(tmp_path / "a.arrow", columns, new, rows=20, compression=packed)
    found = arrow.blocks(path)
    assert [block.rows for block in found] == [0, 20, 20, 10]
    assert [block.packed for block in found] == [packed is not None] * 4
    width = 5 * 8 + 4  # bytes a row: doubles, and indices of texts
    for block, rows in zip(found[1:], (20, 20, 10), strict=True):
        padding = 0 if packed else 64 * 6
        assert rows * width <= block.bytes <= rows * width + padding
    assert len("lateon time") + 12 <= found[0].bytes <= 128
    assert size_in_memory(path, "arrow") >= 8 * 6 * N
    assert arrow.rows(path) == N


@pytest.fixture
def small_memory(monkeypatch):
    """Of a process that may use 100 kB."""
    monkeypatch.setattr(record, "memory_limits", lambda: [MemoryLimit("the machine's", 100_000, 0)])


def test_what_unpacks_to_more_than_memory_holds_is_refused_before(tmp_path, small_memory):
    columns = {"x": np.zeros(50_000), "y": np.zeros(50_000)}
    path = write(tmp_path / "a.arrow", columns, rows=50_000, compression="zstd")
    assert path.stat().st_size < 3_000
    assert refusal(path).startswith(": 50,000 rows of 2 columns take 800 kB as a table, more than half of the")
    told = ": the rows of a record batch, which is compressed, take 800 kB as a table, more than half of the"
    assert refusal(path, source="stream").startswith(told)
    assert len(read(write(path, columns, rows=1_000, compression="zstd"), source="stream").y) == 50_000
    assert len(read(write(path, columns, rows=50_000), source="stream").y) == 50_000


def test_objects_of_a_store_are_refused_when_they_have_unpacked_to_more(tmp_path, small_memory):
    store = pytest.importorskip("fsspec").filesystem("memory")
    columns = {"x": np.zeros(50_000), "y": np.zeros(50_000)}
    path = write(tmp_path / "a.arrow", columns, rows=1_000, compression="zstd")
    store.pipe("/bucket/a.arrow", path.read_bytes())
    with pytest.raises(InputError, match=r"a\.arrow: its rows, unpacked, take .*; source = .stream. needs less"):
        read("memory://bucket/a.arrow")
    assert len(read("memory://bucket/a.arrow", source="stream").y) == 50_000
