"""Sparse data from their sources to what the engine sees: canonical CSR, equal to the same data made dense."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastgd._errors import InputError
from fastgd.datasets import DATASETS, Source, Synthetic, from_arrays, load, prepare
from fastgd.datasets._record import Numbered
from fastgd.study import config

RNG = np.random.default_rng(0)
FORMATS = ("csr", "csc", "coo", "lil", "dok", "dia", "bsr")
TABLES = arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 7)),
    elements=st.sampled_from([0.0, 0.0, 0.0, -0.0, 1.0, -2.5, 1e-3, 3e4]),
)


def is_canonical(X, dtype=None):
    assert isinstance(X, sp.csr_array)
    assert (X.indices.dtype, X.indptr.dtype) == (np.int32, np.int64)
    assert X.dtype in ((np.float32, np.float64) if dtype is None else (dtype,))
    assert len(X.data) == len(X.indices) == X.indptr[-1]
    assert X.indptr[0] == 0
    for array in (X.data, X.indices, X.indptr):
        assert array.flags.c_contiguous
        assert array.flags.aligned
        assert array.flags.writeable
    fresh = sp.csr_array((X.data, X.indices, X.indptr), shape=X.shape)  # knows no flags
    fresh.check_format(full_check=True)
    return fresh.has_canonical_format and (X.data != 0).all()


def random_table(n=60, d=8, density=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(2, 1, size=(n, d)) * (rng.random((n, d)) < density)


# --- what is accepted


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=10, deadline=None)
@given(table=TABLES)
def test_every_format_becomes_the_same_matrix(form, kind, table):
    X = getattr(sp, f"{form}_{kind}")(table)
    dataset = from_arrays(X, np.zeros(len(table)))
    assert is_canonical(dataset.X, np.float64)
    np.testing.assert_array_equal(dataset.X.toarray(), table)
    assert dataset.sparse
    assert dataset.fingerprint == from_arrays(sp.csr_array(table), np.zeros(len(table))).fingerprint


@given(
    entries=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.sampled_from([0.0, 1.0, -1.0, 2.5]))),
    index=st.sampled_from([np.int32, np.int64]),
    dtype=st.sampled_from([np.float64, np.float32, np.int64]),
)
@settings(max_examples=100, deadline=None)
def test_duplicates_zeros_and_disorder_are_gone_and_the_callers_matrix_stays(entries, index, dtype):
    rows, columns, values = (np.array([entry[k] for entry in entries]) for k in range(3))
    order = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows.astype(int), minlength=5))]).astype(index)
    X = sp.csr_array((values[order].astype(dtype), columns[order].astype(index), indptr), shape=(5, 7))
    before = [array.copy() for array in (X.data, X.indices, X.indptr)]
    stored = X.data, X.indices, X.indptr
    dataset = from_arrays(X, np.zeros(5))
    assert is_canonical(dataset.X, np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_array_equal(dataset.X.toarray(), X.toarray())
    for array, (now, then) in zip((X.data, X.indices, X.indptr), zip(stored, before, strict=True), strict=True):
        assert array is now
        np.testing.assert_array_equal(array, then)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_canonical_matrix_is_not_copied(dtype):
    X = sp.csr_array(random_table().astype(dtype))
    dataset = from_arrays(X, np.zeros(60))
    assert np.shares_memory(dataset.X.data, X.data)
    assert np.shares_memory(dataset.X.indices, X.indices)
    data = prepare(dataset, targets="real", dtype=np.dtype(dtype).name)
    assert data.X is dataset.X
    assert data.sparse
    assert data.nonzeros == X.nnz


def test_empty_rows_and_columns():
    X = sp.csr_array(([1.0, 2.0], [3, 1], [0, 0, 1, 1, 2, 2]), shape=(5, 5))
    dataset = from_arrays(X, np.zeros(5))
    np.testing.assert_array_equal(dataset.X.toarray(), X.toarray())
    assert is_canonical(from_arrays(sp.csr_array((4, 3)), np.zeros(4)).X)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.longdouble])
def test_other_numbers_become_float64(dtype):
    table = (random_table() > 2).astype(dtype)
    np.testing.assert_array_equal(from_arrays(sp.csr_array(table), np.zeros(60)).X.toarray(), table)


def test_the_fingerprint_is_of_the_canonical_content():
    table, y = random_table(), np.zeros(60)
    X = sp.csr_array(table)
    reference = from_arrays(X, y).fingerprint
    messy = sp.csr_array(
        (np.repeat(X.data / 2, 2), np.repeat(X.indices, 2).astype(np.int64), X.indptr.astype(np.int64) * 2),
        shape=X.shape,
    )
    assert from_arrays(messy, y).fingerprint == reference
    others = [
        from_arrays(table, y),
        from_arrays(sp.csr_array(table, shape=X.shape).astype(np.float32), y),
        from_arrays(X, y + 1),
        from_arrays(sp.csr_array((X.data, X.indices, X.indptr), shape=(60, 9)), y),
        from_arrays(sp.csr_array((X.data, (X.indices + 1) % 8, X.indptr), shape=X.shape), y),
    ]
    prints = {dataset.fingerprint for dataset in others}
    assert len(prints) == len(others)
    assert reference not in prints


# --- what is refused


def malformed(**arrays):
    """A matrix whose arrays were changed after scipy had looked at them."""
    X = sp.csr_array(np.eye(3))
    for name, array in arrays.items():
        setattr(X, name, array)
    return X


def out_of_place(form, name, value):
    X = getattr(sp, f"{form}_array")(np.eye(3))
    getattr(X, name)[1] = value
    return X


def coo_out_of_place(value):
    X = sp.coo_array(np.eye(3))
    X.coords = (X.coords[0], np.array([0, value, 2]))
    return X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (out_of_place("csr", "indices", -1), "the sparse matrix is malformed: indices must be >= 0"),
        (out_of_place("csr", "indices", 3), "the sparse matrix is malformed: indices must be < 3"),
        (out_of_place("csc", "indices", 2**30), "the sparse matrix is malformed: indices must be < 3"),
        (out_of_place("csr", "indptr", 5), "the sparse matrix is malformed: indptr must be a non-decreasing"),
        (malformed(indptr=np.array([0, 1, 2])), "the sparse matrix is malformed: index pointer size 3 should be 4"),
        (malformed(indptr=np.array([1, 1, 2, 3])), "the sparse matrix is malformed: index pointer should start with 0"),
        (malformed(indptr=np.array([0, 1, 2, 9])), "the sparse matrix is malformed: Last value of index pointer"),
        (malformed(data=np.ones(2)), "the sparse matrix is malformed: indices and data should have the same size"),
        (malformed(indices=np.array([0, 2**40, 1])), "the sparse matrix is malformed: indices must be < 3"),
        (coo_out_of_place(7), "the sparse matrix is malformed: .* 7 exceeds matrix dimension 3"),
        (coo_out_of_place(-7), "the sparse matrix is malformed: negative .* index: -7"),
        (sp.csr_array(([1.0], [2**31], [0, 1, 1, 1]), shape=(3, 2**31 + 1)), "X has 2,147,483,649 columns; .* at most"),
        (sp.csr_array((3, 0)), r"X must have rows and columns, \(n, d\); found shape \(3, 0\)"),
        (sp.coo_array(np.ones(3)), r"X must have rows and columns, \(n, d\); found shape \(3,\)"),
        (sp.csr_array(np.eye(3) * 1j), "X must hold real numbers; found complex128"),
        (sp.csr_array(np.eye(4)), "X has 4 rows and y has 3"),
        (sp.csr_array([[0, 1], [0, np.nan], [1, 0]]), "row 2, column 'x1': found nan; every feature must be a finite"),
        (sp.csr_array([[0, 1], [0, 0], [-np.inf, 0]]), "row 3, column 'x0': found -inf; every feature must be"),
    ],
)
def test_matrices_that_will_not_do(X, message):
    with pytest.raises(InputError, match=f"^arrays: {message}"):
        from_arrays(X, np.zeros(3))


def test_large_finite_values_are_finite():
    X = sp.csr_array(np.full((4, 2), 1e308))  # their sum is not
    np.testing.assert_array_equal(from_arrays(X, np.zeros(4)).X.toarray(), X.toarray())


def test_the_last_column_that_there_can_be():
    X = sp.csr_array(([1.0, 2.0], [0, 2**31 - 2], [0, 1, 2]), shape=(2, 2**31 - 1))
    dataset = from_arrays(X, [0, 1])
    assert is_canonical(dataset.X)
    assert dataset.features[2**31 - 2] == dataset.features[-1] == "x2147483646"


# --- names


def test_numbered_names_are_those_of_their_tuple():
    names, written = Numbered(4), ("x0", "x1", "x2", "x3")
    assert names == written
    assert written == names
    assert hash(names) == hash(written)
    assert names == Numbered(4) != Numbered(5)
    assert names != ("x0", "x1", "x2")
    assert names != ("x0", "x1", "x2", "y")
    assert names != list(written)
    assert (tuple(names), len(names), names[-1], names[1:3]) == (written, 4, "x3", ("x1", "x2"))
    assert "x3" in names
    assert "x4" not in names
    with pytest.raises(IndexError):
        names[4]


def test_arrays_and_sparse_matrices_have_numbered_names():
    wide = from_arrays(sp.csr_array((2, 5_000_000)), [0, 1])
    assert isinstance(wide.features, Numbered)
    assert isinstance(from_arrays(np.eye(2), [0, 1]).features, Numbered)
    assert prepare(wide, targets="binary").features is wide.features


# --- .svm files


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def read(path, **keys):
    return load(Source(path=str(path), **keys))


def refusal(path, **keys):
    with pytest.raises(InputError) as caught:
        read(path, **keys)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "zero_based", "row"),
    [
        ("1 1:5 3:6\n", "auto", [5, 0, 6]),
        ("1 1:5 3:6\n", False, [5, 0, 6]),
        ("1 1:5 3:6\n", True, [0, 5, 0, 6]),
        ("1 0:5 2:6\n", "auto", [5, 0, 6]),
        ("1 0:5 2:6\n", True, [5, 0, 6]),
        ("1 2:5 4:0\n", True, [0, 0, 5, 0, 0]),  # a zero that is written down makes a column, and no non-zero
    ],
)
def test_svm_files_count_from_0_or_1(tmp_path, text, zero_based, row):
    X = read(write(tmp_path / "a.svm", text), zero_based=zero_based).X
    assert is_canonical(X)
    assert X.toarray().tolist() == [row]
    wider = read(tmp_path / "a.svm", zero_based=zero_based, n_features=9).X
    assert wider.toarray().tolist() == [row + [0] * (9 - len(row))]
    assert is_canonical(wider)


def test_svm_keys_that_will_not_do(tmp_path):
    path = write(tmp_path / "a.svm", "1 1:5\n0 3:6\n1 2:1\n")
    assert read(path, n_features=3).X.shape == (3, 3)
    assert refusal(path, n_features=2) == ": there is a column x2; n_features = 2 ends at x1"
    assert refusal(path, n_features=3, zero_based=True) == ": there is a column x3; n_features = 3 ends at x2"
    write(path, "1 1:5\n0 0:6\n1 2:1\n")
    assert refusal(path, zero_based=False).startswith(", line 2: Invalid index 0")
    assert read(write(path, "1\n0\n"), n_features=4).X.shape == (2, 4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(path="a.csv", zero_based=True), "a.csv: zero_based is for .svm and .libsvm files"),
        (Source(path="a.parquet", zero_based=False), "a.parquet: zero_based is for .svm and .libsvm files"),
        (Source(path="a.npz", n_features=3), "a.npz: n_features is for .svm and .libsvm and .parquet"),
        (Source(dataset="iris", n_features=3), "iris: n_features is for .svm and"),
        (Source(synthetic={"n": 3, "d": 2}, zero_based=True), "synthetic: zero_based is for .svm and .libsvm files"),
    ],
)
def test_keys_of_other_sources(source, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        load(source)


# --- Parquet of lists


def lists(indices, values, kind="list"):
    make = {"list": pa.list_, "large_list": pa.large_list}.get(kind, lambda item: pa.list_(item, 2))
    return {"indices": pa.array(indices, make(pa.int32())), "values": pa.array(values, make(pa.float64()))}


def parquet(path, columns, **keys):
    pq.write_table(pa.table(columns), path, **keys)
    return path


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed_size_list"])
def test_parquet_lists(tmp_path, kind):
    columns = lists([[3, 1], [0, 1], [2, 2]], [[5, 6], [7, 0], [8, 9]], kind)
    path = parquet(tmp_path / "a.parquet", {"y": ["no", "yes", "no"], **columns})
    dataset = read(path, target="y")
    assert is_canonical(dataset.X, np.float64)
    assert dataset.X.toarray().tolist() == [[0, 6, 0, 5], [7, 0, 0, 0], [0, 0, 17, 0]]
    assert dataset.y.tolist() == ["no", "yes", "no"]
    assert dataset.features == ("x0", "x1", "x2", "x3")
    assert read(path, target="y", n_features=6).X.shape == (3, 6)
    assert refusal(path, target="y", n_features=3) == ": there is a column x3; n_features = 3 ends at x2"


@settings(max_examples=25, deadline=None)
@given(table=TABLES, row_group=st.integers(1, 4))
def test_parquet_lists_of_any_table(tmp_path_factory, table, row_group):
    X = sp.csr_array(table)
    path = tmp_path_factory.mktemp("lists") / "a.parquet"
    columns = {
        "indices": [X.indices[a:b].tolist() for a, b in zip(X.indptr, X.indptr[1:], strict=False)],
        "values": [X.data[a:b].tolist() for a, b in zip(X.indptr, X.indptr[1:], strict=False)],
    }
    y = np.arange(len(table)) % 2.0
    parquet(path, {**lists(**columns), "y": y}, row_group_size=row_group)
    dataset = read(path, target="y", n_features=table.shape[1])
    np.testing.assert_array_equal(dataset.X.toarray(), table)
    assert dataset.fingerprint == from_arrays(X, y).fingerprint


def test_parquet_lists_from_pandas(tmp_path):
    frame = pd.DataFrame({"indices": [[0], [], [1, 2]], "values": [[1.0], [], [2.0, 3.0]], "y": [0, 1, 0]}, [5, 7, 9])
    frame.to_parquet(tmp_path / "a.parquet")  # its index is a column of the file
    assert read(tmp_path / "a.parquet", target="y").X.toarray().tolist() == [[1, 0, 0], [0, 0, 0], [0, 2, 3]]
    single = pa.array([[1.5], [], [2.5]], pa.list_(pa.float32()))
    parquet(tmp_path / "a.parquet", {"indices": [[0], [], [1]], "values": single, "y": [0, 1, 0]})
    assert is_canonical(read(tmp_path / "a.parquet", target="y").X, np.float32)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (lists([[0], [1, 2]], [[1.0], [2.0]]), ": row 2 has 2 indices and 1 values"),
        (lists([[0], [4, -3]], [[1], [2, 3]]), ": row 2, column 'indices': found -3; an index is at least 0"),
        (lists([[0], None], [[1], []]), ": row 2, column 'indices': there is no list"),
        (lists([[0], []], [None, []]), ": row 1, column 'values': there is no list"),
        (lists([[0], [1, None]], [[1], [2, 3]]), ": row 2, column 'indices': a value is missing"),
        (lists([[], [1, 0]], [[], [2, None]]), ": row 2, column 'values': a value is missing"),
        (lists([[], [1, 0]], [[], [2, np.nan]]), ": row 2, column 'x0': found nan; every feature must be a finite"),
        (lists([[2**31 - 1], []], [[1], []]), ": X has 2,147,483,648 columns; sparse data have at most 2,147,483,647"),
        (lists([[], []], [[], []]), ": X must have rows and columns, (n, d); found shape (2, 0)"),
        ({"indices": [[0.5], []], "values": [[1.0], []]}, ": column 'indices' must hold lists of integers; found list"),
        ({"indices": [[0], []], "values": [["a"], []]}, ": column 'values' must hold lists of numbers; found list"),
        ({"a": [[0], []], "values": [[1.0], []]}, ": the columns a, values hold lists; sparse rows are two columns"),
        ({"a": [1, 2], **lists([[0], []], [[1], []])}, ": a table of lists has no column 'a': its features are in the"),
    ],
)
def test_parquet_lists_that_will_not_do(tmp_path, columns, message):
    path = parquet(tmp_path / "a.parquet", {**columns, "y": [0, 1]})
    assert refusal(path, target="y").startswith(message)


def test_parquet_targets_beside_lists(tmp_path):
    path = parquet(tmp_path / "a.parquet", {**lists([[0], [1]], [[1], [1]]), "late": [0, 1]})
    assert refusal(path) == ": which column is the target? target = 'late', for example"
    assert refusal(path, target="lat").startswith(": there is no column 'lat'; did you mean 'late'")
    assert refusal(path, target="values").startswith(": there is no column 'values'")
    parquet(path, lists([[0], [1]], [[1], [1]]))
    assert refusal(path, target="late") == ": lists alone; there is no column for the target"
    parquet(path, {**lists([], []), "late": pa.array([], pa.int64())})
    assert refusal(path, target="late") == ": columns, but no rows"
    parquet(path, {"a": [1, 2], "late": [0, 1]})
    assert refusal(path, target="late", n_features=3).startswith(": n_features = 3 is for a table of lists")


# --- flights_sparse


def test_flights_sparse_is_the_flights_in_categories():
    flights, sparse = load(Source(dataset="flights")), load(Source(dataset="flights_sparse", target="late"))
    assert is_canonical(sparse.X, np.float64)
    assert sparse.X.shape == (327_346, DATASETS["flights_sparse"].columns)
    np.testing.assert_array_equal(sparse.y, flights.y)
    assert sparse.notes == flights.notes
    assert (sparse.X.data == 1).all()
    assert (np.diff(sparse.X.indptr) == 7).all()  # each arrival has a tail number
    # The columns of one category, in order, and what flights has of the same groups.
    names = np.array(sparse.features)
    category = np.array([name.partition("=")[0] for name in sparse.features])
    assert list(dict.fromkeys(category)) == ["month", "day", "hour", "carrier", "origin", "dest", "tailnum"]
    for name in ("month", "day", "hour"):
        numbers = [int(feature.partition("=")[2]) for feature in names[category == name]]
        assert numbers == sorted(numbers)
    for name in ("carrier", "origin", "dest", "tailnum"):
        assert names[category == name].tolist() == sorted(names[category == name])
    dense = dict(zip(flights.features, flights.X.T, strict=True))
    columns = sparse.X.tocsc()
    for name in ("carrier=WN", "origin=JFK", "dest=ATL"):
        found = columns[:, [sparse.features.index(name)]].toarray()[:, 0]
        np.testing.assert_array_equal(found, dense[name.replace("=", "_")])
    counts = np.diff(columns.indptr)
    assert counts.min() > 0
    assert dict(zip(sparse.features, counts, strict=True))["tailnum=N711MQ"] == 462


def test_flights_sparse_by_the_file():
    from importlib.resources import files

    frame = pd.read_parquet(files("fastgd") / "data" / "flights.parquet")
    rows = frame[frame.arr_delay.notna()].assign(hour=frame.sched_dep_time // 100)
    dataset = load(Source(dataset="flights_sparse"))
    counts = dict(zip(dataset.features, np.bincount(dataset.X.indices), strict=True))
    expected = {
        f"{name}={group}": count
        for name in ("month", "day", "hour", "carrier", "origin", "dest", "tailnum")
        for group, count in rows[name].value_counts().items()
        if count
    }
    assert counts == expected


# --- synthetic


def zipf(**keys):
    return load(Source(synthetic={"n": 2000, "d": 500, "nonzeros": 20, **keys}))


@pytest.mark.parametrize(
    ("d", "nonzeros"), [(500, 20), (20, 20), (21, 20), (79, 20), (80, 20), (5_000_000, 20), (1, 1), (7, 1)]
)
@pytest.mark.parametrize("exponent", [0.0, 1.0, 3.0])
def test_each_row_has_distinct_sorted_columns_and_length_1(d, nonzeros, exponent):
    dataset = zipf(n=500, d=d, nonzeros=nonzeros, exponent=exponent)
    assert dataset.X.shape == (500, d)
    assert is_canonical(dataset.X, np.float64)
    assert (np.diff(dataset.X.indptr) == nonzeros).all()
    columns = dataset.X.indices.reshape(500, nonzeros)
    assert (np.diff(columns, axis=1) > 0).all()
    values = dataset.X.data.reshape(500, nonzeros)
    assert (values > 0).all()
    np.testing.assert_allclose((values**2).sum(axis=1), 1, rtol=1e-13)
    assert dataset.features == Numbered(d)


def inclusion(d, nonzeros, exponent):
    """How probable it is that a row has each column, by all sequences of draws without replacement."""
    weights = np.arange(1.0, d + 1) ** -exponent

    def drawn(left, chosen, probability):
        if left == 0:
            found[list(chosen)] += probability
            return
        rest = weights.sum() - weights[list(chosen)].sum()
        for column in set(range(d)).difference(chosen):
            drawn(left - 1, (*chosen, column), probability * weights[column] / rest)

    found = np.zeros(d)
    drawn(nonzeros, (), 1.0)
    return found


@pytest.mark.parametrize(("d", "nonzeros"), [(6, 2), (13, 3), (13, 2), (9, 1), (12, 3)])  # both ways to draw
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_columns_follow_zipfs_law(d, nonzeros, exponent):
    n = 40_000
    X = zipf(n=n, d=d, nonzeros=nonzeros, exponent=exponent, seed=4).X
    expected = inclusion(d, nonzeros, exponent)
    found = np.bincount(X.indices, minlength=d) / n
    error = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(found - expected) < 5 * error + 1e-9).all()


def test_rare_columns_of_many_follow_zipfs_law():
    n, d = 20_000, 100_000
    X = zipf(n=n, d=d, nonzeros=2, exponent=1.0).X
    counts = np.bincount(X.indices, minlength=d)
    weights = 1 / np.arange(1.0, d + 1)
    weights /= weights.sum()
    decades = np.array([10, 100, 1000, 10_000])
    # Where a column is rare, being drawn second hardly changes its probability: 2 draws of 1 - p_0 and so on.
    expected = 2 * n * np.add.reduceat(weights, decades)
    expected *= 1 + (weights**2 / (1 - weights)).sum() / 2
    np.testing.assert_allclose(np.add.reduceat(counts, decades), expected, rtol=0.05)


def test_sparse_synthetic_is_decided_by_its_keys():
    assert zipf(seed=1).fingerprint == zipf(seed=1).fingerprint
    changes = ({}, {"seed": 1}, {"noise": 0.1}, {"exponent": 1.5}, {"nonzeros": 21}, {"d": 501}, {"n": 2001})
    assert len({zipf(**keys).fingerprint for keys in changes}) == len(changes)
    assert (zipf().X != zipf(noise=0.3).X).nnz == 0
    assert zipf().name == "synthetic(n=2000, d=500, nonzeros=20)"
    assert zipf(exponent=1.5).name == "synthetic(n=2000, d=500, nonzeros=20, exponent=1.5)"
    script = (
        "from fastgd.datasets import Source, load;"
        "print(load(Source(synthetic={'n': 2000, 'd': 500, 'nonzeros': 20})).fingerprint)"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert there == zipf().fingerprint


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_sparse_synthetic_targets_have_a_true_weight_vector(exponent):
    dataset = zipf(d=100, task="regression", exponent=exponent)
    _, residual, *_ = np.linalg.lstsq(dataset.X.toarray(), dataset.y, rcond=None)
    assert residual[0] < 1e-20
    assert dataset.y.var() == pytest.approx(1)
    assert dataset.y.mean() == pytest.approx(0, abs=1e-12)
    labels = zipf(d=100, exponent=exponent).y
    np.testing.assert_array_equal(labels, dataset.y > 0)
    assert labels.mean() == pytest.approx(0.5, abs=0.1)
    flipped = zipf(d=100, exponent=exponent, noise=0.2).y
    assert np.mean(flipped != labels) == pytest.approx(0.2, abs=0.03)
    noisy = zipf(d=100, task="regression", exponent=exponent, noise=0.5).y
    assert np.std(noisy - dataset.y) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"exponent": 1.0}, "synthetic: exponent is for sparse features; give nonzeros too$"),
        ({"nonzeros": 1, "condition": 1.0}, "synthetic: condition is for dense features; leave it out where there is"),
        ({"nonzeros": 3}, "synthetic: nonzeros is at most d = 2: a row's columns are distinct; found 3$"),
        ({"nonzeros": 0}, "synthetic.nonzeros: Input should be greater than 0; found 0$"),
        ({"nonzeros": 1, "exponent": -1.0}, "synthetic.exponent: .* found -1.0$"),
        ({"nonzeros": 1, "exponent": 11.0}, "synthetic.exponent: .* found 11.0$"),
        ({"nonzeros": 1, "d": 2**31}, "synthetic: d is at most 2,147,483,647 for sparse features; found 2147483648$"),
        (
            {"nonzeros": 10**5, "d": 10**9, "n": 10**9},
            "1,000,000,000 rows x 100,000 non-zeros of 1,000,000,000 columns take 1,200,032.0 GB as sparse float64",
        ),
    ],
)
def test_sparse_synthetic_that_will_not_do(keys, message):
    with pytest.raises(InputError, match=message):
        load(Source(synthetic={"n": 10, "d": 2, **keys}))


def test_the_keys_that_apply_are_written():
    sparse = Synthetic(n=3, d=2, nonzeros=1)
    assert sparse.model_dump() == {
        "n": 3,
        "d": 2,
        "nonzeros": 1,
        "exponent": 1.0,
        "noise": 0.0,
        "seed": 0,
        "task": "classification",
    }
    assert Synthetic.of(sparse.model_dump()) == sparse
    dense = Synthetic(n=3, d=2)
    assert Synthetic.of(dense.model_dump()) == dense
    assert {"nonzeros", "exponent"}.isdisjoint(dense.model_dump())


# --- prepare


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("validation", [0.0, 0.25, "second"])
@pytest.mark.parametrize("given_dtype", ["float64", "float32"])
def test_what_the_engine_sees(dtype, standardize, validation, given_dtype):
    table, y = random_table().astype(given_dtype), np.arange(60) % 2
    table[:, 1], table[:, 2] = 0, 3  # constant columns, of zeros and of others
    table[:, 3] = np.where(np.arange(60) < 30, 3, 4)  # no zeros, and not constant
    more, more_y = random_table(n=9, seed=1), np.arange(9) % 2
    keys = {"targets": "binary", "validation": validation, "dtype": dtype, "standardize": standardize}
    dense_keys = keys | {"standardize": False}
    if validation == "second":
        keys["validation"] = from_arrays(sp.csr_array(more), more_y)
        dense_keys["validation"] = from_arrays(more, more_y)
    data = prepare(from_arrays(sp.csr_array(table), y), **keys)
    dense = prepare(from_arrays(table, y), **dense_keys)
    train = prepare(from_arrays(table.astype(np.float64), y), **dense_keys | {"dtype": "float64"}).X
    scale = train.std(axis=0) if standardize else np.ones(8)
    constant = (train == train[0]).all(axis=0)
    scale[constant] = 1
    for found, expected in ((data.X, dense.X), (data.X_validation, dense.X_validation)):
        if expected is None:
            assert found is None
            continue
        assert is_canonical(found, np.dtype(dtype))
        np.testing.assert_allclose(found.toarray(), expected / scale, rtol=1e-12 if dtype == "float64" else 1e-6)
    np.testing.assert_array_equal(data.y, dense.y)
    np.testing.assert_array_equal(data.y_validation, dense.y_validation)
    assert data.notes == ((f"{constant.sum()} constant columns are not standardised",) if standardize else ())
    assert data.nonzeros == data.X.nnz


@given(table=TABLES, scale=st.sampled_from([1e-6, 1.0, 1e6]))
@settings(max_examples=100, deadline=None)
def test_the_scale_is_the_deviation_of_the_dense_columns(table, scale):
    table = table * scale
    data = prepare(from_arrays(sp.csr_array(table), np.zeros(len(table))), targets="real", standardize=True)
    constant = (table == table[0]).all(axis=0)
    deviation = np.where(constant, 1, table.std(axis=0))
    np.testing.assert_allclose(data.X.toarray(), table / deviation, rtol=1e-10)
    assert is_canonical(data.X)


@given(table=TABLES)
@settings(max_examples=50, deadline=None)
def test_layouts_of_either_source(table):
    y = np.zeros(len(table))
    dense, sparse = from_arrays(table, y), from_arrays(sp.csr_array(table), y)
    laid = {
        (source.sparse, layout): prepare(source, targets="real", layout=layout)
        for source in (dense, sparse)
        for layout in ("auto", "dense", "sparse")
    }
    for (source, layout), data in laid.items():
        assert data.sparse == (layout == "sparse" or (layout == "auto" and source))
        np.testing.assert_array_equal(data.X.toarray() if data.sparse else data.X, table)
        assert is_canonical(data.X) if data.sparse else data.nonzeros is None
    prints = {key: data.fingerprint for key, data in laid.items()}
    assert prints[False, "auto"] == prints[False, "dense"] != prints[False, "sparse"]
    assert prints[True, "auto"] == prints[True, "sparse"] != prints[True, "dense"]


def test_dense_rows_of_several_blocks_become_sparse():
    table = random_table(n=30_000, d=50, density=0.05)
    data = prepare(from_arrays(table, np.zeros(len(table))), targets="real", layout="sparse")
    np.testing.assert_array_equal(data.X.toarray(), table)
    assert is_canonical(data.X)


def test_what_is_too_large_as_dense_data():
    wide = from_arrays(sp.csr_array(([1.0], [5], [0, 1] + [1] * 99_999), shape=(100_000, 10**9)), np.zeros(10**5))
    message = (
        r"arrays: 100,000 rows x 1,000,000,000 columns take 800,000.0 GB as dense float64, more than half of this "
        r'machine\'s [\d,.]+ GB; layout = "sparse" \(or "auto"\) keeps the 1 non-zeros alone$'
    )
    with pytest.raises(InputError, match=message):
        prepare(wide, targets="real", layout="dense")
    assert prepare(wide, targets="real").nonzeros == 1


def test_values_that_do_not_fit_into_float32():
    small = from_arrays(sp.csr_array([[1e-300, 1.0], [0, 2.0]]), [0, 1])
    data = prepare(small, targets="binary", dtype="float32")
    assert is_canonical(data.X, np.float32)
    assert data.nonzeros == 2
    large = from_arrays(sp.csr_array([[1e300, 1.0], [0, 2.0]]), [0, 1])
    with pytest.raises(InputError, match="arrays: features are too large for dtype = 'float32'"):
        prepare(large, targets="binary", dtype="float32")


@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_columns_that_cannot_be_standardised(value):
    dataset = from_arrays(sp.csr_array([[1.0, value], [2.0, 0]]), np.zeros(2))
    with pytest.raises(InputError, match=r"^arrays: column 'x1' cannot be standardised: its deviation is (inf|0.0)$"):
        prepare(dataset, targets="real", standardize=True)


@pytest.mark.parametrize("layout", ["auto", "dense", "sparse"])
@pytest.mark.parametrize("sparse", ["training", "validation", "both"])
def test_validation_data_have_the_layout_of_the_training_data(layout, sparse):
    tables = {"training": random_table(), "validation": random_table(n=9, seed=1)}
    sets = {
        name: from_arrays(sp.csr_array(table) if sparse in (name, "both") else table, np.zeros(len(table)))
        for name, table in tables.items()
    }
    data = prepare(sets["training"], targets="real", validation=sets["validation"], layout=layout)
    assert sp.issparse(data.X_validation) == data.sparse
    found = data.X_validation.toarray() if data.sparse else data.X_validation
    np.testing.assert_array_equal(found, tables["validation"])
    if data.sparse:
        assert is_canonical(data.X_validation)


def test_validation_files_end_earlier_or_are_turned(tmp_path):
    training = read(write(tmp_path / "train.svm", "1 1:1 2:2 5:3\n0 3:4\n"))
    shorter = read(write(tmp_path / "test.svm", "1 1:5 2:6\n"))
    data = prepare(training, targets="binary", validation=shorter)
    assert data.X_validation.toarray().tolist() == [[5, 6, 0, 0, 0]]
    assert is_canonical(data.X_validation)
    with pytest.raises(InputError, match=r"^train.svm: .* the 2 columns of test.svm: it has 5 and has 'x2' too many"):
        prepare(shorter, targets="binary", validation=training)
    # The columns of a table are matched by name.
    table = from_arrays(pd.DataFrame({"x1": [1.0], "x0": [2.0], "x2": [0.0]}), [1])
    turned = prepare(table, targets="binary", validation=shorter, layout="sparse").X_validation
    assert turned.toarray().tolist() == [[6, 5, 0]]
    assert is_canonical(turned)


# --- the study's keys


def study(**problem):
    return config.Study(
        name="s", epochs=1, problem={"loss": "logistic", **problem}, optimizer={"name": "sgd", "lr": 0.1}
    )


def test_a_study_has_the_keys_of_its_files():
    problem = study(path="a.svm", zero_based=True, n_features=10).problem[0]
    assert (problem.zero_based, problem.n_features) == (True, 10)
    assert (study(path="a.svm").problem[0].zero_based, study(path="a.svm").problem[0].n_features) == ("auto", None)
    assert study(path="a.parquet", n_features=10).problem[0].n_features == 10
    for written in (study(path="a.LIBSVM", zero_based=False, n_features=3), study(synthetic={"n": 9, "d": 3})):
        text = written.to_toml()
        assert "exponent" not in text
    sparse = study(synthetic={"n": 9, "d": 3, "nonzeros": 2})
    assert sparse.problem[0].synthetic["exponent"] == 1.0
    assert "condition" not in sparse.to_toml()


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"path": "a.svm", "zero_based": "yes"}, "problem.zero_based must be true or false or 'auto', found 'yes'"),
        ({"path": "a.svm", "zero_based": 1}, "problem.zero_based must be true or false or 'auto', found 1"),
        ({"path": "a.svm", "n_features": 0}, "problem.n_features must be at least 1, found 0"),
        ({"path": "a.svm", "n_features": 2**31}, "problem.n_features must be at most 2147483647, found 2147483648"),
        ({"path": "a.csv", "zero_based": True}, "problem.zero_based is for .svm and .libsvm files, found true"),
        ({"zero_based": False}, "problem.zero_based is for .svm and .libsvm files, found false"),
        ({"dataset": "iris", "n_features": 3}, "problem.n_features is for .svm and .libsvm and .parquet (of lists) fi"),
        ({"synthetic": {"n": 9, "d": 3, "exponent": 1.0}}, "problem.synthetic: exponent is for sparse features"),
    ],
)
def test_keys_that_a_study_refuses(problem, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        study(**problem)


def test_a_study_loads_its_sparse_files(tmp_path):
    from fastgd.study.runner import load_data

    train = write(tmp_path / "train.svm", "1 1:1 2:2\n-1 3:4\n")
    test = write(tmp_path / "test.svm", "1 1:7\n")
    keys = {"path": str(train), "zero_based": True, "n_features": 6, "validation": str(test)}
    events = []
    (data,) = load_data(study(**keys), None, events.append)
    assert data.X.toarray().tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 4, 0, 0]]
    assert data.X_validation.toarray().tolist() == [[0, 7, 0, 0, 0, 0]]
    (data,) = load_data(study(layout="dense", **keys), None, events.append)
    assert data.X.tolist() == [[0, 1, 2, 0, 0, 0], [0, 0, 0, 4, 0, 0]]
    (data,) = load_data(study(layout="sparse"), (np.eye(2), [0, 1]), events.append)
    assert data.X.toarray().tolist() == np.eye(2).tolist()


def test_dense_data_do_not_import_scipy_and_no_data_numba():
    script = (
        "import sys, numpy as np; from fastgd.datasets import Source, from_arrays, load, prepare;"
        "prepare(from_arrays(np.eye(2), [0.0, 1.0]), targets='binary', standardize=True);"
        "assert 'scipy.sparse' not in sys.modules;"
        "prepare(load(Source(synthetic={'n': 9, 'd': 3, 'nonzeros': 2})), targets='binary', validation=0.5);"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
