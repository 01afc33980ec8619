"""Which rates a search tries, as pure functions of what it knows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgd.search.rate_grid import REACH, RateGrid, best_rate, excess, flat_range, neighbours


def search(grid, loss):
    """Run a search over a function of the rate to its end."""
    tried, rates, rounds = {}, grid.first(), 0
    while rates:
        assert not set(rates) & set(tried)
        tried |= {rate: loss(rate) for rate in rates}
        rates, rounds = grid.after(tried), rounds + 1
    return tried, rounds


@given(
    best=st.floats(-9, 3), limit=st.floats(0.05, 3), points=st.integers(3, 20), factor=st.sampled_from([1.05, 1.3, 3.0])
)
def test_any_valley_within_reach_is_bracketed(best, limit, points, factor):
    def loss(rate):
        distance = math.log10(rate) - best
        return distance**2 if distance < limit else math.inf

    tried, rounds = search(RateGrid(1e-4, 1.0, points, factor), loss)
    low, high = neighbours(tried, best_rate(tried))
    assert low < 10**best < high
    assert high / low <= factor * 1.001
    assert rounds < 60


def test_the_first_grid_and_its_ends():
    assert RateGrid(1e-3, 10.0, 5).first() == [1e-3, 0.01, 0.1, 1.0, 10.0]
    assert RateGrid(1 / 3, 2 / 3, 3).first() == [1 / 3, 0.471405, 2 / 3]


@pytest.mark.parametrize("falls", [1, -1])
def test_a_search_without_end_stops_far_out(falls):
    tried, _ = search(RateGrid(1e-2, 1.0, 5), lambda rate: falls * rate)
    assert min(tried) == pytest.approx(1e-2 / REACH if falls == 1 else 1e-2, rel=1e-4)
    assert max(tried) == pytest.approx(1.0 if falls == 1 else REACH, rel=1e-4)


def test_where_all_rates_diverge_it_looks_below():
    tried, _ = search(RateGrid(1e-2, 1.0, 5), lambda rate: math.inf)
    assert min(tried) == pytest.approx(1e-2 / REACH, rel=1e-4)
    assert best_rate(tried) is None


def test_the_flat_range_is_judged_by_what_the_best_rate_gained():
    tried = {0.1: 1.0, 0.2: 0.52, 0.4: 0.5, 0.8: 0.54, 1.6: math.inf, 3.2: 0.51}
    shares = excess(tried, start=1.5)
    assert shares[0.2] == pytest.approx(0.02)
    assert flat_range(shares, 0.4) == (0.2, 0.8)  # what lies beyond a worse rate is no part of it
    assert flat_range(excess(tried, start=0.5), 0.4) == (0.4, 0.4)
    assert flat_range(excess(tried, start=math.nan), 0.4) == (0.4, 0.4)
