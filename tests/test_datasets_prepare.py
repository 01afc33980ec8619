"""From a dataset to what the engine sees: split, standardisation, targets, dtype, fingerprint."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fastgd.common.errors import InputError
from fastgd.datasets import Source, from_arrays, load, prepare
from fastgd.datasets.prepare import held_out

RNG = np.random.default_rng(0)


def rows(n=40, d=3, **keys):
    """Rows that tell which they are: the first column counts them."""
    X = np.column_stack([np.arange(n), RNG.normal(size=(n, d - 1))])
    return from_arrays(X, np.arange(n) % 2, **keys)


@given(n=st.integers(2, 5000), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**63))
@settings(max_examples=50, deadline=None)
def test_a_split_is_a_partition_that_the_seed_decides(n, fraction, seed):
    count = round(n * fraction)
    if not 0 < count < n:
        with pytest.raises(InputError, match=f"holds out {count} of {n} rows; both parts must have some"):
            held_out(n, fraction, seed)
        return
    data = prepare(rows(n, d=1), targets="binary", validation=fraction, split_seed=seed)
    train, held = data.X[:, 0], data.X_validation[:, 0]
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(n))
    assert len(held) == count
    assert (np.diff(train) > 0).all()  # the rows keep their order
    np.testing.assert_array_equal(data.y, train % 2)
    np.testing.assert_array_equal(data.y_validation, held % 2)
    np.testing.assert_array_equal(held_out(n, fraction, seed), held)
    if round(n * fraction / 2) > 0:
        assert set(held_out(n, fraction / 2, seed)) <= set(held)


def test_a_split_stays_what_it_is():
    """Stored results name their split by its seed alone, so that these numbers may never change."""
    assert held_out(20, 0.25, 0).tolist() == [2, 3, 11, 13, 15]
    assert held_out(20, 0.25, 1).tolist() == [2, 9, 16, 18, 19]


def test_a_split_depends_on_nothing_but_rows_and_seed():
    first = prepare(rows(), targets="binary", validation=0.25, split_seed=5)
    second = prepare(rows(d=1, name="other"), targets="real", validation=0.25, split_seed=5, standardize=False)
    np.testing.assert_array_equal(first.X_validation[:, 0], second.X_validation[:, 0])
    other_seed = prepare(rows(), targets="binary", validation=0.25, split_seed=6)
    assert not np.array_equal(first.X_validation[:, 0], other_seed.X_validation[:, 0])


FEATURES = arrays(np.float64, st.tuples(st.integers(2, 60), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32))


@given(X=FEATURES, scale=st.sampled_from([1e-9, 1.0, 1e9]), fraction=st.sampled_from([0.0, 0.3]))
@settings(max_examples=100, deadline=None)
def test_standardised_training_rows_have_mean_0_and_deviation_1(X, scale, fraction):
    X = X * scale
    if fraction and not 0 < round(len(X) * fraction) < len(X):
        return
    before = X.copy()
    data = prepare(from_arrays(X, np.zeros(len(X))), targets="real", standardize=True, validation=fraction)
    train = X if not fraction else np.delete(X, held_out(len(X), fraction, 0), axis=0)
    constant = (train == train[0]).all(axis=0)
    # What rounding leaves: each value carries an error of its own last bit, relative to the column's deviation.
    spread = np.abs(train).max(axis=0) / np.where(constant, 1, train.std(axis=0))
    tolerance = 1e-14 * len(train) * (1 + spread)
    assert (np.abs(data.X.mean(axis=0)) <= tolerance)[~constant].all()
    assert (np.abs(data.X.std(axis=0) - 1) <= tolerance)[~constant].all()
    np.testing.assert_array_equal(data.X[:, constant], train[:, constant])
    np.testing.assert_array_equal(X, before)


def test_standardised_as_scikit_learn_does():
    from sklearn.preprocessing import StandardScaler

    dataset = load(Source(dataset="digits"))
    data = prepare(dataset, targets="binary", positive=3, standardize=True, validation=0.2, split_seed=1)
    held = held_out(1797, 0.2, 1)
    scaler = StandardScaler().fit(np.delete(dataset.X, held, axis=0))
    varies = ~(np.delete(dataset.X, held, axis=0).std(axis=0) == 0)
    np.testing.assert_allclose(data.X_validation[:, varies], scaler.transform(dataset.X[held])[:, varies], atol=1e-12)
    assert data.y.sum() + data.y_validation.sum() == np.sum(dataset.y == 3)
    assert data.notes == (f"{np.sum(~varies)} constant columns are not standardised",)


def noisy(value, n, dtype):
    """A column that is constant but for the rounding of its last value."""
    column = np.full(n, value, dtype)
    column[-1] = np.nextafter(column[0], dtype(np.inf))
    return column


@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [2, 1000, 300_000])
def test_columns_that_are_constant_but_for_rounding_are_left_alone(layout, dtype, n):
    normal = np.random.default_rng(0).normal(size=n).astype(dtype)
    columns = {
        "constant": np.full(n, 0.3, dtype),
        "rounded": noisy(0.3, n, dtype),
        "large": noisy(-1e30, n, dtype),
        "normal": normal,
        "tiny": dtype(1e-10) * normal,
        "narrow": dtype(1) + dtype(1e-3) * normal,
    }
    X = pd.DataFrame(columns)
    data = prepare(from_arrays(X, np.zeros(n)), targets="real", standardize=True, layout=layout)
    found = data.X if layout == "dense" else data.X.toarray()
    np.testing.assert_array_equal(found[:, :3], X.to_numpy()[:, :3])
    np.testing.assert_allclose(found[:, 3:].std(axis=0, dtype=np.float64), 1, rtol=1e-3)
    note = "3 constant columns are not standardised (2 of them constant but for rounding)"
    assert data.notes == (note,)


def test_a_sum_that_rounds_is_constant():
    """0.1 + 0.2 is not 0.3: the deviation is rounding, and a blown-up column would be of size 1, or 1e15."""
    X = np.array([0.3] * 999 + [0.1 + 0.2])[:, None]
    for layout in ("dense", "sparse"):
        held = from_arrays(np.array([[0.3], [5.0]]), np.zeros(2))
        data = prepare(from_arrays(X, np.zeros(1000)), targets="real", standardize=True, layout=layout, validation=held)
        for found, expected in ((data.X, X), (data.X_validation, held.X)):
            np.testing.assert_array_equal(found if layout == "dense" else found.toarray(), expected)
        assert data.notes == ("1 constant column is not standardised (constant but for rounding)",)


@settings(max_examples=60, deadline=None)
@given(
    X=arrays(np.float64, st.tuples(st.integers(2, 40), st.just(1)), elements=st.floats(-10, 10)),
    mean=st.sampled_from([0.0, 1.0, 1e3, 1e9, 1e15, -1e16]),
    scale=st.sampled_from([1e-12, 1.0]),
)
def test_what_scikit_learn_takes_for_constant_is_left_alone(X, mean, scale):
    from sklearn.preprocessing import StandardScaler

    X = mean + scale * X
    if 0 < np.abs(X - X.mean()).max() < 1e-150:  # its square is no number
        return
    data = prepare(from_arrays(X, np.zeros(len(X))), targets="real", standardize=True)
    theirs = StandardScaler().fit(X).scale_[0] == 1 and not np.isclose(X.std(), 1)
    assert not theirs or (data.X == X).all()
    assert np.abs(data.X).max() <= np.abs(X).max() or np.abs(data.X).max() < np.sqrt(len(X)) * (1 + 1e-9)


def test_statistics_of_many_blocks():
    dataset = load(Source(synthetic={"n": 100_001, "d": 3, "condition": 50}))
    data = prepare(dataset, targets="binary", standardize=True)
    np.testing.assert_allclose(data.X, (dataset.X - dataset.X.mean(0)) / dataset.X.std(0), atol=1e-11)


@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_columns_that_cannot_be_standardised(value):
    dataset = from_arrays(np.array([[1.0, value], [2.0, -value]]), np.zeros(2))
    with pytest.raises(InputError, match=r"^arrays: column 'x1' cannot be standardised: its deviation is (inf|0.0)$"):
        prepare(dataset, targets="real", standardize=True)


def test_nothing_is_copied_that_stays():
    for dtype in ("float64", "float32"):
        X, y = np.zeros((4, 2), dtype=dtype), np.array([0.0, 1, 1, 0])
        data = prepare(from_arrays(X, y), targets="binary", dtype=dtype)
        assert data.X is X
        assert (data.y is y) == (dtype == "float64")
        assert data.X_validation is data.y_validation is None


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("validation", [0.0, 0.25, "second"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("given_dtype", ["float64", "float32"])
def test_what_the_engine_sees(standardize, validation, dtype, given_dtype):
    dataset = from_arrays(RNG.normal(size=(20, 3)).astype(given_dtype), np.arange(20) % 2)
    second = from_arrays(RNG.normal(size=(7, 3)), np.ones(7))
    data = prepare(
        dataset,
        targets="binary",
        standardize=standardize,
        validation=second if validation == "second" else validation,
        dtype=dtype,
    )
    for array in (data.X, data.y, data.X_validation, data.y_validation):
        assert array is None or (array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned)
    held = 0 if data.X_validation is None else len(data.X_validation)
    assert held == {0.0: 0, 0.25: 5, "second": 7}[validation]
    assert data.features == ("x0", "x1", "x2")
    assert data.dataset == "arrays"


def test_values_that_are_too_large_for_float32():
    dataset = from_arrays(np.array([[1e300], [1.0]]), np.zeros(2))
    with pytest.raises(InputError, match="arrays: features are too large for dtype = 'float32'"):
        prepare(dataset, targets="real", dtype="float32")
    with pytest.raises(InputError, match="arrays: targets are too large for dtype = 'float32'"):
        prepare(from_arrays(np.zeros((2, 1)), [0, 1e300]), targets="real", dtype="float32")


def test_validation_data_are_standardised_by_the_training_rows():
    training, second = rows(10), rows(6)
    data = prepare(training, targets="binary", standardize=True, validation=second)
    expected = (second.X - training.X.mean(axis=0)) / training.X.std(axis=0)
    np.testing.assert_allclose(data.X_validation, expected, atol=1e-13)
    assert len(data.X) == 10


def test_validation_columns_are_matched_by_name():
    training = from_arrays(pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), [0, 1], name="train.csv")
    turned = from_arrays(pd.DataFrame({"b": [30.0], "a": [10.0]}), [1], name="test.csv")
    assert prepare(training, targets="binary", validation=turned).X_validation.tolist() == [[10.0, 30.0]]
    message = "^test.csv: validation data must have the 2 columns of train.csv: it has {} and {}$"
    for frame, found, lacks in [
        ({"a": [1.0]}, 1, "lacks 'b'"),
        ({"a": [1.0], "B": [1.0]}, 2, "lacks 'b'"),
        ({"a": [1.0], "b": [1.0], "c": [1.0]}, 3, "has 'c' too many"),
    ]:
        with pytest.raises(InputError, match=message.format(found, lacks)):
            prepare(training, targets="binary", validation=from_arrays(pd.DataFrame(frame), [1], name="test.csv"))


def test_a_sparse_validation_file_may_end_at_a_smaller_column():
    training = from_arrays(scipy.sparse.csr_array(np.eye(3)), [0, 1, 0])
    shorter = from_arrays(scipy.sparse.csr_array([[1.0, 2.0]]), [1])
    data = prepare(training, targets="binary", validation=shorter)
    assert data.X_validation.toarray().tolist() == [[1.0, 2.0, 0.0]]
    with pytest.raises(InputError, match="it has 3 and has 'x2' too many"):
        prepare(shorter, targets="binary", validation=training)


def targets_of(y, targets, positive=None):
    y = np.asarray(y)
    return prepare(from_arrays(np.zeros((len(y), 1)), y), targets=targets, positive=positive).y.tolist()


@pytest.mark.parametrize("targets", ["binary", "unit"])
@pytest.mark.parametrize(
    "y",
    [
        [0, 1, 1],
        [-1, 1, 1],
        [-1.0, 1.0, 1.0],
        [False, True, True],
        ["no", "yes", "yes"],
        ["No", "YES", "yes"],
        ["False", "True", "true"],
    ],
)
def test_two_classes_become_0_and_1(y, targets):
    assert targets_of(y, targets) == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("targets", ["binary", "unit", "real", "count"])
def test_positive_is_one_label_against_all_others(targets):
    assert targets_of(["a", "b", "c"], targets, "b") == [0.0, 1.0, 0.0]
    assert targets_of([7, 8, 8], targets, 8) == [0.0, 1.0, 1.0]
    assert targets_of([1.5, -2.0], targets, 1.5) == [1.0, 0.0]
    assert targets_of([0, 1], targets, 0) == [1.0, 0.0]
    assert targets_of(["no", "yes"], targets, "no") == [1.0, 0.0]


@pytest.mark.parametrize(
    ("y", "positive", "mapped"),
    [
        ([True, False], "True", [1, 0]),
        ([True, False], "false", [0, 1]),
        ([np.True_, np.False_], True, [1, 0]),
        ([1.0, 0.0], "True", [1, 0]),
        (["True", "maybe"], True, [1, 0]),
        (["FALSE", "maybe"], False, [1, 0]),
        ([1, 2], "2", [0, 1]),
        ([1, 2], "2.0", [0, 1]),
        ([1.5, 2.0], "1.5", [1, 0]),
        ([1, -1], "+1", [1, 0]),
        (["1", "x"], 1, [1, 0]),
        (["1.0", "x"], 1, [1, 0]),
        ([b"a", b"b"], "a", [1, 0]),
        (np.array([b"a", b"b"]), "b", [0, 1]),
    ],
)
def test_positive_finds_the_label_that_is_written_otherwise(y, positive, mapped):
    assert targets_of(y, "binary", positive) == mapped


@pytest.mark.parametrize("positive", ["a", " a"])
def test_labels_that_differ_by_spaces_alone_are_refused(positive):
    with pytest.raises(InputError, match="the labels ' a', 'a' differ by spaces alone"):
        targets_of(["a", " a", "b"], "binary", positive)


@pytest.mark.parametrize(
    ("y", "positive", "message"),
    [
        ([0, 1, 2], "True", "no row has the label positive = 'True'"),
        ([0, 1, 2], True, "no row has the label positive = True"),
        (["0", "1"], True, "no row has the label positive = True"),
        (["1", "1.0"], 1, "several are the label positive = 1; labels: '1', '1.0'"),
        (["true", "True"], True, "several are the label positive = True"),
        ([0, 1], "yes", "no row has the label positive = 'yes'"),
    ],
)
def test_positive_that_could_mean_several_or_none(y, positive, message):
    with pytest.raises(InputError, match=f"^arrays: {message}"):
        targets_of(y, "binary", positive)


def test_positive_in_a_file_of_true_and_false(tmp_path):
    (tmp_path / "a.csv").write_text("x,late\n1,True\n2,False\n")
    dataset = load(Source(path=str(tmp_path / "a.csv"), target="late"))
    for positive in ("True", "true", True, 1, "1"):
        assert prepare(dataset, targets="binary", positive=positive).y.tolist() == [1, 0]


def test_targets_that_stay():
    assert targets_of([0.0, 0.25, 1.0], "unit") == [0.0, 0.25, 1.0]
    assert targets_of([-1, 1, 2.5], "real") == [-1.0, 1.0, 2.5]
    assert targets_of([-1, 1], "real") == [-1.0, 1.0]
    assert targets_of([0, 1, 7], "count") == [0.0, 1.0, 7.0]
    assert targets_of([1, 1], "binary") == [1.0, 1.0]


@pytest.mark.parametrize(
    ("y", "targets", "positive", "message"),
    [
        (
            list(range(12)),
            "binary",
            None,
            r"row 3 has target 2 \(labels: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...\); this loss takes two classes: 0 and 1, "
            "-1 and .1, no and yes, false and true, or any labels with positive = one of them$",
        ),
        ([-1, 0, 1], "binary", None, r"row 1 has target -1 \(labels: -1, 0, 1\)"),
        ([1, 2], "binary", None, r"row 2 has target 2 \(labels: 1, 2\)"),
        (
            ["cat", "dog"],
            "binary",
            None,
            r"the targets are words \(labels: 'cat', 'dog'\); this loss takes",
        ),
        (["no", "true"], "binary", None, r"the targets are words \(labels: 'no', 'true'\)"),
        (["a", "b"], "real", None, r".* \(labels: 'a', 'b'\); this loss takes numbers \(labels with positive"),
        ([0.5, 1.5], "unit", None, "row 2 has target 1.5; this loss takes numbers from 0 to 1"),
        ([3, -0.5], "count", None, "row 2 has target -0.5; this loss takes numbers that are not negative"),
        (["no", "yes"], "binary", "Yes", "no row has the label positive = 'Yes'; labels: 'no', 'yes'"),
        ([0, 1, 2], "binary", "3", "no row has the label positive = '3'; labels: 0, 1, 2"),
    ],
)
def test_targets_that_will_not_do(y, targets, positive, message):
    with pytest.raises(InputError, match=f"^arrays: {message}"):
        targets_of(y, targets, positive)


def test_hinge_on_digits_needs_positive():
    with pytest.raises(InputError, match=r"^digits: row 3 has target 2 .* with positive = one of them"):
        prepare(load(Source(dataset="digits")), targets="binary")


def test_validation_targets_are_mapped_as_the_training_targets():
    training = from_arrays(np.zeros((3, 1)), np.array(["a", "b", "c"]))
    second = from_arrays(np.zeros((3, 1)), np.array(["b", "c", "b"]), name="second")
    data = prepare(training, targets="binary", positive="b", validation=second)
    assert data.y_validation.tolist() == [1.0, 0.0, 1.0]
    wrong = from_arrays(np.zeros((2, 1)), np.array([0, 5]), name="second")
    with pytest.raises(InputError, match=r"^second: row 2 has target 5"):
        prepare(from_arrays(np.zeros((2, 1)), [0, 1]), targets="binary", validation=wrong)


def test_the_fingerprint_knows_all_that_changes_the_numbers():
    X, y = RNG.normal(size=(20, 3)), np.array(["a", "b", "c", "b"] * 5)
    dataset, second = from_arrays(X, y), from_arrays(X[:4] + 1, y[:4])
    base = {"targets": "binary", "positive": "b"}
    changes = [
        {},
        {"positive": "a"},
        {"standardize": True},
        {"validation": 0.25},
        {"validation": 0.25, "split_seed": 1},
        {"validation": 0.5},
        {"validation": second},
        {"validation": from_arrays(X[:4], y[:4])},
    ]
    prints = [prepare(dataset, **{**base, **change}).fingerprint for change in changes]
    assert len(set(prints)) == len(changes)
    same = prepare(from_arrays(X.copy(), y, name="other"), **base, split_seed=9, dtype="float32")
    assert same.fingerprint == prints[0]


def test_the_fingerprint_knows_which_validation_column_is_which():
    """The same numbers under two headers are two sets of held-out rows."""
    X, y = RNG.normal(size=(20, 3)), np.arange(20) % 2
    training = from_arrays(pd.DataFrame(X, columns=list("abc")), y)
    found = [
        prepare(training, targets="binary", validation=from_arrays(pd.DataFrame(X, columns=list(names)), y))
        for names in ("abc", "bac")
    ]
    assert not np.array_equal(found[0].X_validation, found[1].X_validation)
    assert found[0].fingerprint != found[1].fingerprint


def test_the_fingerprint_is_the_same_in_another_process():
    script = (
        "from fastgd.datasets import Source, load, prepare; d = load(Source(dataset='iris'));"
        "print(prepare(d, targets='binary', positive=2, validation=0.2, standardize=True).fingerprint)"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    here = prepare(load(Source(dataset="iris")), targets="binary", positive=2, validation=0.2, standardize=True)
    assert there == here.fingerprint
