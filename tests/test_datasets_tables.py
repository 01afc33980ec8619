"""Tables in memory: values as they stand, or one message that names the row, the column and what was found."""

import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgd.common.errors import InputError
from fastgd.datasets import from_arrays

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
Y = [0, 1, 0]


def refusal(X, y=(0, 1)):
    with pytest.raises(InputError) as caught:
        from_arrays(X, y)
    return str(caught.value)


# --- masks


def test_masked_values_are_refused_and_unmasked_arrays_taken():
    masked = np.ma.array(X, mask=[[0, 0], [0, 1], [0, 0]])
    message = "arrays: row 2, column 'x1': X is masked there; fastgd fills in no values"
    assert refusal(masked, Y) == message
    assert refusal(list(masked), Y) == message
    assert refusal(masked.astype(object), Y) == message
    assert refusal(X, np.ma.array(Y, mask=[0, 0, 1])) == "arrays: row 3: y is masked there; fastgd fills in no values"
    assert refusal(X, [0.0, np.ma.masked, 1.0]).startswith("arrays: row 2: y is masked there")
    plain = from_arrays(np.ma.array(X), np.ma.array(Y))
    assert plain.fingerprint == from_arrays(X, Y).fingerprint
    assert type(plain.X) is type(plain.y) is np.ndarray


# --- indexes


SHUFFLED = pd.DataFrame(X, index=[2, 0, 1], columns=["a", "b"])


@pytest.mark.parametrize(
    ("frame", "y", "differs"),
    [
        (SHUFFLED, pd.Series(Y), "row 1 is 2 in X and 0 in y"),  # a default index on one side alone
        (SHUFFLED.reset_index(drop=True), pd.Series(Y, index=[0, 2, 1]), "row 2 is 1 in X and 2 in y"),
        (SHUFFLED, pd.Series(Y, index=[2, 1, 0]), "row 2 is 0 in X and 1 in y"),
        (SHUFFLED, pd.DataFrame({"y": Y}), "row 1 is 2 in X and 0 in y"),
        (SHUFFLED, pd.Series(Y, index=list("abc")), "row 1 is 2 in X and 'a' in y"),
        (SHUFFLED, pd.Series(Y, index=[7, 8, 9]), "row 1 is 2 in X and 7 in y"),
    ],
)
def test_indexes_that_differ_are_refused(frame, y, differs):
    message = refusal(frame, y)
    assert message.startswith(f"arrays: the indexes of X and y differ: {differs}; y.loc[X.index] brings y into the")
    assert from_arrays(frame, y.to_numpy()).X.tolist() == X.tolist()
    with pytest.raises(InputError, match="X has 3 rows and y has 2"):
        from_arrays(frame, y[:2])


def test_indexes_that_are_the_same_and_those_without():
    same = pd.Series(Y, index=SHUFFLED.index)
    reference = from_arrays(X, Y).fingerprint
    for y in (same, Y, np.array(Y), pa.array(Y), same.to_numpy()):
        assert from_arrays(SHUFFLED, y).fingerprint == reference
    assert from_arrays(X, same).fingerprint == reference
    assert from_arrays(SHUFFLED, same.rename_axis("id")).fingerprint == reference
    turned = pd.Series(Y).loc[SHUFFLED.index]
    assert from_arrays(SHUFFLED, turned).y.tolist() == [0, 0, 1]


# --- objects, decimals, what is missing


def test_objects_that_are_numbers_are_numbers():
    objects = np.array([[1, Decimal("2.5")], [True, np.float32(0.5)], [np.int8(3), Fraction(1, 4)]], dtype=object)
    numbers = [[1, 2.5], [1, 0.5], [3, 0.25]]
    assert from_arrays(objects, Y).X.tolist() == numbers
    assert from_arrays(pd.DataFrame(objects), Y).X.tolist() == numbers
    assert from_arrays(objects.tolist(), Y).X.tolist() == numbers
    assert from_arrays(X, objects[:, 1]).y.tolist() == [2.5, 0.5, 0.25]
    decimals = pd.array([Decimal("1.5"), Decimal("-2")], dtype=pd.ArrowDtype(pa.decimal128(5, 2)))
    assert from_arrays(pd.DataFrame({"a": decimals}), [0, 1]).X.tolist() == [[1.5], [-2]]


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30), min_size=1))
def test_decimals_become_the_nearest_float(values):
    column = np.array(values, dtype=object)
    floats = [float(value) for value in values]
    assert from_arrays(column[:, None], np.zeros(len(column))).X[:, 0].tolist() == floats
    small = [max(-(2**53), min(value, 2**53)) for value in column]  # whole numbers beyond are refused as targets
    assert from_arrays(column[:, None], small).y.tolist() == [max(-(2.0**53), min(x, 2.0**53)) for x in floats]


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pd.array([1, None], dtype="Int64"), "row 2, column 'a': found nan; every feature must be a finite number"),
        (pd.array([True, None], dtype="boolean"), "row 2, column 'a': found nan"),
        (pd.array([1.5, None], dtype="Float32"), "row 2, column 'a': found nan"),
        (pd.array([1, None], dtype=pd.ArrowDtype(pa.int64())), "row 2, column 'a': found nan"),
        ([True, None], "column 'a' is not numeric: row 2 holds None"),
        (np.array([1, pd.NA], dtype=object), "column 'a' is not numeric: row 2 holds <NA>"),
        (np.array([Decimal(1), None], dtype=object), "column 'a' is not numeric: row 2 holds None"),
        (np.array([1, "2"], dtype=object), "column 'a' is not numeric: row 2 holds '2'"),
        (np.array(["2", "x"], dtype=object), "column 'a' is not numeric: row 2 holds 'x'"),
        (np.array([1, 2j], dtype=object), "column 'a' is not numeric: row 2 holds 2j"),
        (np.array([1, 10**400], dtype=object), f"column 'a' is not numeric: row 2 holds {'1' + '0' * 56}...; drop"),
        (pd.Categorical([1, 2]), "column 'a' is categorical, and not numeric: row 1 holds 1"),
        (pd.to_timedelta([1, 2]), "column 'a' is not numeric: row 1 holds Timedelta("),
    ],
)
def test_columns_that_will_not_do(column, found):
    assert refusal(pd.DataFrame({"a": column})).startswith(f"arrays: {found}")


@pytest.mark.parametrize(
    ("X", "found"),
    [
        ([[1, None], [2, 3]], "column 'x1' is not numeric: row 1 holds None"),
        (np.array([[1, "2"], [2, 3]], dtype=object), "column 'x1' is not numeric: row 1 holds '2'"),
        ([[1, 2], [1]], "X is no array: "),
        ([np.ma.masked_array([1, 2], [0, 1]), [1]], "X is no array: "),
        ([[Fraction(10**400), 1], [2, 3]], "column 'x0' is not numeric: row 1 holds Fraction(1000"),
        (ds.dataset(pa.table({"x": [1, 2]})), r"X must have rows and columns, (n, d); found shape ()"),
        (None, r"X must have rows and columns, (n, d); found shape ()"),
    ],
)
def test_lists_that_will_not_do(X, found):
    with pytest.raises(InputError) as caught:
        from_arrays(X, [0, 1])
    assert str(caught.value).startswith(f"arrays: {found}")


@pytest.mark.parametrize(
    ("y", "found"),
    [
        (pd.Series([1, None], dtype="Int64"), "row 2 has no target: found nan"),
        (pd.Series([True, None], dtype="boolean"), "row 2 has no target: found <NA>"),
        ([True, None], "row 2 has no target: found None"),
        (pa.chunked_array([[True], [None]]), "row 2 has no target: found None"),
        (["a", 1], "y must hold numbers or labels; found object: row 2 holds 1, and row 1 'a'"),
        ([1, "a"], "y must hold numbers or labels; found object: row 2 holds 'a', and row 1 1"),
        ([1j, 2], "y must hold numbers or labels; found object: row 1 holds 1j"),
        ([[1], [2, 3]], "y must hold numbers or labels; found object: row 1 holds [1]"),
        ([b"\xff", b"a"], r"the label b'\xff' is no text in UTF-8"),
        ([0, 2**53 + 1], "row 2: the target is 9007199254740993; whole numbers are exact up to 2**53 alone"),
        ([0.5, np.int64(2**53 + 1)], "row 2: the target is 9007199254740993; whole numbers are exact up to 2**53"),
        ([Decimal(2**53 + 1), 1], "row 1: the target is 9007199254740993; whole numbers are exact"),
        ([Fraction(10**400), 1], "y must hold numbers or labels; found object: row 1 holds Fraction(1000"),
        (np.array(["a", None], np.dtypes.StringDType(na_object=None)), "row 2 has no target: found None"),
        (np.array([0, -(2**60)]), "row 2: the target is -1152921504606846976; whole numbers are exact"),
        (pd.date_range("2020", periods=2), "y must hold numbers or labels; found datetime64"),
    ],
)
def test_targets_that_will_not_do(y, found):
    with pytest.raises(InputError) as caught:
        from_arrays(X[:2], y)
    assert str(caught.value).startswith(f"arrays: {found}")


@pytest.mark.parametrize(
    "y",
    [
        [b"no", b"yes", b"no"],
        np.array([b"no", b"yes", b"no"]),
        np.array(["no", "yes", "no"], dtype=np.dtypes.StringDType()),
        pd.Series(["no", "yes", "no"], dtype="category"),
        pa.chunked_array([["no"], ["yes", "no"]]),
        pa.array(["no", "yes", "no"]).dictionary_encode(),
    ],
)
def test_labels_are_texts(y):
    assert from_arrays(X, y).fingerprint == from_arrays(X, np.array(["no", "yes", "no"])).fingerprint


# --- other libraries


class Shared:
    """A table that shows one protocol alone."""

    def __init__(self, protocol, share):
        setattr(type(self), protocol, lambda self, *args, **keys: share(*args, **keys))


def shared(protocol, share):
    return type("Table", (Shared,), {})(protocol, share)


FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})


def interchange(frame):
    def share(*args, **keys):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return frame.__dataframe__(*args, **keys)

    return shared("__dataframe__", share)


def test_tables_of_arrow_and_of_every_protocol():
    table = pa.Table.from_pandas(FRAME)
    reference = from_arrays(FRAME, Y)
    for given_X in (
        table,
        table.to_batches()[0],
        interchange(FRAME),
        shared("__arrow_c_stream__", table.__arrow_c_stream__),
    ):
        for given_y in (pa.chunked_array([[0, 1], [0]]), pa.array(Y), pa.table({"y": Y})):
            dataset = from_arrays(given_X, given_y)
            assert dataset.fingerprint == reference.fingerprint
            assert dataset.features == ("a", "b")
    column = shared("__arrow_c_stream__", pa.chunked_array([Y]).__arrow_c_stream__)
    array = shared("__array__", lambda dtype=None, copy=None: np.array(FRAME, dtype=dtype))
    assert from_arrays(array, column).fingerprint == reference.fingerprint


def test_arrow_tables_that_will_not_do():
    assert refusal(pa.table({"a": [1, None]})).startswith("arrays: row 2, column 'a': found nan")
    assert refusal(pa.table({"a": [True, None]})).startswith("arrays: column 'a' is not numeric: row 2 holds None")
    assert refusal(pa.table([pa.array([1, 2])] * 2, names=["a", "a"])).startswith("arrays: there are 2 columns 'a'")
    assert refusal(pa.table({"a": ["x", "y"]})).startswith("arrays: column 'a' is not numeric: row 1 holds 'x'")
    assert from_arrays(pa.table({"a": [Decimal("1.5"), Decimal(2)]}), [0, 1]).X.tolist() == [[1.5], [2]]


def test_the_index_that_pandas_stored_in_a_table_is_no_feature():
    for name in ("id", None):
        table = pa.Table.from_pandas(FRAME.set_axis(pd.Index([7, 8, 9], name=name)))
        assert from_arrays(table, Y).features == ("a", "b")


def test_polars():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
    reference = from_arrays(FRAME, ["no", "yes", "no"])
    for given_X in (frame, frame.lazy()):
        for kind in (pl.String, pl.Categorical):
            dataset = from_arrays(given_X, pl.Series(["no", "yes", "no"], dtype=kind))
            assert dataset.fingerprint == reference.fingerprint
            assert dataset.features == ("a", "b")
    assert from_arrays(frame.cast(pl.Float32), Y).X.dtype == np.float32
    decimals = pl.DataFrame({"a": [Decimal("1.5"), Decimal(2)]})
    assert from_arrays(decimals, [0, 1]).X.tolist() == [[1.5], [2]]
    assert refusal(pl.DataFrame({"a": [1, None]})).startswith("arrays: row 2, column 'a': found nan")
    assert refusal(pl.DataFrame({"a": [True, None]})).startswith("arrays: column 'a' is not numeric: row 2 holds None")
    assert refusal(pl.DataFrame({"a": ["1", "x"]})).startswith("arrays: column 'a' is not numeric: row 2 holds 'x'")
    assert refusal(X[:2], pl.Series([True, None])).startswith("arrays: row 2 has no target: found None")


@pytest.mark.parametrize("data", [FRAME, X, (X, Y, Y, Y), [X]])
def test_data_are_a_pair(data):
    from fastgd.runs.data.loading import load_data
    from fastgd.study.config import Study

    study = Study(name="s", epochs=1, problem={"loss": "squared"}, optimizer={"name": "sgd", "lr": 0.1})
    with pytest.raises(InputError, match=r"^data must be \(X, y\), or \(X, y, weights\); found "):
        load_data(study, data, print)
