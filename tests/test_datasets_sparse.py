"""Sparse data from arrays to what the engine sees: canonical CSR, equal to the same data made dense."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_tables import FORMATS, TABLES, is_canonical, random_table

from fastgd.common.errors import InputError
from fastgd.datasets import from_arrays, prepare
from fastgd.datasets.record import Numbered

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


@pytest.mark.parametrize("form", [sp.coo_array, sp.csr_array, sp.csc_array])
def test_duplicates_of_small_integers_do_not_wrap_around(form):
    places = ([0, 0], [0, 0]) if form is sp.coo_array else ([0, 0], [0, 2])
    values = np.array([100, 100], np.int8)
    X = form((values, places) if form is sp.coo_array else (values, *places), shape=(1, 1))
    assert from_arrays(X, [0]).X.toarray() == 200


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
        r"arrays: 100,000 rows x 1,000,000,000 columns take 800 TB as dense float64, more than half of the "
        r'.* limit, [\d.]+ [GT]B: layout = "sparse" \(or "auto"\) keeps the 1 non-zeros alone$'
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
