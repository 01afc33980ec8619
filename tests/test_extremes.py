"""Numbers at the ends of what numbers are: what is refused, and what runs beside ordinary trials."""

import numpy as np
import pandas as pd
import pytest
from landscape_studies import study

import fastgd
from fastgd import InputError
from fastgd.plan.starts import make_starts
from fastgd.search.rate_grid import RateGrid, range_fault


def test_a_distant_trial_leaves_the_others_as_they_are(tmp_path):
    """Of a start at 1e160 even the distance to a minimum is no number."""
    alone, beside = (
        fastgd.run(study(starts={"points": [[0.0, 0.0], other]}), tmp_path / str(place), progress=False).trials
        for place, other in enumerate([[1.0, 1.0], [1e160, 0.0]])
    )
    kept = [name for name in alone if name.startswith("end_")] + ["status", "steps", "final_loss", "minimum"]
    one, other = (each[each["start"] == 0][kept].reset_index(drop=True) for each in (alone, beside))
    pd.testing.assert_frame_equal(one, other, check_exact=True, check_dtype=False)
    assert set(beside.loc[beside["start"] == 1, "status"]) == {"diverged"}


@pytest.mark.parametrize("domain", [[-1e200, 1e200], [-1e308, 1e308], [0, 5e-324]])
def test_a_domain_whose_size_is_no_number_is_refused(domain):
    with pytest.raises(InputError, match="domain must have a diagonal from 1e-150 to 1e"):
        study(problem={"landscape": "himmelblau", "domain": domain})


@pytest.mark.parametrize(
    "starts",
    [
        {"uniform": 5, "low": -1e308, "high": 1e308},
        {"normal": 9, "scale": 1e308},
        {"grid": 3, "low": -1e308, "high": 1e308},
    ],
)
def test_starts_that_are_no_numbers_are_refused(starts):
    own = study(starts=starts)
    with pytest.raises(InputError, match="must make finite numbers"):
        make_starts(own.starts, own.landscapes[0])


def test_boxes_wider_than_numbers_are_refused():
    with pytest.raises(InputError, match="low is too far below high"):
        study(optimizer={"name": "random_search", "low": -1e308, "high": 1e308})
    with pytest.raises(InputError, match=r"surface.*is too far below high"):
        study(surface={"low": -1e308, "high": 1e308})


@pytest.mark.parametrize(
    ("low", "high", "fault"),
    [(5e-324, 1.0, "both must be from 1e-100"), (1.0, 1e308, "both"), (1.0, 1.001, "1.01 low"), (0.0, 1.0, "0 < low")],
)
def test_rates_of_which_ratios_are_no_numbers_are_refused(low, high, fault):
    assert fault in range_fault(low, high)
    with pytest.raises(InputError, match="are no grid"):
        RateGrid(low, high)
    with pytest.raises(InputError, match="a rate cannot grow"):
        fastgd.range_test(study(), low=low, high=high)


def test_a_narrow_grid_is_left_in_few_rounds():
    """A search that goes six decades beyond a grid of 1 % does not do so by a thousandth a step."""
    grid, rounds, tried = RateGrid(1.0, 1.01), 0, {}
    rates = grid.first()
    while rates:
        tried |= {rate: -float(np.log(rate)) for rate in rates}
        rates, rounds = grid.after(tried), rounds + 1
    assert max(tried) > 5e5
    assert rounds < 30
