"""The same bits: however steps are cut, lanes are grouped, threads share the work, and lanes end."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from cohorts import (
    CHANGED,
    HALVES,
    PARTS,
    SINGLE,
    SMALL,
    SPREAD,
    each_rule,
    grid,
    make_cohort,
    problem,
    relative_error,
    spread,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sparse_cohorts import sparse_cohort

from fastgd.engine.calls import Pace
from fastgd.engine.rows import evaluation
from fastgd.engine.rows.evaluation import Evaluation, without_entries
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.shapes import Kernel
from fastgd.optimizers import OPTIMIZERS
from fastgd.problems import LOSSES, ZERO_ONE

N, D = 150, 7
KERNELS = spread([SINGLE, HALVES, SMALL, Kernel(8), PARTS], [HALVES, SMALL, PARTS])
X, Y = problem(N, D)
MEASURED = [(X, Y, [LOSSES["logistic"], ZERO_ONE]), (X[:40], Y[:40], [LOSSES["squared"]])]


def named(kernels):
    return pytest.mark.parametrize("kernel", kernels, ids=lambda kernel: kernel.name)


class Falling:
    """A schedule: the rate falls with every step or every epoch, the momentum rises."""

    def __init__(self, lanes, per_step, batches):
        self.per_step, self.batches = per_step, batches
        self.rates = np.array([lane["lr"] for lane in lanes])

    def __call__(self, first, steps):
        k = np.arange(first, first + (steps if self.per_step else 1))
        k = (k if self.per_step else k // self.batches)[:, None]
        return np.stack([self.rates / (1 + 0.1 * k), 0.9 - 0.5 / (1 + k) + 0 * self.rates], axis=1)


def lanes_of(count):
    return [{"lr": lr} for lr in np.geomspace(0.01, 0.3, count)]


def cohort_of(lanes, optimizer="momentum", *, schedule=None, **options):
    """A cohort on the module's rows; `schedule`: None, "step" or "epoch"."""
    options = {"batch_size": 32, "init": 0.3, "l2": 1e-3, **options}
    if schedule:
        batches = -(-N // options["batch_size"])
        options |= {"scheduled": ("lr", "momentum"), "schedule": Falling(lanes, schedule == "step", batches)}
    return make_cohort(X, Y, lanes, optimizer, **options)


def observed(cohort):
    """Everything that a cohort can be asked: (alive, ...) float64."""
    measured = cohort.measure(MEASURED)
    columns = [*measured.sums[0], *measured.sums[1], measured.squares, measured.penalised, cohort.gradient_norms()[0]]
    return np.column_stack([cohort.parameters(), *columns, cohort.first_bad_step()])


def after(steps, *arguments, **options):
    cohort = cohort_of(*arguments, **options)
    cohort.advance(steps)
    return observed(cohort)


# --- the drivers of dense tiles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [None, "step"])
@pytest.mark.parametrize("batch_size", spread([1, 2, 3, 4, 5, 6, 7, 8], [1, 3, 8]))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sweeps_have_the_bits_of_blocks(monkeypatch, dtype, batch_size, schedule):
    how = {"batch_size": batch_size, "dtype": dtype, "schedule": schedule, "kernel": SMALL, "shuffled": True}
    steps, lanes = 2 * -(-N // batch_size) - 1, lanes_of(11)
    cohort = cohort_of(lanes, **how)
    assert cohort.spec.sweeps
    cohort.advance(steps)
    monkeypatch.setattr("fastgd.engine.rows.spec.MOST_SWEPT_ROWS", 0)
    other = cohort_of(lanes, **how)
    other.advance(steps)
    np.testing.assert_array_equal(cohort.parameters(), other.parameters())


@pytest.mark.parametrize(
    ("optimizer", "batch_size"),
    spread([*((name, 1) for name in OPTIMIZERS), *((name, 3) for name in SPREAD)], [(name, 1) for name in SPREAD]),
)
def test_every_rule_sweeps(monkeypatch, optimizer, batch_size):
    lanes, how = grid(optimizer), {"batch_size": batch_size, "kernel": SMALL}
    swept = after(N, lanes, optimizer, **how)
    monkeypatch.setattr("fastgd.engine.rows.spec.MOST_SWEPT_ROWS", 0)
    np.testing.assert_array_equal(swept, after(N, lanes, optimizer, **how))


@pytest.mark.full
@pytest.mark.parametrize("d", [3, 9, 37])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_lane_of_single_rows_may_be_cut_anywhere(dtype, d):
    rows, how = problem(40, d), {"batch_size": 1, "kernel": SINGLE, "dtype": dtype}
    one, many = (make_cohort(*rows, lanes_of(2), **how) for _ in range(2))
    assert one.spec.sweeps_alone
    one.advance(90)
    for _ in range(30):
        many.advance(3)
    many.retire(np.array([False, True]))
    np.testing.assert_array_equal(many.parameters(), one.parameters()[1:])


def test_who_waits_for_a_call_that_fails_ends():
    cohort = cohort_of(lanes_of(1), kernel=HALVES, batch_size=64, shuffled=False)  # else an order must be drawn first
    cohort.compile()

    def fails():
        raise OSError("no")

    for calls in ([cohort._steps_call(0, 0, 2), fails], [fails, cohort._steps_call(1, 0, 2)]):
        with pytest.raises(OSError, match="no"):
            cohort.threads.run(calls)
    cohort.threads.run([])


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("kernel", [SINGLE, SMALL], ids=lambda kernel: kernel.name)
def test_what_fills_a_vector_harms_nobody(kernel, batch_size):
    """Without eps, Adam divides zero by zero where there is no feature."""
    rows, lanes = problem(40, 9), [{"lr": 0.01, "eps": 0.0}]
    cohort = make_cohort(*rows, lanes, "adam", kernel=kernel, batch_size=batch_size)
    cohort.advance(50)
    assert np.isfinite(cohort.parameters()).all()
    assert cohort.first_bad_step()[0] == 0


@pytest.mark.parametrize("schedule", [None, "step"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("optimizer", spread(SPREAD, ["momentum", "nesterov", "adam", "prodigy"]))
def test_rows_one_by_one_are_steps_of_a_lane(monkeypatch, optimizer, intercept, schedule):
    """One lane's steps of one row, all in one kernel, against those by blocks: their sums run in other orders.

    The spread has whatever a rule may have, and what rules compute is tried elsewhere: no other rule is compiled here.
    """
    how = {"batch_size": 1, "kernel": SINGLE, "intercept": intercept}
    if schedule and optimizer != "momentum":
        pytest.skip("the schedule is one of momentum")
    lanes = lanes_of(2) if schedule else grid(optimizer)[:2]
    swept = after(N + 20, lanes, optimizer, schedule=schedule, **how)
    monkeypatch.setattr(CohortSpec, "sweeps_alone", False)
    assert relative_error(swept, after(N + 20, lanes, optimizer, schedule=schedule, **how)) < 1e-9


@pytest.mark.parametrize("batch_size", [16, 150])
def test_blocks_have_the_bits_of_whole_gradients(monkeypatch, batch_size):
    how = {"batch_size": batch_size, "kernel": SMALL, "schedule": "step"}
    in_blocks = after(25, lanes_of(9), **how)
    monkeypatch.setattr(CohortSpec, "in_blocks", lambda *_: False)
    np.testing.assert_array_equal(in_blocks, after(25, lanes_of(9), **how))


# --- how steps are cut ------------------------------------------------------------------------------------------------


@named(KERNELS)
@pytest.mark.parametrize("schedule", [None, "step", "epoch"])
@settings(max_examples=10)
@given(cuts=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_parts_of_a_run_are_the_run(kernel, schedule, cuts):
    """advance(a) then advance(b) equals advance(a + b), and looking in between changes nothing."""
    lanes = lanes_of(5)
    cohort = cohort_of(lanes, kernel=kernel, schedule=schedule)
    for steps in cuts:
        observed(cohort)
        cohort.advance(steps)
    assert cohort.t == sum(cuts)
    np.testing.assert_array_equal(observed(cohort), after(sum(cuts), lanes, kernel=kernel, schedule=schedule))


@each_rule()
def test_parts_of_a_run_are_the_run_for_every_rule(name):
    cohort = cohort_of(grid(name), name, kernel=SMALL)
    for steps in (1, 4, 7):
        observed(cohort)
        cohort.advance(steps)
    np.testing.assert_array_equal(observed(cohort), after(12, grid(name), name, kernel=SMALL))


@named(KERNELS)
@pytest.mark.parametrize("schedule", ["step", "epoch"])
def test_the_length_of_calls_changes_nothing(kernel, schedule, monkeypatch):
    """How many steps or rows a kernel call takes depends on the machine's load."""
    lanes = lanes_of(5)
    expected = after(23, lanes, kernel=kernel, schedule=schedule)
    for seconds in (1e-9, 1e-5, 1e3):
        monkeypatch.setattr("fastgd.engine.calls.CALL_SECONDS", seconds)
        polls = []
        cohort = cohort_of(lanes, kernel=kernel, schedule=schedule)
        cohort.advance(23, partial(polls.append, 1))
        assert len(polls) >= (23 if seconds < 1e-8 else 5)
        np.testing.assert_array_equal(observed(cohort), expected)


# --- threads ----------------------------------------------------------------------------------------------------------


@named([*KERNELS, Kernel(4, 16)])
@pytest.mark.parametrize("lanes", [1, 5, 37])
def test_threads_change_nothing(kernel, lanes):
    one, two, three = (after(11, lanes_of(lanes), kernel=kernel, threads=threads) for threads in (1, 2, 3))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, three)


# --- neighbours -------------------------------------------------------------------------------------------------------


@named(KERNELS)
@settings(max_examples=12)
@given(chosen=st.sets(st.integers(0, 36), min_size=1, max_size=20))
def test_a_lane_does_not_depend_on_its_neighbours(kernel, chosen):
    lanes, chosen = lanes_of(37), sorted(chosen)
    together = after(9, lanes, kernel=kernel)
    alone = after(9, [lanes[lane] for lane in chosen], kernel=kernel)
    np.testing.assert_array_equal(alone, together[chosen])


@named(KERNELS)
def test_equal_lanes_stay_equal(kernel):
    """All lanes see the rows in the same order, wherever they stand."""
    found = after(15, [{"lr": 0.1}] * 37, kernel=kernel)
    np.testing.assert_array_equal(found, np.broadcast_to(found[0], found.shape))


@named(KERNELS)
def test_a_lane_that_diverges_harms_no_other(kernel):
    lanes = lanes_of(11)
    wild = [lane | {"lr": 1e6} if index % 3 == 1 else lane for index, lane in enumerate(lanes)]
    calm = np.array([index % 3 != 1 for index in range(11)])
    found, expected = (after(60, some, loss="squared", kernel=kernel, l2=0.0, intercept=True) for some in (wild, lanes))
    np.testing.assert_array_equal(found[calm], expected[calm])
    assert not np.isfinite(found[~calm]).all(axis=1).any()
    assert (found[~calm, -1] > 1).all(), "the first step with a residual that is not finite"


@named(KERNELS)
def test_the_first_bad_step_is_the_first(kernel):
    """Looking at every step finds the same one."""
    lanes = [{"lr": 1e6, "momentum": momentum} for momentum in (0.0, 0.5, 0.9)]
    steps = int(after(60, lanes, loss="squared", kernel=kernel)[:, -1].max())
    cohort, first = cohort_of(lanes, loss="squared", kernel=kernel), np.zeros(3)
    for step in range(1, steps + 1):
        before = cohort.parameters()
        cohort.advance(1)
        rows = cohort.kernels.rows.order[32 * ((step - 1) % 5) :][:32]
        with np.errstate(all="ignore"):
            margins = before[:, :-1] @ X[rows].T + before[:, -1:]
        first[(first == 0) & ~np.isfinite(margins).all(axis=1)] = step
    np.testing.assert_array_equal(cohort.first_bad_step(), first)


# --- lanes that end ---------------------------------------------------------------------------------------------------

masks = st.lists(st.lists(st.booleans(), min_size=37, max_size=37), min_size=1, max_size=4)


@named(KERNELS)
@pytest.mark.parametrize("schedule", [None, "step"])
@settings(max_examples=12)
@given(masks=masks)
def test_retired_lanes_leave_the_others_as_they_are(kernel, schedule, masks):
    lanes = lanes_of(37)
    whole = cohort_of(lanes, kernel=kernel, schedule=schedule)
    shrinking = cohort_of(lanes, kernel=kernel, schedule=schedule)
    for mask in masks:
        whole.advance(3)
        shrinking.advance(3)
        shrinking.retire(np.array(mask)[: len(shrinking.alive)])
        if not len(shrinking.alive):
            return
        np.testing.assert_array_equal(observed(shrinking), observed(whole)[shrinking.alive])


@each_rule()
@named([SMALL, SINGLE])
def test_every_rule_keeps_its_slots_when_lanes_retire(name, kernel):
    lanes = [lane | {"lr": lane["lr"] * factor} for factor in (1, 0.5, 0.2) for lane in grid(name)]
    whole, shrinking = (cohort_of(lanes, name, kernel=kernel) for _ in range(2))
    keep = np.isin(np.arange(12), [2, 7, 11])
    for cohort in (whole, shrinking):
        cohort.advance(6)
    shrinking.retire(keep)
    for _ in range(2):
        np.testing.assert_array_equal(observed(shrinking), observed(whole)[keep])
        for cohort in (whole, shrinking):
            cohort.advance(6)


@named([SINGLE, SMALL])
def test_what_is_reported_does_not_change_when_lanes_retire(kernel):
    """Nesterov's iterate depends on the rate of the step that it comes from."""
    lanes = lanes_of(9)
    cohort = cohort_of(lanes, "nesterov", kernel=kernel, schedule="step")
    cohort.advance(20)
    before, keep = observed(cohort), np.arange(9) == 4
    cohort.retire(keep)
    np.testing.assert_array_equal(observed(cohort), before[keep])


# --- kernels ----------------------------------------------------------------------------------------------------------

OTHER_KERNELS = [HALVES, SMALL, Kernel(8, halves=True), Kernel(8), PARTS, Kernel(8, 16), Kernel(16), Kernel(32)]


@pytest.mark.parametrize("batch_size", [1, 32, 150])
@pytest.mark.parametrize("kernel", spread(OTHER_KERNELS, OTHER_KERNELS[:2]), ids=lambda kernel: kernel.name)
def test_kernels_agree_with_each_other(kernel, batch_size):
    lanes = [{"lr": lr, "momentum": momentum} for lr in (0.01, 0.05, 0.2) for momentum in (CHANGED["momentum"], 0.9)]
    cohorts = [cohort_of(lanes, kernel=each, batch_size=batch_size) for each in (SINGLE, kernel)]
    for cohort in cohorts:
        cohort.advance(40)
    assert relative_error(cohorts[1].parameters(), cohorts[0].parameters()) < 1e-10


@named([SINGLE, SMALL])
def test_checkpoints_have_the_same_bits_however_blocks_and_tiles_are_shared_out(kernel, monkeypatch):
    """Two sets of rows, of three blocks and of one: for more and for fewer workers, in one call and in several."""
    X, y = problem(9_000, 3)
    sets = [(X, y, [LOSSES["logistic"], ZERO_ONE]), (X[:300], y[:300], [LOSSES["squared"]])]

    def found(threads):
        cohort = make_cohort(X, y, lanes_of(13), kernel=kernel, threads=threads, batch_size=3_000)
        cohort.advance(4)
        return np.vstack(cohort.measure(sets).sums)

    expected = found(1)
    assert len(np.unique(expected[0])) == 13
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(found(threads), expected)
    monkeypatch.setattr(Pace, "fitting", lambda *_: 1)
    np.testing.assert_array_equal(found(2), expected)


@named([SINGLE, SMALL])
@pytest.mark.parametrize("init", ["zeros", 0.3])
def test_lanes_that_are_all_the_same_are_measured_once(kernel, init, monkeypatch):
    tiles, sums = [], Evaluation._sums
    monkeypatch.setattr(Evaluation, "_sums", lambda self, W, *rest: tiles.append(len(W)) or sums(self, W, *rest))
    cohort = cohort_of(lanes_of(7), "adam", kernel=kernel, init=init)
    once = [observed(cohort), cohort.advance(3), observed(cohort)]
    assert tiles == [1, 7 if kernel == SINGLE else 2]
    monkeypatch.setattr(Evaluation, "_differing", lambda _, W: W)
    cohort = cohort_of(lanes_of(7), "adam", kernel=kernel, init=init)
    np.testing.assert_array_equal([observed(cohort), cohort.advance(3), observed(cohort)][::2], once[::2])
    assert tiles[2] == tiles[3] == tiles[1]


@pytest.mark.parametrize(("kernel", "sparse"), [(SINGLE, False), (SMALL, False), (Kernel(4), True), (Kernel(8), True)])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_start_at_zero_needs_no_entries(kernel, intercept, sparse, dtype, monkeypatch):
    lanes = lanes_of(1 if kernel == SINGLE else 11)
    cohort = make_cohort(X, Y, lanes, "sgd", kernel=kernel, intercept=intercept, dtype=dtype)
    if sparse:
        spec = replace(cohort.spec, kernel=replace(kernel, sparse=True))
        cohort = sparse_cohort(spec, X.astype(dtype), Y, cohort)
    rows = [(cohort._evaluation._kernels.visit._X, Y.astype(dtype), [LOSSES["logistic"], ZERO_ONE])]
    seen = []
    monkeypatch.setattr(evaluation, "without_entries", lambda X: seen.append(without_entries(X)) or seen[0])
    empty = cohort.measure(rows).sums[0]
    assert seen[0].size == 0
    monkeypatch.setattr(evaluation, "without_entries", lambda X: X)
    np.testing.assert_array_equal(empty, cohort.measure(rows).sums[0])
    cohort.advance(1)
    monkeypatch.setattr(evaluation, "without_entries", lambda _: pytest.fail("the parameters are not zero any more"))
    cohort.measure(rows)
