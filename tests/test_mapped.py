"""Rows that stay in files: they equal those that are read into memory, and are found again in the cache."""

import errno
import gzip
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file
from small_studies import assert_same, run, study_of

from fastgd import InputError
from fastgd.common.system import memory_budget
from fastgd.datasets import (
    Source,
    columns,
    frames,
    from_arrays,
    given_folds,
    load,
    prepare,
    prepare_folds,
    training_rows,
)
from fastgd.datasets.csr import from_dense
from fastgd.datasets.mapped import row_cache, row_files
from fastgd.datasets.readers import svm
from fastgd.datasets.staged_rows import StagedRows, blocks_of
from fastgd.runs.data.loading import load_data

N, D = 101, 5
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((N, D)), RNG.integers(0, 2, N)
X[0] = 1e-30  # so that no number of float32 is a whole one
SPARSE = np.where(RNG.random((N, 9)) < 0.3, RNG.standard_normal((N, 9)), 0.0)
SPARSE[3, 8] = 1.0
TABLE = pd.DataFrame(X, columns=list("abcde")).assign(y=Y, w=np.arange(N) + 1.0, g=np.repeat(list("uvwz"), 26)[:N])
PLAIN = TABLE.drop(columns=["w", "g"])


@pytest.fixture(scope="module", autouse=True)
def small_pieces(tmp_path_factory):
    """A cache of this module's own, and pieces of some ten rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTGD_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(row_files, "VALUES_AT_ONCE", 64)
        patch.setattr(svm, "BYTES_PER_PIECE", 100)
        yield


def written(path, content, **how):
    """Write rows in the format that the extension says."""
    if path.suffix == ".npz":
        (np.savez_compressed if how.get("packed") else np.savez)(path, **content)
    elif path.suffix == ".svm":
        dump_svmlight_file(*content, str(path), **how)
    elif path.suffix == ".csv":
        content.to_csv(path, index=False)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pandas(content, preserve_index=False) if hasattr(content, "index") else pa.table(content)
        options = pa.ipc.IpcWriteOptions(compression=how.get("packed"))
        with how.get("new", pa.ipc.new_file)(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=how.get("rows", 13))
    elif isinstance(content, dict):
        pq.write_table(pa.table(content), path, row_group_size=13)
    else:
        content.to_parquet(path, row_group_size=17, index=False)
    return {"path": str(path)}


def lists(**others):
    where = [np.flatnonzero(row) for row in SPARSE]
    values = [row[at].tolist() for row, at in zip(SPARSE, where, strict=True)]
    return {"indices": [at.tolist() for at in where], "values": values, "y": Y.tolist(), **others}


def vectors(rows, dtype="f8", **others):
    """A column of lists of one length, beside others."""
    rows = np.asarray(rows, dtype)
    return {"v": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1]), "y": Y.tolist(), **others}


def outcome(source, keys):
    """What a reader makes of a file: all of a dataset, or the message."""
    try:
        found = load(Source(**keys, source=source))
    except InputError as error:
        return str(error)
    A = found.X
    parts = [A] if isinstance(A, np.ndarray) else [A.data, A.indices, A.indptr]
    arrays = [*parts, found.y, *(each for each in (found.weights, found.groups) if each is not None)]
    told = [(each.dtype.str, each.shape, each.tobytes()) for each in arrays]
    about = (found.name, A.shape, tuple(found.features), found.fingerprint, found.notes, found.targets)
    return told, about, [found.place(row) for row in (0, len(found.y) - 1)]


def assert_alike(keys):
    """A file is what it is in memory, when it is read, and when it is found in the cache."""
    expected = outcome("memory", keys)
    assert outcome("map", keys) == expected
    assert outcome("stream", keys) == expected
    return expected


FILES_BESIDE = {"target": "y", "weights": "w", "group": "g"}
FILES = {
    "npz": ("a.npz", {"X": X, "y": Y, "w": Y + 1.0, "g": TABLE["g"].to_numpy(str)}, {"weights": "w", "group": "g"}),
    "npz, float32": ("a.npz", {"X": X.astype(np.float32), "y": Y.astype(str)}, {}),
    "npz, whole numbers": ("a.npz", {"X": (9 * X).astype(int), "y": Y}, {}),
    "npz, columns first": ("a.npz", {"X": np.asfortranarray(X), "y": Y}, {}),
    "npz, several targets": ("a.npz", {"X": X, "y": X[:, :2]}, {"target": ("p", "q")}),
    "csv": ("a.csv", TABLE, {"target": "y", "weights": "w", "group": "g"}),
    "csv, labels": ("a.csv", PLAIN.assign(y=np.where(Y, "late", "on time")), {"target": "y"}),
    "csv, several targets": ("a.csv", PLAIN, {"target": ("y", "a")}),
    "parquet": ("a.parquet", TABLE, {"target": "y", "weights": "w", "group": "g"}),
    "parquet, float32": ("a.parquet", PLAIN.astype(np.float32), {"target": "y"}),
    "parquet of lists": ("a.parquet", lists(w=list(range(1, N + 1))), {"target": "y", "weights": "w"}),
    "parquet of lists, wider": ("a.parquet", lists(), {"target": "y", "n_features": 30}),
    "parquet of vectors": ("a.parquet", vectors(X), {"target": "y"}),
    "arrow": ("a.arrow", TABLE, {"target": "y", "weights": "w", "group": "g"}),
    "arrow, float32": ("a.arrow", PLAIN.astype(np.float32), {"target": "y"}),
    "arrow, categories": ("a.arrow", PLAIN.assign(y=pd.Categorical(np.where(Y, "a", "b"))), {"target": "y"}),
    "arrow, several targets": ("a.arrow", PLAIN, {"target": ("y", "a")}),
    "arrow of lists": ("a.arrow", lists(w=list(range(1, N + 1))), {"target": "y", "weights": "w"}),
    "arrow of vectors": ("a.arrow", vectors(X, w=TABLE["w"], g=TABLE["g"]), FILES_BESIDE),
    "arrow of vectors, float32": ("a.arrow", vectors(X, "f4"), {"target": "y"}),
    "arrow of vectors, whole numbers": ("a.arrow", vectors(9 * X, "i2"), {"target": "y"}),
    "arrow of vectors, several targets": ("a.arrow", vectors(X, z=X[:, 0]), {"target": ("y", "z")}),
    "svm": ("a.svm", (SPARSE, Y), {}),
    "svm, wider": ("a.svm", (SPARSE, Y), {"n_features": 20}),
}


@pytest.mark.parametrize(("name", "content", "keys"), FILES.values(), ids=FILES)
def test_files_are_what_they_are_in_memory(name, content, keys, tmp_path):
    found = assert_alike(written(tmp_path / name, content) | keys)
    assert not isinstance(found, str), found


def test_packed_files_are_what_they_are_in_memory(tmp_path):
    assert_alike(written(tmp_path / "a.npz", {"X": X, "y": Y}, packed=True))
    PLAIN.to_csv(tmp_path / "a.csv.gz", index=False)
    assert_alike({"path": str(tmp_path / "a.csv.gz"), "target": "y"})
    for content in (PLAIN, lists(), vectors(X)):
        for packed in ("lz4", "zstd"):
            assert_alike(written(tmp_path / "a.arrow", content, packed=packed) | {"target": "y"})


@pytest.mark.parametrize("content", [PLAIN, lists(), vectors(X)], ids=["columns", "lists", "vectors"])
def test_streams_of_arrow(content, tmp_path):
    expected = outcome("memory", written(tmp_path / "a.arrow", content) | {"target": "y"})
    for rows in (13, N):
        keys = written(tmp_path / "a.arrow", content, new=pa.ipc.new_stream, rows=rows) | {"target": "y"}
        assert assert_alike(keys) == expected


def test_columns_of_svmlight_that_count_from_1(tmp_path):
    _, about, places = assert_alike(written(tmp_path / "a.svm", (SPARSE, Y), zero_based=False))
    assert "columns count from 1" in about[4][0]
    assert places == ["line 1", f"line {N}"]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_parts_in_folders_whose_names_are_columns(kind, tmp_path):
    for part in range(3):
        folder = tmp_path / "parts" / f"fold={part}"
        folder.mkdir(parents=True)
        written(folder / f"a=7.{kind}", PLAIN.iloc[30 * part : 30 * part + 30])
    _, about, places = assert_alike({"path": str(tmp_path / "parts"), "format": kind, "target": "y"})
    assert about[1] == (90, D + 1)
    assert places == [f"row 1 of fold=0/a=7.{kind}", f"row 30 of fold=2/a=7.{kind}"]


WRONG_IN_A_PART = {
    "NaN": ({"b": [1.0, np.nan, 3.0]}, "column 'b': found nan; every"),
    "a target that is missing": ({"y": [0.0, np.nan, 1.0]}, "has no target: found nan"),
    "several targets": ({"y": [0.0, np.inf, 1.0]}, "the target 'y' is inf"),
    "a weight below 0": ({"w": [1.0, -1.0, 1.0]}, "column 'w': found -1; a weight"),
    "a group that is missing": ({"g": ["u", None, "v"]}, "column 'g': the group is missing"),
    "a text": ({"b": ["1", "x", "2"]}, "column 'b' is not numeric: WHERE holds 'x'"),
    "a text that reads as a number": ({"b": ["1", "1", "2"]}, "column 'b' is not numeric: row 1 of 1.KIND holds '1'"),
    "a list that is missing": ({"indices": [[0], None, [1]], "values": [[1.0]] * 3}, "column 'indices': there is no"),
    "lists of other lengths": ({"indices": [[0], [1], [1]], "values": [[1.0], [], [1.0]]}, "has 1 indices and 0 v"),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize(("changes", "message"), WRONG_IN_A_PART.values(), ids=WRONG_IN_A_PART)
def test_what_is_wrong_in_a_part_is_told_with_its_name_and_the_row_there(changes, message, kind, tmp_path):
    right = {"y": [0.0, 1.0, 1.0], "a": [0.5] * 3, "b": [1.0, 2.0, 3.0], "w": [1.0, 1.0, 1.0], "g": ["u", "v", "v"]}
    if "indices" in changes:
        right = {"y": right["y"], "indices": [[0], [1], [1]], "values": [[1.0]] * 3}
    texts = {"b": ["1", "2", "3"]} if isinstance(changes.get("b", [0])[0], str) else {}
    (tmp_path / "rows").mkdir()
    for part, content in enumerate([right | texts, right | texts, right | changes], 1):
        written(tmp_path / "rows" / f"{part}.{kind}", content)
    beside = {} if "indices" in right else {"weights": "w", "group": "g"}
    target = ("y", "b") if "inf" in message else "y"
    told = assert_alike({"path": str(tmp_path / "rows"), "format": kind, "target": target, **beside})
    where = f"row 2 of 3.{kind}"
    message = message.replace("WHERE", where).replace("KIND", kind)
    assert told.startswith(f"{tmp_path / 'rows'}: {message if 'not numeric' in message else where}"), told
    assert message in told


def listed(**others):
    """Lists of which one column ends otherwise."""
    return {**lists(), **{name: [*lists()[name][: N - len(end)], *end] for name, end in others.items()}}


def last(column, value):
    """The table with something else in its last row but two."""
    changed = PLAIN.astype(object)
    changed.loc[N - 3, column] = value
    return changed


BAD = {
    "a number that is missing": ("a.csv", last("c", None), {"target": "y"}),
    "a text among numbers": ("a.csv", last("c", "bad"), {"target": "y"}),
    "true among numbers": ("a.csv", last("c", True), {"target": "y"}),
    "numbers among truths": ("a.csv", PLAIN.assign(c=["True"] * 90 + ["1"] * 11), {"target": "y"}),
    "a label that is missing": ("a.csv", last("y", None), {"target": "y"}),
    "a group that is missing": ("a.csv", PLAIN.assign(g=["u"] * 99 + [None, "v"]), {"target": "y", "group": "g"}),
    "a weight below 0": ("a.csv", PLAIN.assign(w=[1.0] * 99 + [-1, 1]), {"target": "y", "weights": "w"}),
    "infinity": ("a.parquet", PLAIN.assign(c=[1.0] * 99 + [np.inf, 1.0]), {"target": "y"}),
    "no such target": ("a.parquet", PLAIN, {"target": "z"}),
    "a null among numbers": ("a.parquet", PLAIN.assign(c=[1.0] * 99 + [None, 1.0]), {"target": "y"}),
    "NaN in an array": ("a.npz", {"X": np.where(X[98, 2] == X, np.nan, X), "y": Y}, {}),
    "no rows of an array": ("a.npz", {"X": X[:0], "y": Y[:0]}, {}),
    "no columns of an array": ("a.npz", {"X": X[:, :0], "y": Y}, {}),
    "an array of one dimension": ("a.npz", {"X": X[0], "y": Y}, {}),
    "texts": ("a.npz", {"X": X.astype(str), "y": Y}, {}),
    "no targets": ("a.npz", {"X": X}, {}),
    "rows without targets": ("a.npz", {"X": X, "y": Y[:9]}, {}),
    "too many columns": ("a.svm", (SPARSE, Y), {"n_features": 3}),
    "a list that is missing": (
        "a.parquet",
        listed(indices=[None, []]),
        {"target": "y"},
    ),
    "lists of other lengths": ("a.parquet", listed(values=[[1.0] * 20]), {"target": "y"}),
    "a text among texts of numbers": ("a.parquet", last("c", "bad").astype({"c": str}), {"target": "y"}),
    "texts of numbers": ("a.parquet", PLAIN.assign(c="1,5"), {"target": "y"}),
    "two columns of texts": (
        "a.arrow",
        PLAIN.assign(a=["1"] * 60 + ["late"] * 41, c=["1"] * 50 + ["bad"] * 51),
        {"target": "y"},
    ),
    "truths of which one is missing": ("a.arrow", PLAIN.assign(c=[True] * 99 + [None, True]), {"target": "y"}),
    "a text and a weight below 0": (
        "a.csv",
        PLAIN.assign(w=-1.0, c=["1"] * 99 + ["bad", "2"]),
        {"target": "y", "weights": "w"},
    ),
    "NaN in a vector": ("a.arrow", vectors(np.where(X[98, 2] == X, np.nan, X)), {"target": "y"}),
    "a vector that is missing": (
        "a.arrow",
        {"v": pa.array([[1.0, 2.0]] * 99 + [None, [1.0, 2.0]], pa.list_(pa.float64(), 2)), "y": Y},
        {"target": "y"},
    ),
    "a number that is missing in a vector": (
        "a.arrow",
        {"v": pa.array([[1.0, 2.0]] * 99 + [[1.0, None], [1.0, 2.0]], pa.list_(pa.float64(), 2)), "y": Y},
        {"target": "y"},
    ),
    "no rows": ("a.arrow", PLAIN[:0], {"target": "y"}),
    "no such weights": ("a.arrow", vectors(X), {"target": "y", "weights": "w"}),
    "an index below 0": ("a.parquet", listed(indices=[[-1]], values=[[1.0]]), {"target": "y"}),
}


@pytest.mark.parametrize(("name", "content", "keys"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_told_as_in_memory_and_leaves_nothing(name, content, keys, tmp_path):
    before = set(row_cache.root().iterdir())
    told = assert_alike(written(tmp_path / name, content) | keys)
    assert isinstance(told, str), told
    assert {path for path in row_cache.root().iterdir() if path.name != "locks"} <= before


@pytest.mark.parametrize("text", ["", "1\n0\n", "1 3:x\n", "1 4:1 2:1\n", "1 3:nan\n"])
def test_lines_of_svmlight_that_are_wrong(text, tmp_path):
    (tmp_path / "a.svm").write_text("# rows\n\n" + ("1 1:2 3:4\n# more\n" * 40 if text else "") + text)
    assert_alike({"path": str(tmp_path / "a.svm")})


CELLS = st.sampled_from(["0", "1", "-2.5", "1e3", "True", "False", "", "yes", "007", "9007199254740993", "nan"])


@given(st.lists(st.tuples(CELLS, st.sampled_from(["1.5", "2"]), CELLS), max_size=30), st.integers(3, 40))
def test_whatever_text_tables_hold_is_the_same_in_pieces(tmp_path_factory, rows, values):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text("a,b,y\n" + "".join(",".join(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_files, "VALUES_AT_ONCE", values)
        assert_alike({"path": str(path), "target": "y"})


def test_numbers_are_labels_where_a_later_one_is_a_text(tmp_path):
    table = PLAIN.assign(y=["1", "01"] * 50 + ["maybe"], g=["1"] * 100 + ["x"])
    told, _, _ = assert_alike(written(tmp_path / "a.csv", table) | {"target": "y", "group": "g"})
    assert told[1][0] == "<U5"


# --- the cache --------------------------------------------------------------------------------------------------------


def mapped(path, source="map", **keys):
    return load(Source(path=str(path), source=source, **keys))


def is_file(array):
    return isinstance(array.base, np.memmap) or isinstance(array, np.memmap) or not array.flags.writeable


def test_an_archive_that_maps_is_not_copied(tmp_path):
    """NumPy's own archives begin at odd bytes; one with a longer name in front of X does not."""
    for length in range(1, 9):
        path = tmp_path / f"{length}.npz"
        np.savez(path, **{"z" * length: np.zeros(0), "X": X, "y": Y})
        dataset = mapped(path)
        assert is_file(dataset.X)
        np.testing.assert_array_equal(dataset.X, X)
        assert dataset.fingerprint == from_arrays(X, Y).fingerprint
        assert dataset.X.flags.aligned
    there = [(mapped(tmp_path / f"{length}.npz").folder / "X.npy").exists() for length in range(1, 9)]
    assert 0 < sum(there) < 8


def test_vectors_of_arrow_that_map_are_not_copied(tmp_path):
    """Also behind a text, which ends anywhere, and in a stream: what is written is aligned."""
    path = tmp_path / "a.arrow"
    for how in ({"rows": N}, {"rows": N, "new": pa.ipc.new_stream}):
        for dtype in ("f4", "f8"):
            content = {"g": TABLE["g"], **vectors(X, dtype), "w": TABLE["w"]}
            dataset = mapped(**written(path, content, **how), target="y", weights="w", group="g")
            assert is_file(dataset.X)
            assert not (dataset.folder / "X.npy").exists()
            np.testing.assert_array_equal(dataset.X, X.astype(dtype))
            assert dataset.X.flags.aligned
            assert dataset.fingerprint == from_arrays(X.astype(dtype), Y).fingerprint
    missing = pa.array([None, *Y[1:].tolist()], pa.int64())
    for content, how in {
        "in two places": (vectors(X), {"rows": 100}),
        "compressed": (vectors(X), {"rows": N, "packed": "zstd"}),
        "whole numbers": (vectors(9 * X, "i8"), {"rows": N}),
    }.values():
        assert (mapped(**written(path, content, **how), target="y").folder / "X.npy").exists()
    with pytest.raises(InputError, match="row 1 has no target"):
        mapped(**written(path, vectors(X) | {"y": missing}, rows=N), target="y")


def test_a_file_of_arrow_is_never_in_memory_as_a_whole(tmp_path):
    rows, before = np.random.default_rng(0).standard_normal((100_000, 10)), pa.default_memory_pool()
    content = dict(zip("abcdefghij", rows.T, strict=True)) | {"y": np.arange(len(rows)) % 2}
    for packed in (None, "zstd"):
        path = written(tmp_path / "a.arrow", content, rows=2_000, packed=packed)["path"]
        pool = pa.proxy_memory_pool(before)
        pa.set_memory_pool(pool)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(row_files, "VALUES_AT_ONCE", 1 << 14)
                found = mapped(path, target="y")
        finally:
            pa.set_memory_pool(before)
        np.testing.assert_array_equal(found.X, rows)
        assert pool.max_memory() < rows.nbytes / 4


def test_what_was_read_is_not_read_again(tmp_path, monkeypatch):
    written(tmp_path / "a.csv", PLAIN)
    first = mapped(tmp_path / "a.csv", target="y")
    assert (first.origin, mapped(tmp_path / "a.csv", "stream", target="y").origin) == ("map", "stream")
    monkeypatch.setattr(row_files.csv, "pieces", None)
    again = mapped(tmp_path / "a.csv", target="y")
    assert (again.folder, again.fingerprint) == (first.folder, first.fingerprint)
    with pytest.raises(TypeError):
        mapped(tmp_path / "a.csv", target="a")


def test_a_file_that_changed_is_read_again(tmp_path):
    written(tmp_path / "a.csv", PLAIN)
    first = mapped(tmp_path / "a.csv", target="y")
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(text[:-2] + ("1" if text[-2] == "0" else "0") + "\n")
    os.utime(tmp_path / "a.csv", ns=(0, 10**18))
    assert mapped(tmp_path / "a.csv", target="y").fingerprint != first.fingerprint


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_changes_while_it_is_read_is_refused_and_not_kept(kind, tmp_path, monkeypatch):
    """A row more at the end of a file, and a part more in a folder, which is gone again later."""
    path, before = tmp_path / "rows", set(row_cache.root().iterdir())
    path.mkdir()
    written(path / f"1.{kind}", PLAIN)
    source = {"path": str(path if kind == "parquet" else path / "1.csv"), "format": kind, "target": "y"}
    (expected, more) = outcome("memory", source), iter([True])

    def changing(*given, numbers=frames.numbers):
        if next(more, False):
            written(path / f"2.{kind}", PLAIN) if kind == "parquet" else append(path / "1.csv")
        return numbers(*given)

    monkeypatch.setattr(frames, "numbers", changing)
    told = f"{source['path']}: it was changed while it was read; run again when it is complete"
    assert outcome("map", source) == told
    assert {each for each in row_cache.root().iterdir() if each.name != "locks"} <= before
    assert outcome("map", source) == outcome("memory", source) != expected
    if kind == "parquet":
        (path / "2.parquet").unlink()
        assert outcome("map", source) == expected


def append(path):
    with path.open("a") as file:
        file.write("1,2,3,4,5,1\n")


@pytest.mark.parametrize("damage", ["cut", "gone", "meta"])
def test_a_damaged_folder_is_made_anew(damage, tmp_path):
    written(tmp_path / "a.csv", PLAIN)
    first = mapped(tmp_path / "a.csv", target="y")
    file = first.folder / ("meta.json" if damage == "meta" else "X.npy")
    if damage == "gone":
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size - 8)
    assert outcome("map", {"path": str(tmp_path / "a.csv"), "target": "y"}) == outcome(
        "memory", {"path": str(tmp_path / "a.csv"), "target": "y"}
    )


def test_what_was_not_used_for_long_goes_first_and_nothing_that_is_in_use(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGD_CACHE_DIR", str(tmp_path / "cache"))
    folders = []
    for number in range(3):
        written(tmp_path / f"{number}.csv", PLAIN)
        folders.append(mapped(tmp_path / f"{number}.csv", target="y").folder)
        os.utime(folders[-1] / "meta.json", ns=(0, 10**18 + number * 10**9))
    in_use = mapped(tmp_path / "0.csv", target="y")
    for folder in folders[1:]:
        row_cache.let_go(folder)
    (tmp_path / "cache/data/.ended").mkdir()  # of a process that was killed
    one = sum(path.stat().st_size for path in folders[0].rglob("*"))
    assert row_cache.shrink(row_cache.root(), int(2.5 * one)) > 0
    assert [folder.exists() for folder in folders] == [True, False, True]
    row_cache.shrink(row_cache.root(), 0)
    assert [folder.exists() for folder in folders] == [True, False, False]
    assert not (tmp_path / "cache/data/.ended").exists()
    np.testing.assert_array_equal(in_use.X, X)


def test_what_is_larger_than_the_cache_may_be(tmp_path, monkeypatch):
    written(tmp_path / "a.csv", PLAIN)
    monkeypatch.setenv("FASTGD_DATA_CACHE_BYTES", "1000")
    with pytest.raises(InputError, match=r"a\.csv: its rows take more than .* FASTGD_DATA_CACHE_BYTES = 4800, for"):
        mapped(tmp_path / "a.csv", target="y")
    for wrong in ("many", "-1", "nan", "inf"):
        monkeypatch.setenv("FASTGD_DATA_CACHE_BYTES", wrong)
        with pytest.raises(InputError, match=rf"FASTGD_DATA_CACHE_BYTES must be a number of bytes; found '{wrong}'"):
            mapped(tmp_path / "a.csv", target="y")


def test_others_make_way_before_the_bound_and_where_the_disk_is_full(tmp_path, monkeypatch):
    """What is in use stays. A disk's free bytes are what the system says, to which the pages of the cache count."""
    monkeypatch.setenv("FASTGD_CACHE_DIR", str(tmp_path / "cache"))
    for number in range(3):
        written(tmp_path / f"{number}.csv", PLAIN)
    first = mapped(tmp_path / "0.csv", target="y").folder
    one = sum(path.stat().st_size for path in first.rglob("*"))
    monkeypatch.setenv("FASTGD_DATA_CACHE_BYTES", str(int(1.5 * one)))
    second = mapped(tmp_path / "1.csv", target="y").folder
    assert first.exists(), "in use"
    row_cache.let_go(first)
    room = row_cache.Room(row_cache.root(), "rows")
    room.take(one // 4)
    assert not first.exists(), "as soon as the bound is reached, and not when all is written"
    assert second.exists(), "in use"
    row_cache.let_go(second)
    monkeypatch.delenv("FASTGD_DATA_CACHE_BYTES")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=row_cache.LEFT_FREE + 9))
    row_cache.Room(row_cache.root(), "rows").take(9)
    assert second.exists()
    row_cache.Room(row_cache.root(), "rows").take(10)
    assert not second.exists()


def test_an_archive_that_maps_is_read_to_its_checksum(tmp_path):
    """A bit that changed in the file is told, as it is in memory, also where rows are used as they stand there."""
    for length in range(1, 9):
        path = tmp_path / f"{length}.npz"
        np.savez(path, **{"z" * length: np.zeros(0), "X": X, "y": Y})
        content = bytearray(path.read_bytes())
        content[content.index(X.tobytes()) + 100] ^= 1
        path.write_bytes(content)
        assert "Bad CRC-32 for file 'X.npy'" in assert_alike({"path": str(path)})


def test_a_second_file_that_is_missing_is_named(tmp_path):
    written(tmp_path / "a.svm", (SPARSE, Y))
    for source in ("memory", "map", "auto"):
        problem = {"loss": "logistic", "path": str(tmp_path / "a.svm"), "validation": str(tmp_path / "b.svm")}
        with pytest.raises(InputError, match=r"b\.svm: there is no such file"):
            load_data(study_of(problem=problem | {"source": source}), None, print)


def test_a_disk_that_is_full_is_told_and_a_file_that_is_cut_is_no_matter_of_the_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written(tmp_path / "a.parquet", PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array_header_1_0", full)
        with pytest.raises(InputError, match=r"cannot write .*X\.npy: No space left on device"):
            mapped(tmp_path / "a.parquet", target="y")
    assert not list(row_cache.root().glob(".*"))
    mapped(tmp_path / "a.parquet", target="y")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(PLAIN.to_csv(index=False).encode())[:-2000])
    assert "cannot be read" in assert_alike({"path": str(tmp_path / "b.csv.gz"), "target": "y"})


def test_two_processes_that_begin_together_write_one_folder(tmp_path):
    PLAIN.loc[np.tile(np.arange(N), 300)].to_csv(tmp_path / "a.csv", index=False)
    script = (
        "from fastgd.datasets import Source, load; import sys, json;"
        "d = load(Source(path=sys.argv[1], target='y', source='map'));"
        "print(json.dumps([d.fingerprint, str(d.folder)]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.csv")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    one, other = (json.loads(process.communicate()[0]) for process in both)
    assert one == other
    assert one[0] == outcome("memory", {"path": str(tmp_path / "a.csv"), "target": "y"})[1][3]


# --- in the form of a study -------------------------------------------------------------------------------------------

HOW = {
    "as they are": {},
    "standardised": {"standardize": True},
    "held out": {"validation": 0.2, "split_seed": 3},
    "all of it": {"validation": 0.2, "standardize": True, "dtype": "float32"},
}


def part(X, rows):
    """Some rows as kernels see them, in an array of their own."""
    blocks = [each if isinstance(each, np.ndarray) else each.toarray() for each in blocks_of(X, rows)]
    return np.concatenate(blocks)


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
@pytest.mark.parametrize("kind", ["npz", "svm"])
def test_prepared_rows_have_the_numbers_and_the_name_that_they_have_in_memory(kind, how, tmp_path):
    content = {"X": X, "y": Y, "w": np.arange(N) + 1.0} if kind == "npz" else (SPARSE, Y)
    keys = written(tmp_path / f"a.{kind}", content) | ({"weights": "w"} if kind == "npz" else {})
    one, other = (prepare(load(Source(**keys, source=source)), targets="binary", **how) for source in ("memory", "map"))
    assert (other.fingerprint, other.notes, other.n, other.held_out) == (
        one.fingerprint,
        one.notes,
        one.n,
        one.held_out,
    )
    assert (other.nonzeros, other.labels) == (one.nonzeros, one.labels)
    np.testing.assert_array_equal(part(other.X, other.rows), part(one.X, None))
    np.testing.assert_array_equal(other.training_targets, one.y)
    np.testing.assert_array_equal(other.frequencies, one.frequencies)
    if one.weights is not None:
        np.testing.assert_array_equal(other.training_weights, one.weights)
    if one.X_validation is not None:
        np.testing.assert_array_equal(part(other.X_validation, other.validation_rows), part(one.X_validation, None))
        np.testing.assert_array_equal(other.y_validation[other.validation_rows], one.y_validation)
        assert other.X_validation is other.X, "which the engine stages once"
    if not how:
        assert other.largest == one.largest
    copy, y, _ = training_rows(other)
    np.testing.assert_array_equal(part(copy, None), part(one.X, None))
    np.testing.assert_array_equal(y, one.y)


def test_a_second_file_and_folds(tmp_path):
    paths = [written(tmp_path / f"{name}.svm", (SPARSE[rows], Y[rows]))["path"] for name, rows in HALVES.items()]
    found = []
    for source in ("memory", "map"):
        train, held = (load(Source(path=path, source=source, zero_based=True)) for path in paths)
        data = prepare(train, targets="binary", validation=held, standardize=True)
        folds = prepare_folds(train, given_folds([(np.arange(20), np.arange(20, 50))], 50, 1), targets="binary")
        found.append([data.fingerprint, part(data.X_validation, None).tobytes(), folds[0].fingerprint])
    assert found[0] == found[1]


HALVES = {"train": slice(0, 50), "held": slice(50, N)}


def test_moments_are_computed_once(tmp_path, monkeypatch):
    written(tmp_path / "a.npz", {"X": X, "y": Y})
    how = {"targets": "binary", "standardize": True, "validation": 0.2}
    first = prepare(mapped(tmp_path / "a.npz"), **how)
    monkeypatch.setattr(columns, "row_blocks", None)
    again = prepare(mapped(tmp_path / "a.npz"), **how)
    np.testing.assert_array_equal(again.scaling.mean, first.scaling.mean)
    np.testing.assert_array_equal(again.scaling.deviation, first.scaling.deviation)
    assert again.largest_feature == first.largest_feature
    with pytest.raises(TypeError):
        prepare(mapped(tmp_path / "a.npz"), **how | {"split_seed": 1})


def test_what_would_be_a_copy_is_refused(tmp_path):
    written(tmp_path / "a.svm", (SPARSE, Y))
    with pytest.raises(InputError, match=r"layout = 'dense' would make a copy of sparse rows that stay in files"):
        prepare(mapped(tmp_path / "a.svm"), targets="binary", layout="dense")
    train = written(tmp_path / "a.csv", PLAIN)["path"], written(tmp_path / "b.csv", PLAIN[list("yedcba")])["path"]
    one, other = (load(Source(path=path, target="y", source="map")) for path in train)
    with pytest.raises(InputError, match=r"b\.csv: its columns stand in another order"):
        prepare(one, targets="binary", validation=other)
    tiny = np.where(SPARSE[3, 8] == SPARSE, 1e-60, SPARSE)
    written(tmp_path / "tiny.svm", (tiny, Y))
    with pytest.raises(InputError, match=r"features are too small for dtype = 'float32'"):
        prepare(mapped(tmp_path / "tiny.svm"), targets="binary", dtype="float32")
    written(tmp_path / "large.npz", {"X": X * 1e300, "y": Y})
    with pytest.raises(InputError, match=r"features are too large for dtype = 'float32'"):
        prepare(mapped(tmp_path / "large.npz"), targets="binary", dtype="float32")


def test_all_rows_are_not_taken_into_a_memory_that_does_not_hold_them(tmp_path):
    written(tmp_path / "a.npz", {"X": X, "y": Y})
    data = prepare(mapped(tmp_path / "a.npz"), targets="binary", standardize=True)
    with (
        memory_budget(5_000),
        pytest.raises(InputError, match=r"a\.npz: its 101 training rows, which have to be in mem"),
    ):
        training_rows(data)


def test_entries_of_folds_that_are_too_small_are_none():
    tiny = from_dense(np.where(SPARSE[3, 8] == SPARSE, 1e-60, SPARSE))
    fold = given_folds([(np.arange(50), np.arange(50, N))], N, 1)
    (data,) = prepare_folds(from_arrays(tiny, Y), fold, targets="binary", dtype="float32")
    assert isinstance(data.X, StagedRows)
    assert data.X.source.nnz == tiny.nnz - (SPARSE[3, 8] == SPARSE).sum()


# --- studies ----------------------------------------------------------------------------------------------------------


def problem_of(tmp_path, source, kind="npz", **changes):
    path, weights = tmp_path / f"a.{kind}", np.arange(N) + 1.0
    if not path.exists():
        written(
            path, {"X": 3 * X + 2, "y": Y, "w": weights} if kind == "npz" else vectors(3 * X + 2, w=weights), rows=N
        )
    how = {"standardize": True, "validation": 0.2, "weights": "w", "loss": "logistic", "intercept": True}
    target = {} if kind == "npz" else {"target": "y"}
    return {**how, **target, "path": str(path), "source": source, **changes}


@pytest.mark.parametrize("kind", ["npz", "arrow"])
def test_a_study_that_is_begun_in_memory_is_extended_from_a_mapped_file(kind, tmp_path):
    rates = np.geomspace(1e-3, 1.0, 12).tolist()
    changes = {"record": {"metrics": ["loss", "accuracy"]}, "dtype": "float32"}
    some, all_of_them = ({"name": "sgd", "lr": rates[:count]} for count in (9, 12))
    run(tmp_path / "both", problem=problem_of(tmp_path, "memory", kind), optimizer=some, **changes)
    found = run(tmp_path / "both", problem=problem_of(tmp_path, "map", kind), optimizer=all_of_them, **changes)
    whole = run(tmp_path / "whole", problem=problem_of(tmp_path, "memory", kind), optimizer=all_of_them, **changes)
    assert found.trials["cohort_id"].nunique() == 2
    assert_same(found, whole)


def test_rows_that_memory_does_not_hold_stay_in_files(tmp_path, monkeypatch):
    study = study_of(problem=problem_of(tmp_path, "auto"))
    (data,) = load_data(study, None, lambda _: None)
    assert data.origin == "memory"
    monkeypatch.setattr(sys.modules["fastgd.datasets.load"], "room_for_rows", lambda: 1_000)
    (data,) = load_data(study, None, lambda _: None)
    assert data.origin == "stream"
    assert [note for note in data.notes if "its rows stay in files" in note]


def test_rows_that_memory_does_not_hold_twice_are_mapped(tmp_path, monkeypatch):
    study = study_of(problem=problem_of(tmp_path, "auto"))
    monkeypatch.setattr(sys.modules["fastgd.datasets.load"], "holds_copies", lambda size: size < 101 * 5 * 8)
    (data,) = load_data(study, None, lambda _: None)
    assert data.origin == "map"
    (note,) = [note for note in data.notes if "its rows stay in files" in note]
    assert 'source = "map"' in note


def test_arrays_that_are_mapped_need_no_copies(tmp_path):
    np.save(tmp_path / "X.npy", X)
    study = study_of(problem={"loss": "logistic", "source": "map", "standardize": True, "validation": 0.2})
    (data,) = load_data(study, (np.load(tmp_path / "X.npy", mmap_mode="r"), Y), lambda _: None)
    assert isinstance(data.X.source.base, np.memmap)
    (copy,) = load_data(study_of(problem={"loss": "logistic", "standardize": True, "validation": 0.2}), (X, Y), print)
    assert data.fingerprint == copy.fingerprint


def test_where_rows_are_is_a_matter_of_files():
    with pytest.raises(
        InputError, match=r"problem\.source is for rows in files; those of 'dataset' are made in memory"
    ):
        study_of(problem={"loss": "logistic", "dataset": "iris", "source": "stream"})
    with pytest.raises(InputError, match=r"problem\.source must be 'auto', 'memory', 'map' or 'stream'"):
        study_of(problem={"loss": "logistic", "path": "a.csv", "target": "y", "source": "disk"})


@pytest.mark.parametrize("source", ["map", "stream"])
def test_objects_of_a_store_are_read_into_the_cache(source):
    fsspec = pytest.importorskip("fsspec")
    random = np.random.default_rng(0)
    X, y, content = random.normal(size=(50, 3)), random.integers(0, 2, 50).astype(float), io.BytesIO()
    np.savez(content, X=X, y=y)
    fsspec.filesystem("memory").pipe("/bucket/rows.npz", content.getvalue())
    found = load(Source(path="memory://bucket/rows.npz", source=source))
    np.testing.assert_array_equal(found.X, X)
    assert found.fingerprint == load(Source(path="memory://bucket/rows.npz")).fingerprint


def test_names_of_folders_belong_to_what_is_read(tmp_path):
    """The same file is another table where folders around it make columns, or make others."""
    folder = tmp_path / "data" / "fold=1"
    folder.mkdir(parents=True)
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), columns=["a", "b", "y"])
    frame.to_parquet(folder / "p.parquet")
    other = tmp_path / "other" / "fold=7"
    other.mkdir(parents=True)
    (other / "p.parquet").symlink_to(folder / "p.parquet")
    for path in (folder.parent, folder, folder / "p.parquet", other.parent):
        of_path = {"path": str(path), "target": "y", "format": "parquet"}
        mapped, expected = (load(Source(**of_path, source=source)) for source in ("stream", "memory"))
        assert (mapped.features, mapped.fingerprint) == (expected.features, expected.fingerprint), path
        np.testing.assert_array_equal(mapped.X, expected.X)


def test_a_file_in_the_place_of_another_is_read_anew(tmp_path):
    """As `cp -p` puts it there: of the same size, with the time of the file before."""
    path, random = tmp_path / "rows.npz", np.random.default_rng(0)
    for _ in range(2):
        before = path.stat() if path.exists() else None
        X, y = random.normal(size=(30, 2)), random.integers(0, 2, 30).astype(float)
        np.savez(tmp_path / "new.npz", X=X, y=y)
        (tmp_path / "new.npz").replace(path)
        if before:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        found = load(Source(path=str(path), source="map"))
        np.testing.assert_array_equal(found.X, X)
        np.testing.assert_array_equal(found.y, y)
