"""Line searches: against brute force, closed forms and optax, and what holds for any cohort."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import reference
from cohorts import TYPES, make_cohort, problem, relative_error, spread

from fastgd.engine.shapes import Kernel
from fastgd.optimizers.line_search import LINE_SEARCHES, Armijo, Best, Exact

N, D, L2 = 600, 9, 1e-2
LISTED = (0.1, 0.5, 1.0, 5.0, 10.0)
SEARCHES = {"best": Best(LISTED), "armijo": Armijo(), "exact": Exact()}
EACH = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)


def cohort_of(search, rates=(1.0, 2.0), optimizer="sgd", *, n=N, loss="logistic", lanes=None, **options):
    options = {"l2": L2, "init": 0.4, "batch_size": n, "shuffled": False, **options}
    lanes = lanes or [{"lr": lr} for lr in rates]
    return make_cohort(*problem(n, D, loss), lanes, optimizer, loss=loss, line_search=search, **options)


def objective(w, loss="logistic", n=N):
    return reference.objective(*problem(n, D, loss), w, loss=loss, l2=L2, intercept=True)


def gradient(w, loss="logistic", n=N):
    return reference.gradient(*problem(n, D, loss), w, loss=loss, l2=L2, intercept=True)


def followed(cohort, steps):
    """The parameters before each step and the rates that it took, (steps, alive, ...)."""
    points, rates = [], []
    for _ in range(steps):
        points.append(cohort.parameters())
        cohort.advance(1)
        rates.append(cohort.line.rates[cohort.alive].copy())
    return np.array(points), np.array(rates)


def test_every_search_is_tried():
    assert set(SEARCHES) == set(LINE_SEARCHES)


# --- each against what it is to be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["logistic", "squared", "poisson"])
def test_the_best_of_a_list_is_the_best(loss):
    unit = (1.0, 0.3) if loss == "logistic" else (0.1, 0.02)
    cohort = cohort_of(SEARCHES["best"], unit, loss=loss)
    points, rates = followed(cohort, 40)
    for lane, factor in enumerate(unit):
        w = points[0, lane]
        for step in range(40):
            tried = [objective(w - rate * factor * gradient(w, loss), loss) for rate in LISTED]
            chosen = [rate * factor for rate in LISTED].index(rates[step, lane])
            assert tried[chosen] <= min(tried) + 1e-14
            w = w - rates[step, lane] * gradient(w, loss)
        assert relative_error(cohort.parameters()[lane], w) < 1e-12
    np.testing.assert_array_equal(cohort.line.evaluations, 40 * len(LISTED))


def test_the_exact_rate_of_a_squared_loss_has_a_closed_form():
    """g'g / g'Hg; and one gradient is orthogonal to the next."""
    X, _ = problem(N, D, "squared")
    rows = np.column_stack([X, np.ones(N)])
    H = rows.T @ rows / N + np.diag(np.append(np.full(D, L2), 0.0))
    points, rates = followed(cohort_of(SEARCHES["exact"], loss="squared"), 12)
    for step in range(11):
        g, following = (gradient(points[at, 0], "squared") for at in (step, step + 1))
        np.testing.assert_allclose(rates[step], g @ g / (g @ H @ g), rtol=1e-8)
        assert abs(g @ following) < 1e-7 * (g @ g)


@pytest.mark.parametrize("loss", ["logistic", "poisson", "sigmoid_squared"])
def test_the_exact_rate_is_a_minimum_along_the_line(loss):
    points, rates = followed(cohort_of(SEARCHES["exact"], (0.5, 2.0), loss=loss), 15)
    for lane in range(2):
        for w, rate in zip(points[:, lane], rates[:, lane], strict=True):
            g = gradient(w, loss)
            assert abs(gradient(w - rate * g, loss) @ g) < 1e-9 * (g @ g) + 1e-20
            assert objective(w - rate * g, loss) <= objective(w, loss) + 1e-15


def test_armijo_against_optax():
    jax = pytest.importorskip("jax", reason="the witness of backtracking is optax's, which runs on jax")
    optax = pytest.importorskip("optax", reason="the witness of backtracking is optax's")
    jax.config.update("jax_enable_x64", True)
    rows, targets = problem(N, D)
    rows = rows * np.geomspace(1, 0.01, D)  # far from the minimum all the way: at it, rounding decides
    X, y = map(jax.numpy.asarray, (rows, targets))

    def loss(w):
        z = X @ w[:D] + w[D]
        return (jax.numpy.logaddexp(0, z) - y * z).mean()

    for search in (Armijo(), Armijo(shrink=0.5, slope=0.3, grow=3.0), Armijo(shrink=0.5, backtracks=2)):
        cohort = make_cohort(rows, targets, [{"lr": 20.0}], "sgd", line_search=search, init=0.4, batch_size=N)
        w = jax.numpy.asarray(cohort.parameters()[0])
        backtracking = optax.scale_by_backtracking_linesearch(
            search.backtracks, slope_rtol=search.slope, decrease_factor=search.shrink, increase_factor=search.grow,
            max_learning_rate=20.0,
        )  # fmt: skip
        opt = optax.chain(optax.scale(-1.0), backtracking)
        # optax begins at 1, whatever the largest rate is; here a run begins at the largest
        state = opt.init(w)
        state = (state[0], state[1]._replace(learning_rate=jax.numpy.asarray(20.0)))

        @jax.jit
        def step(w, state, opt=opt):
            value, g = jax.value_and_grad(loss)(w)
            updates, state = opt.update(g, state, w, value=value, grad=g, value_fn=loss)
            return optax.apply_updates(w, updates), state

        evaluations = 0
        for _ in range(150):
            w, state = step(w, state)
            evaluations += int(state[1].info.num_linesearch_steps)
            cohort.advance(1)
            assert cohort.line.rates[0] == pytest.approx(float(state[1].learning_rate), rel=1e-12)
        assert relative_error(cohort.parameters()[0], np.asarray(w)) < 1e-10
        assert cohort.line.evaluations[0] == evaluations


@pytest.mark.parametrize("search", [Armijo(), Armijo(shrink=0.5, slope=0.3, grow=3.0), Armijo(backtracks=2)], ids=str)
def test_armijo_is_its_equation(search):
    """Written out, with every evaluation counted; rates are compared while descents are far from rounding."""
    cohort = cohort_of(search, (20.0, 0.5))
    points, rates = followed(cohort, 12)
    for lane, largest in enumerate(cohort.spec.hyper[:, 0]):
        before, evaluations = largest, 0
        for w, found in zip(points[:, lane], rates[:, lane], strict=True):
            g, rate = gradient(w), min(search.grow * before, largest)
            for backtrack in range(search.backtracks + 1):
                rate *= search.shrink if backtrack else 1
                evaluations += 1
                if objective(w - rate * g) <= objective(w) - search.slope * rate * g @ g:
                    break
            assert found == pytest.approx(rate, rel=1e-12)
            before = rate
        assert cohort.line.evaluations[lane] == evaluations


@TYPES
def test_an_exact_search_comes_back_from_where_the_objective_overflows(dtype):
    """exp(z) is infinite at the first rates that are tried."""
    cohort = cohort_of(SEARCHES["exact"], (1e-3, 1e4), loss="poisson", dtype=dtype, kernel=Kernel(4, 2))
    descent = np.array([[objective(w, "poisson") for w in lanes] for lanes in followed(cohort, 30)[0]])
    assert (np.diff(descent, axis=0) < 1e-6).all()
    np.testing.assert_allclose(descent[-1], descent[-1, 0], rtol=1e-6)


def test_they_need_fewer_steps_than_the_best_fixed_rate_of_the_list():
    fixed = make_cohort(*problem(N, D), [{"lr": lr} for lr in LISTED], "sgd", l2=L2, batch_size=N, init=0.4)
    fixed.advance(10)
    best = min(map(objective, fixed.parameters()))
    for search in (SEARCHES["best"], SEARCHES["exact"]):
        cohort = cohort_of(search, (1.0,))
        cohort.advance(10)
        assert objective(cohort.parameters()[0]) <= best + 1e-12


# --- with other rules and options -------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("name", spread(["momentum", "adam", "adagrad", "lion"]))
def test_it_goes_with_rules_whose_step_is_a_rate_times_a_direction(name, search):
    """The rule's own state goes on as if its rate had been scheduled."""
    cohort = cohort_of(search, (0.5,), name)
    start = cohort.parameters()[0]
    _, rates = followed(cohort, 8)

    class Chosen:
        per_step = True

        def __call__(self, first, steps):
            return rates[first : first + steps, None, :]

    again = make_cohort(
        *problem(N, D), [{"lr": 0.5}], name, l2=L2, init=0.4, batch_size=N, shuffled=False, kernel=Kernel(4, 16),
        scheduled=("lr",), schedule=Chosen(),
    )  # fmt: skip
    np.testing.assert_array_equal(again.parameters()[0], start)
    again.advance(8)
    np.testing.assert_array_equal(again.parameters(), cohort.parameters())


def test_it_looks_along_the_clipped_step_and_reports_the_average():
    options = {"around": {"clip": "norm", "averaging": "polyak"}, "lanes": [{"lr": 1.0, "clip.norm": 0.05}]}
    cohort = cohort_of(SEARCHES["best"], **options)
    w, average = cohort.parameters()[0], 0.0
    for t in range(1, 11):
        g = gradient(w)
        g = g * min(1, 0.05 / (np.linalg.norm(g) + 1e-6))
        w = min((w - rate * g for rate in LISTED), key=objective)
        average = average + (w - average) / t
    cohort.advance(10)
    assert relative_error(cohort.parameters()[0], average) < 1e-12


# --- what holds for any cohort ----------------------------------------------------------------------------------------


@EACH
@TYPES
def test_bits_do_not_depend_on_threads_pieces_or_neighbours(search, dtype):
    """Over several blocks of rows and several tiles."""
    rates = np.geomspace(0.1, 5.0, 9)
    options = {"n": 5000, "kernel": Kernel(4, 2), "dtype": dtype}
    whole, cut, retired = (cohort_of(search, rates, **options, threads=threads) for threads in (1, 2, 3))
    whole.advance(7)
    for steps in (1, 3):
        cut.advance(steps)
        retired.advance(steps)
    keep = np.isin(np.arange(9), (0, 4, 8))
    retired.retire(keep)
    for rest in (cut, retired):
        rest.advance(3)
    for mine, kept in ((cut, slice(None)), (retired, keep)):
        np.testing.assert_array_equal(mine.parameters(), whole.parameters()[kept])
        np.testing.assert_array_equal(mine.line.rates[mine.alive], whole.line.rates[kept])
        np.testing.assert_array_equal(mine.line.evaluations[mine.alive], whole.line.evaluations[kept])
    alone = cohort_of(search, rates[4:5], **options)
    alone.advance(7)
    np.testing.assert_array_equal(alone.parameters(), whole.parameters()[4:5])


@EACH
def test_the_length_of_calls_changes_nothing(search, monkeypatch):
    ends = []
    for seconds in (1e3, 1e-9):
        for module in ("calls", "linear.line_search"):
            monkeypatch.setattr(f"fastgd.engine.{module}.CALL_SECONDS", seconds)
        cohort = cohort_of(search, n=5000, kernel=Kernel(4, 2))
        cohort.advance(4)
        ends.append(np.column_stack([cohort.parameters(), cohort.line.rates, cohort.line.evaluations]))
    np.testing.assert_array_equal(ends[1], ends[0])


@pytest.mark.parametrize("search", spread(SEARCHES, ["exact"]))
def test_float32_is_near(search):
    ends = []
    for dtype in ("float64", "float32"):
        cohort = cohort_of(SEARCHES[search], dtype=dtype)
        cohort.advance(5)
        ends.append(cohort.parameters())
    assert relative_error(ends[1], ends[0]) < 1e-3


def test_lanes_without_a_minimum_along_the_line_stay_finite():
    """Rows that a plane separates: the further, the better."""
    X = np.array([[1.0], [2.0], [-1.0], [-3.0]])
    y = (X[:, 0] > 0).astype(float)
    cohort = make_cohort(X, y, [{"lr": 1.0}], "sgd", line_search=Exact(doublings=5), batch_size=4, intercept=False)
    cohort.advance(1)
    np.testing.assert_array_equal(cohort.line.rates, 2.0**5)
    cohort.advance(20)
    assert np.isfinite(cohort.parameters()).all()


@EACH
def test_a_lane_that_is_lost_harms_no_other(search):
    """Its objective is infinite from the start."""
    lanes = [{"lr": 1e300}, {"lr": 0.1}]
    both = cohort_of(search, lanes=lanes, loss="poisson", init=0.4)
    alone = cohort_of(search, lanes=lanes[1:], loss="poisson", init=0.4)
    for cohort in (both, alone):
        cohort.advance(5)
    np.testing.assert_array_equal(both.parameters()[1], alone.parameters()[0])


def test_a_search_that_found_no_finite_rate_begins_anew():
    """At a rate of 0 nothing moves: the next step tries the largest rate again, not 0 for ever."""
    search = Armijo(shrink=0.5, backtracks=3)
    line = SimpleNamespace(
        value=np.zeros(1), slope=-np.ones(1), values=lambda rates, which: np.where(rates > 1, np.inf, -rates)
    )
    lost = search.search(line, np.array([100.0]), np.array([100.0]))
    np.testing.assert_array_equal(lost, 0.0)
    np.testing.assert_array_equal(search.search(line, np.array([4.0]), lost), 1.0)


@EACH
def test_a_search_that_is_interrupted_is_made_again(search):
    """It counts once: the cohort goes on from the step before, as one that was not interrupted."""
    whole, cut = cohort_of(search), cohort_of(search)
    whole.advance(6)
    for polls in (2, 3, 5, 8):
        with pytest.raises(StopIteration):
            cut.advance(6, partial(next, iter([None] * polls)))
        again = cohort_of(search)
        again.restore(cut.capture())
        cut = again
    cut.advance(6 - cut.t)
    np.testing.assert_array_equal(cut.parameters(), whole.parameters())
    np.testing.assert_array_equal(cut.line.evaluations, whole.line.evaluations)
