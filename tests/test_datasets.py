"""Named and synthetic datasets, arrays in memory, and what every dataset promises."""

import hashlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets

from fastgd.common.errors import InputError
from fastgd.datasets import DATASETS, Source, Synthetic, from_arrays, load, prepare
from fastgd.datasets.sources import bundled

BUNDLED = [name for name, record in DATASETS.items() if record.load and record.name != "california_housing"]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_record_tells_the_truth(name):
    record, dataset = DATASETS[name], load(Source(dataset=name))
    assert dataset.X.shape == (record.rows, record.columns)
    assert dataset.X.dtype == np.float64
    values = dataset.X.data if dataset.sparse else dataset.X
    assert values.flags.c_contiguous
    assert len(dataset.features) == len(set(dataset.features)) == record.columns
    assert np.isfinite(values).all()
    numeric = dataset.y.dtype == np.float64
    assert (record.task == "regression") == (numeric and len(np.unique(dataset.y)) > 10)


@pytest.mark.parametrize("name", bundled.FILES)
def test_bundled_datasets_are_scikit_learns(name):
    """They are read without scikit-learn, and the same to the last bit."""
    bunch = getattr(sklearn.datasets, f"load_{name}")()
    dataset, expected = load(Source(dataset=name)), from_arrays(bunch.data, bunch.target)
    np.testing.assert_array_equal(dataset.X, bunch.data)
    np.testing.assert_array_equal(dataset.y, bunch.target)
    assert dataset.features == tuple(map(str, bunch.feature_names))
    assert dataset.fingerprint == expected.fingerprint


@pytest.mark.parametrize("content", [None, "nonsense\n", "a,b\n1,2\n3,4\n"])
def test_bundled_datasets_whose_files_have_changed_are_scikit_learns_business(content, tmp_path, monkeypatch):
    expected = load(Source(dataset="iris"))
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "iris.csv").write_text(content)
    monkeypatch.setattr(bundled, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    found = load(Source(dataset="iris"))
    assert (found.fingerprint, found.features) == (expected.fingerprint, expected.features)


def test_fingerprint_is_the_same_in_another_process():
    script = "from fastgd.datasets import Source, load; print(load(Source(dataset='wine')).fingerprint)"
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert there == load(Source(dataset="wine")).fingerprint
    assert len(there) == 64


def test_fingerprint_is_sha256_of_the_content():
    X, y = np.arange(6.0).reshape(3, 2), np.array([0.0, 1.0, 1.0])
    written = b"<f8(3, 2);" + X.astype("<f8").tobytes() + b"<f8(3,);" + y.astype("<f8").tobytes()
    assert from_arrays(X, y).fingerprint == hashlib.sha256(written).hexdigest()


def test_fingerprint_is_of_content_not_of_its_form():
    X, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])
    reference = from_arrays(X, y).fingerprint
    same = [
        from_arrays(np.asfortranarray(X), y.astype(bool)),
        from_arrays(X, y[:, None], name="other"),
        from_arrays(pd.DataFrame(X.astype(int), columns=["a", "b", "c"]), pd.Series(y)),
        from_arrays(X.astype(">f8"), y.tolist()),
    ]
    assert {dataset.fingerprint for dataset in same} == {reference}
    assert from_arrays(X.reshape(6, 2)[:4], y).fingerprint != reference
    assert from_arrays(X, 1 - y).fingerprint != reference
    labels = np.array(["no", "yes", "yes", "no"])
    assert from_arrays(X, labels).fingerprint == from_arrays(X, labels.astype("U20")).fingerprint
    assert from_arrays(X, labels).fingerprint == from_arrays(X, labels.astype(object)).fingerprint


def test_arrays_are_not_copied():
    for dtype in (np.float64, np.float32):
        X, y = np.ones((4, 2), dtype=dtype), np.zeros(4)
        dataset = from_arrays(X, y)
        assert dataset.X is X
        assert dataset.y is y
        assert dataset.features == ("x0", "x1")


X32 = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros(3), np.zeros(3), r"X must have rows and columns, \(n, d\); found shape \(3,\)"),
        (np.zeros((0, 2)), np.zeros(0), r"X must have .* found shape \(0, 2\)"),
        (np.zeros((3, 0)), np.zeros(3), r"X must have .* found shape \(3, 0\)"),
        (np.array([["a"]]), [1], "X must hold real numbers; found <U1"),
        (X32 * 1j, np.zeros(3), "X must hold real numbers; found complex128"),
        (X32, np.zeros(4), "X has 3 rows and y has 4"),
        (X32, np.zeros((3, 2)), r"y must have one value a row, \(n,\); found shape \(3, 2\)"),
        (X32, [0.0, np.nan, 1.0], "row 2 has no target: found nan"),
        (X32, np.array(["a", None, "b"], dtype=object), "row 2 has no target: found None"),
        (X32, [0.0, 1.0, np.inf], "row 3: the target is inf"),
        (X32, np.zeros(3, dtype="M8[s]"), "y must hold numbers or labels; found datetime64"),
        (X32, np.array([{}, {}, {}]), "y must hold numbers or labels; found object"),
        ([[0.0, 1.0], [2.0, -np.inf]], [0, 1], "row 2, column 'x1': found -inf; every feature must be a finite number"),
        (pd.DataFrame({"a": [1.0, np.nan]}), [0, 1], "row 2, column 'a': found nan"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), [0], "there are 2 columns 'a'; each needs a name of its own"),
        (pd.DataFrame({"a": [1, 2], "b": ["1", "?"]}), [0, 1], r"column 'b' is not numeric: row 2 holds '\?'; drop"),
    ],
)
def test_arrays_that_will_not_do(X, y, message):
    with pytest.raises(InputError, match=f"^arrays: {message}"):
        from_arrays(X, y)


def test_large_finite_features_are_finite():
    X = np.full((4, 2), 1e308)  # their sum is not
    assert from_arrays(X, np.zeros(4)).X is X


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source(), "one of dataset, path and synthetic; found none"),
        (Source(dataset="iris", path="x.csv"), "found dataset and path"),
        (Source(dataset="flight"), "there is no dataset 'flight'; did you mean 'flights'"),
        (Source(dataset="flights", target="lat"), "flights has no target 'lat'; did you mean 'late'"),
        (Source(dataset="synthetic"), r"is written as synthetic = \{ n = 1_000_000, d = 100 \}"),
        (Source(synthetic={"n": 10, "d": 2}, target="late"), "synthetic has no target 'late'; valid: y"),
        (Source(synthetic={"n": 10}), "synthetic.d: Field required$"),
        (Source(synthetic={"n": 10, "d": 2, "conditoin": 3}), "conditoin is no key; did you mean 'condition'"),
        (Source(synthetic={"n": 0, "d": 2}), "synthetic.n: Input should be greater than 0; found 0"),
        (Source(synthetic={"n": "10", "d": 2}), "synthetic.n: Input should be a valid integer; found '10'"),
        (Source(synthetic={"n": 10, "d": 2, "condition": 0.5}), "synthetic.condition: .* equal to 1; found 0.5"),
        (Source(synthetic={"n": 10, "d": 2, "noise": float("nan")}), "synthetic.noise: .* finite number; found nan"),
        (Source(synthetic={"n": 10, "d": 2, "noise": 0.6}), "synthetic: noise flips labels .* at most 0.5; found 0.6"),
        (Source(synthetic={"n": 10, "d": 2, "task": "ranking"}), "synthetic.task: .* found 'ranking'"),
        (
            Source(synthetic={"n": 10**9, "d": 10**6}),
            r"take 8 PB as dense float64, more than half of the .*: a smaller n or d",
        ),
    ],
)
def test_sources_that_will_not_do(source, message):
    with pytest.raises(InputError, match=message):
        load(source)


def synthetic(**keys):
    return load(Source(synthetic={"n": 20_000, "d": 7, **keys}))


def test_synthetic_is_decided_by_its_keys():
    assert synthetic(seed=1).fingerprint == synthetic(seed=1).fingerprint
    assert len({synthetic(**keys).fingerprint for keys in ({}, {"seed": 1}, {"noise": 0.1}, {"condition": 2})}) == 4
    # Only the labels change with the noise, and nothing random but their scale with the condition number.
    np.testing.assert_array_equal(synthetic().X, synthetic(noise=0.3).X)
    assert synthetic(condition=10).name == "synthetic(n=20000, d=7, condition=10.0)"


@pytest.mark.parametrize("d", [1, 2, 7, 16])
@pytest.mark.parametrize("condition", [1, 100, 1e4])
def test_synthetic_has_the_condition_number(d, condition):
    X = synthetic(d=d, condition=condition).X
    eigenvalues = np.linalg.eigvalsh(X.T @ X / len(X))
    assert eigenvalues[-1] == pytest.approx(1, rel=0.1)
    assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(condition if d > 1 else 1, rel=0.15)


def test_synthetic_stays_ill_conditioned_when_it_is_standardised():
    data = prepare(synthetic(d=20, condition=1000), targets="binary", standardize=True)
    eigenvalues = np.linalg.eigvalsh(data.X.T @ data.X / len(data.X))
    assert eigenvalues[-1] / eigenvalues[0] > 300


def test_synthetic_targets_have_a_true_weight_vector():
    dataset = synthetic(task="regression", condition=10)
    weights, residual, *_ = np.linalg.lstsq(dataset.X, dataset.y, rcond=None)
    assert residual[0] < 1e-20
    assert dataset.y.var() == pytest.approx(1, rel=0.05)
    labels = synthetic(task="classification", condition=10).y
    np.testing.assert_array_equal(labels, dataset.X @ weights > 0)
    noisy = synthetic(task="regression", condition=10, noise=0.5).y
    assert np.std(noisy - dataset.y) == pytest.approx(0.5, rel=0.05)
    flipped = synthetic(condition=10, noise=0.2).y
    assert np.mean(flipped != labels) == pytest.approx(0.2, abs=0.01)


def test_synthetic_is_a_model_for_study_files_too():
    assert Synthetic(n=3, d=2).model_dump() == {
        "n": 3,
        "d": 2,
        "condition": 1.0,
        "noise": 0.0,
        "seed": 0,
        "task": "classification",
    }


def test_california_housing_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    for proxy in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # the discard port: nobody answers
    monkeypatch.setattr("urllib.request._opener", None)  # one that was made before knows no proxy
    with pytest.raises(InputError, match=r"could not be downloaded \(.*refused.*fetch_california_housing.*_DATA.*copy"):
        load(Source(dataset="california_housing"))


def test_california_housing_from_its_cache(tmp_path, monkeypatch):
    import joblib

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    rows = np.abs(np.random.default_rng(0).normal(size=(20, 9))) + 1
    joblib.dump(rows, tmp_path / "cal_housing_py3.pkz")
    dataset = load(Source(dataset="california_housing"))
    assert dataset.X.shape == (20, DATASETS["california_housing"].columns)
    np.testing.assert_allclose(dataset.y, rows[:, 0] / 100_000)


def test_datasets_load_no_compiler():
    script = "import sys, fastgd.datasets as d; d.load(d.Source(dataset='iris')); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
