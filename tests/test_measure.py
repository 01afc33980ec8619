"""What rules get that need sums over all parameters and the batch's objective, in every kernel."""

from functools import cache
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
import pytest
import reference
from cohorts import PARTS, SINGLE, SMALL, TYPES, in_python, make_cohort, problem, relative_error, spread
from test_engine_bits import Falling

import fastgd
from fastgd import optimizer
from fastgd.engine.shapes import Kernel
from fastgd.optimizers.arrays import SINGLE_THREAD as SERIAL
from fastgd.optimizers.arrays import ArrayOptimizer
from fastgd.optimizers.record import Rate

N, STEPS, L2 = 600, 20, (0.0, 1e-3, 0.1, 1e-2)
LANES = [{"lr": lr, "weight_decay": decay} for lr, decay in ((0.1, 0.0), (0.2, 0.05), (0.5, 0.2), (1.0, 0.0))]
# (kernel, batch): a batch of a tile in one piece and in several of 256 rows, a lane alone, and parts of a full batch.
CASES = [(SMALL, 64), (SMALL, 300), (SMALL, N), (SINGLE, 64), (SINGLE, 300), (PARTS, N)]
WIDE = [(Kernel(16), 300)]  # several vectors of lanes


def kernels(cases):
    return pytest.mark.parametrize(
        ("kernel", "batch_size"), cases, ids=lambda each: getattr(each, "name", f"{each} rows")
    )


KERNELS = kernels(CASES)


@optimizer(slots=("last",), memory={"total": 0.0, "sum_of_ones": 1.0}, batch_loss=True)
class Toy(NamedTuple):
    """A rule in which everything counts: sums of weights, gradients and slots, the objective, memory and the step.

    `w * 0 + 1` counts the parameters: padding must not be among them.
    """

    lr: Rate
    weight_decay: float = 0.0

    def prepare(h, t, m):  # noqa: N805
        return (1 / (1 + 0.1 * h.lr * t),), (m[0], m[1] + 1)

    def measure(h, c, w, g, s):  # noqa: N805
        return g * g, c[0] * w * s[0] + h.weight_decay * w, w * 0 + 1

    def conclude(h, c, t, m, sums, loss):  # noqa: N805
        total = m[0] + loss
        rate = h.lr * c[0] * total / (t * np.sqrt(1 + sums[0]))
        return (rate, 0.01 * sums[1]), (total, m[1] + sums[2] * h.lr)

    def rule(h, c, w, g, s):  # noqa: N805
        return w - c[0] * (g + h.weight_decay * w) - h.lr * c[1] * s[0], (g,)


@cache
def rows(d):
    return problem(N, d)


def cohort_of(d=9, lanes=LANES, **options):
    common = {"init": 0.5, "l2": np.resize(L2, len(lanes))}
    return make_cohort(*rows(d), lanes, Toy.optimizer, **common | options)


def memory_of(cohort):
    """The memory (alive, numbers)."""
    return cohort.layout.gather(cohort.lanes.memory)[:, cohort.places].T


def by_numpy(d, batch_size, intercept, lane, l2, start, lr_of=None):
    """The toy, written out: the parameters and the memory."""
    X, y = rows(d)
    options = {"loss": "logistic", "l2": l2, "intercept": intercept}
    w, last, total, other = start, np.zeros(len(start)), 0.0, 1.0
    decay = lane["weight_decay"] * np.append(np.ones(d), 0.0)[: len(w)]
    for t, at in enumerate(islice(reference.batches(N, batch_size, 3), STEPS), 1):
        lr = lr_of(t) if lr_of else lane["lr"]
        g = reference.gradient(X[at], y[at], w, **options)
        total += reference.objective(X[at], y[at], w, **options)
        other += 1 + len(w) * lr
        prepared = 1 / (1 + 0.1 * lr * t)
        moved = 0.01 * np.sum(prepared * w * last + decay * w)
        w, last = w - lr * prepared * total / (t * np.sqrt(1 + g @ g)) * (g + decay * w) - lr * moved * last, g
    return w, (total, other)


@kernels(spread(CASES + WIDE, CASES))
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no intercept"])
@pytest.mark.parametrize("d", [1, 9, 16])
def test_sums_are_of_all_parameters_and_of_nothing_else(d, intercept, kernel, batch_size):
    cohort = cohort_of(d, intercept=intercept, kernel=kernel, batch_size=batch_size)
    start = cohort.parameters()[0]
    cohort.advance(STEPS)
    for found, memory, lane, l2 in zip(cohort.parameters(), memory_of(cohort), LANES, L2, strict=True):
        expected, kept = by_numpy(d, batch_size, intercept, lane, l2, start)
        assert relative_error(found, expected) < 1e-12
        np.testing.assert_allclose(memory, kept, rtol=1e-12)


@KERNELS
def test_scheduled_values_reach_measure_and_conclude(kernel, batch_size):
    class Rates(Falling):
        def __call__(self, first, steps):
            return super().__call__(first, steps)[:, :1]

    schedule = Rates(LANES, True, -(-N // batch_size))
    cohort = cohort_of(kernel=kernel, batch_size=batch_size, scheduled=("lr",), schedule=schedule)
    start = cohort.parameters()[0]
    cohort.advance(STEPS)
    for i, found in enumerate(cohort.parameters()):
        rates = schedule(0, STEPS)[:, 0, i]
        expected, _ = by_numpy(9, batch_size, True, LANES[i], L2[i], start, lambda t, rates=rates: rates[t - 1])
        assert relative_error(found, expected) < 1e-12


@kernels(spread(CASES, [case for case in CASES if case[0] != SINGLE]))
def test_float32_is_near(kernel, batch_size):
    ends = []
    for dtype in ("float64", "float32"):
        cohort = cohort_of(kernel=kernel, batch_size=batch_size, dtype=dtype)
        cohort.advance(STEPS)
        ends.append((cohort.parameters(), memory_of(cohort)))
    assert relative_error(ends[1][0], ends[0][0]) < 1e-5
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-5)


@KERNELS
@TYPES
def test_the_number_of_threads_changes_no_bit(kernel, batch_size, dtype):
    ends = []
    for threads in (1, 2, 3):
        cohort = cohort_of(lanes=LANES * 10, kernel=kernel, batch_size=batch_size, dtype=dtype, threads=threads)
        cohort.advance(STEPS)
        ends.append(np.column_stack([cohort.parameters(), memory_of(cohort)]))
    np.testing.assert_array_equal(ends[1], ends[0])
    np.testing.assert_array_equal(ends[2], ends[0])


@KERNELS
@TYPES
def test_steps_may_be_cut(kernel, batch_size, dtype):
    whole, cut = (cohort_of(kernel=kernel, batch_size=batch_size, dtype=dtype) for _ in range(2))
    whole.advance(STEPS)
    for steps in (1, 6, STEPS - 7):
        cut.advance(steps)
    np.testing.assert_array_equal(cut.parameters(), whole.parameters())
    np.testing.assert_array_equal(memory_of(cut), memory_of(whole))


@KERNELS
@TYPES
def test_a_lane_alone_and_lanes_that_stay_keep_their_memory(kernel, batch_size, dtype):
    lanes, l2 = LANES * 10, np.resize(L2, 40)
    cohort = cohort_of(lanes=lanes, kernel=kernel, batch_size=batch_size, dtype=dtype)
    cohort.advance(7)
    before = memory_of(cohort)
    keep = np.isin(np.arange(40), (1, 18, 35))
    cohort.retire(keep)
    np.testing.assert_array_equal(memory_of(cohort), before[keep])
    cohort.advance(STEPS - 7)
    for found, memory, lane in zip(cohort.parameters(), memory_of(cohort), cohort.alive, strict=True):
        options = {"kernel": kernel, "batch_size": batch_size, "dtype": dtype, "l2": l2[lane : lane + 1]}
        alone = cohort_of(lanes=lanes[lane : lane + 1], **options)
        alone.advance(STEPS)
        np.testing.assert_array_equal(found, alone.parameters()[0])
        np.testing.assert_array_equal(memory, memory_of(alone)[0])


@pytest.mark.parametrize("loss", ["squared", "hinge", "poisson"])
def test_the_objective_is_that_of_the_loss(loss):
    X, y = problem(N, 9, loss)
    for kernel, batch_size in ((SMALL, 64), (SMALL, 300), (SINGLE, 64), (PARTS, N)):
        cohort = make_cohort(
            X, y, LANES, Toy.optimizer, loss=loss, l2=L2, init=0.5, kernel=kernel, batch_size=batch_size
        )
        w = cohort.parameters()[0]
        cohort.advance(1)
        at = next(reference.batches(N, batch_size, 3))
        expected = [reference.objective(X[at], y[at], w, loss=loss, l2=l2, intercept=True) for l2 in L2]
        np.testing.assert_allclose(memory_of(cohort)[:, 0], expected, rtol=1e-12)


# --- without the objective, with an option ----------------------------------------------------------------------------


@optimizer()
class Normalised(NamedTuple):
    """Without prepare, memory, slots or the objective, which is 0 then; `how` is decided while compiling."""

    lr: Rate
    how: Literal["two", "one"] = "two"

    def measure(h, c, w, g, s):  # noqa: N805
        return (g * g,) if h.how == "two" else (np.abs(g),)

    def conclude(h, c, t, m, sums, loss):  # noqa: N805
        return (h.lr / (np.sqrt(sums[0]) if h.how == "two" else sums[0]) + loss,), m

    def rule(h, c, w, g, s):  # noqa: N805
        return w - c[0] * g, s


NORMS, SHAPES = [("two", 2), ("one", 1)], [(SMALL, 64), (SINGLE, 64), (PARTS, N)]


@pytest.mark.parametrize(
    ("how", "order", "kernel", "batch_size"),
    spread(
        [(*norm, *shape) for norm in NORMS for shape in SHAPES],
        [*((*NORMS[0], *shape) for shape in SHAPES), (*NORMS[1], *SHAPES[0])],
    ),
)
def test_a_rule_of_ones_own_with_nothing_but_a_norm(how, order, kernel, batch_size):
    X, y = rows(9)
    lanes = [{"lr": 0.01}, {"lr": 0.02}]
    cohort = make_cohort(X, y, lanes, Normalised.optimizer, options={"how": how}, kernel=kernel, batch_size=batch_size)
    cohort.advance(STEPS)
    for found, lane in zip(cohort.parameters(), lanes, strict=True):
        w = np.zeros(10)
        for at in islice(reference.batches(N, batch_size, 3), STEPS):
            g = reference.gradient(X[at], y[at], w, loss="logistic", intercept=True)
            w = w - lane["lr"] * g / np.linalg.norm(g, order)
        assert relative_error(found, w) < 1e-12


# --- arrays of one's own ----------------------------------------------------------------------------------------------

SIZES = [1, 7, 100, 70_000, 3 * SERIAL + 5]


def stepped(size, dtype, threads):
    rng = np.random.default_rng(size)
    start, *gradients = rng.standard_normal((6, size)).astype(dtype)
    made = ArrayOptimizer(Toy.optimizer, start.copy(), threads=threads, lr=0.3, weight_decay=0.1)
    for t, g in enumerate(gradients):
        made.step(g, loss=2.5 / (1 + t))
    return start, gradients, made


@TYPES
@pytest.mark.parametrize("size", SIZES)
def test_the_step_on_an_array_sums_over_all_of_it(size, dtype):
    start, gradients, made = stepped(size, dtype, 2)

    def evaluate(t, w):
        return gradients[t - 1].astype(float), 2.5 / t

    values = {"lr": 0.3, "weight_decay": 0.1}
    expected = in_python(Toy.optimizer, start.astype(float), evaluate, len(gradients), values)
    np.testing.assert_allclose(made.w, expected, rtol=0, atol=1e-12 if dtype == "float64" else 2e-5)


@TYPES
@pytest.mark.parametrize("size", SIZES)
def test_the_step_on_an_array_has_the_same_bits_for_any_threads(size, dtype):
    first, *others = (stepped(size, dtype, threads)[2].w for threads in (1, 2, 5))
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_the_step_on_an_array_asks_for_the_objective():
    made = ArrayOptimizer(Toy.optimizer, np.ones(3), lr=0.1)
    with pytest.raises(fastgd.InputError, match=r"needs the objective at w: step\(g, loss="):
        made.step(np.ones(3))
    assert made.t == 0
    ArrayOptimizer(Normalised.optimizer, np.ones(3), lr=0.1).step(np.ones(3))
