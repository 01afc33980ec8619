"""The order of the rows and the start: counter-based streams, keyed by seed, purpose and epoch alone."""

import itertools

import numpy as np
import pytest
import reference
from cohorts import PARTS, SINGLE, SMALL, make_cohort, problem

from fastgd.engine.rows.order import reorder, shuffle, start_values, stream_key


def order(n, seed=0, epoch=0):
    rows = np.full(n, -1, np.int32)
    shuffle(rows, seed, epoch)
    return rows


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 40_000])
def test_shuffle_is_the_published_one(n):
    for seed, epoch in itertools.product((0, 1, 2**53), (0, 1, 999)):
        np.testing.assert_array_equal(order(n, seed, epoch), reference.shuffled(n, seed, epoch))


@pytest.mark.parametrize("n", [1, 1024, 1025, 40_000, 70_000])
def test_blocks_are_shuffled_as_the_page_says(n):
    rows = np.full(n, -1, np.int32)
    for seed, epoch in itertools.product((0, 2**53), (0, 7)):
        reorder(rows, "blocks", seed, epoch)
        np.testing.assert_array_equal(rows, reference.in_blocks(n, seed, epoch))
        np.testing.assert_array_equal(np.sort(rows), np.arange(n))


def test_shuffle_is_a_permutation_of_its_own_for_each_seed_and_epoch():
    orders = {(seed, epoch): order(500, seed, epoch) for seed, epoch in itertools.product(range(5), range(20))}
    for rows in orders.values():
        np.testing.assert_array_equal(np.sort(rows), np.arange(500))
    assert len({rows.tobytes() for rows in orders.values()}) == len(orders)


def test_shuffle_favours_no_order():
    """All 24 orders of four rows, 12,000 times: chi-square with 23 degrees of freedom, p = 1e-4 at 55."""
    counts = {}
    for epoch in range(12_000):
        key = tuple(order(4, 7, epoch))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 55


def test_streams_differ_by_purpose():
    assert stream_key(3, "shuffle", 1) == reference.key(3, "shuffle", 1)
    assert len({stream_key(3, purpose) for purpose in ("shuffle", "init", "noise")}) == 3


def test_start():
    np.testing.assert_array_equal(start_values("zeros", 5, 4), 0)
    start = start_values(0.5, 5, 10_000)
    np.testing.assert_array_equal(start, 0.5 * start_values(1.0, 5, 10_000))
    np.testing.assert_array_equal(start, start_values(0.5, 5, 10_000))
    assert not np.array_equal(start, start_values(0.5, 6, 10_000))
    assert (np.mean(start), np.std(start)) == pytest.approx((0, 0.5), abs=0.02)


@pytest.mark.parametrize("kernel", [SINGLE, SMALL, PARTS], ids=lambda kernel: kernel.name)
def test_every_lane_starts_alike(kernel):
    X, y = problem(20, 5)
    found = make_cohort(X, y, [{"lr": 0.1}] * 6, kernel=kernel, batch_size=4, init=0.5, seed=9).parameters()
    np.testing.assert_array_equal(found, np.tile(start_values(0.5, 9, 6), (6, 1)))


@pytest.mark.parametrize("kernel", [SINGLE, SMALL, PARTS], ids=lambda kernel: kernel.name)
def test_an_epoch_sees_every_row_once(kernel):
    """With a squared loss of one-hot rows, a weight moves when its row is seen: once, whatever the order."""
    n = 50
    for shuffled in (False, True):
        cohort = make_cohort(
            np.eye(n), np.ones(n), [{"lr": 1.0}], "sgd",
            loss="squared", batch_size=1, intercept=False, shuffled=shuffled, kernel=kernel,
        )  # fmt: skip
        seen = []
        for _ in range(2 * n):
            before = cohort.parameters()[0]
            cohort.advance(1)
            # a step of 1 fits the row; once it is fitted it moves no more
            seen += np.flatnonzero(cohort.parameters()[0] != before).tolist()
        expected = reference.shuffled(n, 3, 0) if shuffled else np.arange(n)
        assert seen == expected.tolist()
