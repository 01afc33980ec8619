"""Sparse synthetic data: columns by Zipf's law, targets of a true weight vector."""

import subprocess
import sys

import numpy as np
import pytest
from sparse_tables import is_canonical

from fastgd.common.errors import InputError
from fastgd.datasets import Source, Synthetic, load
from fastgd.datasets.record import Numbered

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
            "1,000,000,000 rows x 100,000 non-zeros of 1,000,000,000 columns take 1.2 PB as sparse float64",
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
