"""Every rule on sparse rows gives the iterates of dense ones."""

from cohorts import each_rule
from sparse_cohorts import pair, rates_of, run


@each_rule("optimizer")
def test_one_row_at_a_time_gives_the_dense_iterates(optimizer):
    assert run(pair(optimizer, batch_size=1)) < 1e-10


@each_rule("optimizer")
def test_lanes_that_share_their_matrices_give_them_under_a_schedule_that_never_rests(optimizer):
    assert run(pair(optimizer, rates_of(optimizer), batch_size=8, wave=True, init=0.2)) < 1e-10


@each_rule("optimizer")
def test_penalties_give_them(optimizer):
    assert run(pair(optimizer, batch_size=3, l2=(0.3, 0.01, 0.1, 0.02), init=0.3), 400) < 1e-10
