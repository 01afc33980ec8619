"""Rules that need the batch's objective, against optax, the published equations and what the papers prove of them."""

from collections import defaultdict
from functools import cache
from inspect import signature
from itertools import islice

import numpy as np
import pytest
import reference
import reference_model_based
from cohorts import SMALL, in_python, make_cohort, on_kernels, problem, relative_error, spread
from scipy.optimize import minimize

from fastgd.engine.rows.order import start_values
from fastgd.optimizers import OPTIMIZERS

N, D, STEPS, SEED, SCALE = 600, 9, 1000, 3, 1.0
L2 = (0.0, 1e-3, 0.0, 1e-2)
X, Y = problem(N, D)
# Far from the minimum after all steps: close to it the gap is a difference of rounded numbers, by which steps differ.
X *= np.logspace(0, -2, D)
BATCHES = pytest.mark.parametrize("batch_size", spread([64, N], [64]), ids=["mini-batch", "full batch"])

# Two lanes with optax's defaults, at rates that decide, and two with other values, where the model decides most steps.
# With an estimated bound and less momentum the estimate's jumps would decide near a minimum, by rounded numbers.
LANES = {
    "polyak": [
        {"lr": 1.0},
        {"lr": 0.5, "max_lr": 6.0, "optimum": 0.6},
        {"lr": 0.5},
        {"lr": 0.7, "max_lr": 6.0, "optimum": 0.6, "eps": 1e-3},
    ],
    "momo": [
        {"lr": 1.0},
        {"lr": 3.0, "beta": 0.7, "lower_bound": 0.55},
        {"lr": 0.3},
        {"lr": 2.0, "beta": 0.8, "lower_bound": 0.6},
    ],
    "momo, estimated": [
        {"lr": 0.3},
        {"lr": 0.5, "beta": 0.97, "lower_bound": 0.2},
        {"lr": 0.1},
        {"lr": 3.0, "beta": 0.97, "lower_bound": 0.3},
    ],
    "momo_adam": [
        {"lr": 0.003},
        {"lr": 0.1, "beta1": 0.7, "beta2": 0.95, "eps": 1e-3, "lower_bound": 0.55},
        {"lr": 0.001},
        {"lr": 0.03, "beta1": 0.8, "beta2": 0.99, "eps": 1e-2, "lower_bound": 0.6},
    ],
    "momo_adam, estimated": [
        {"lr": 0.003},
        {"lr": 0.01, "beta1": 0.97, "beta2": 0.95, "eps": 1e-3, "lower_bound": 0.3},
        {"lr": 0.001},
        {"lr": 0.02, "beta1": 0.99, "beta2": 0.95, "eps": 1e-3, "lower_bound": 0.3},
    ],
}
CASES = [
    ("polyak", {}),
    ("polyak", {"form": "sps+"}),
    *((name, {"adapt_lower_bound": adapt}) for name in ("momo", "momo_adam") for adapt in (False, True)),
]
ADASPS = [("polyak", {"form": "adasps"})]
DECAYING = CASES[2:]
ARGUMENTS = {"lr": "learning_rate", "beta1": "b1", "beta2": "b2"}


def cases(table):
    named = [pytest.param(*case, id=",".join([case[0], *map(str, case[1].values())])) for case in table]
    return pytest.mark.parametrize(("name", "options"), named)


def lanes_of(name, options, decay=0.0):
    lanes = LANES[name + ", estimated" * options.get("adapt_lower_bound", False)]
    return [lane | ({"weight_decay": decay} if decay else {}) for lane in lanes]


def filled(name, lane):
    return {key: lane.get(key, default) for key, default in OPTIMIZERS[name].hyper.items()}


def undecayed(lane):
    """With a decay for each parameter: an intercept has none."""
    decay = lane.get("weight_decay")
    return lane if decay is None else lane | {"weight_decay": np.append(np.full(D, decay), 0.0)}


class Gradient:
    """The gradient of a batch's objective, which is its attribute."""

    def __init__(self, rows, y, l2=0.0, loss="logistic", intercept=True):
        self.rows, self.options = (rows, y), {"loss": loss, "l2": l2, "intercept": intercept}

    def __call__(self, w):
        return reference.gradient(*self.rows, w, **self.options)

    def objective(self, w):
        return reference.objective(*self.rows, w, **self.options)


def batch_gradients(batch_size, l2):
    return [Gradient(X[at], Y[at], l2) for at in islice(reference.batches(N, batch_size), -(-N // batch_size))]


def of_batches(gradients):
    """What `in_python` calls: the gradient and the objective of step t."""

    def evaluate(t, w):
        gradient = gradients[(t - 1) % len(gradients)]
        return gradient(w), gradient.objective(w)

    return evaluate


def by_functions(name, options, batch_size, lane, l2):
    evaluate, start = of_batches(batch_gradients(batch_size, l2)), start_values(SCALE, SEED, D + 1)
    return in_python(name, start, evaluate, STEPS, undecayed(lane), options)


def by_equations(name, options, batch_size, lane, l2):
    gradients, w, memory = batch_gradients(batch_size, l2), start_values(SCALE, SEED, D + 1), defaultdict(float)
    values = undecayed(filled(name, lane)) | options
    for t in range(1, STEPS + 1):
        w = reference_model_based.OPTIMIZERS[name](w, gradients[(t - 1) % len(gradients)], t, memory, **values)
    return w


def by_engine(name, options, lanes, **others):
    common = {"shuffled": False, "init": SCALE, "seed": SEED, "options": options, "l2": L2}
    cohort = make_cohort(X, Y, lanes, name, **common | others)
    cohort.advance(STEPS)
    return cohort.parameters()


# --- optax ------------------------------------------------------------------------------------------------------------


def witness(name, values):
    """The transformation of optax; of Polyak's step what its text says: there `scaling` enters the norm too."""
    import optax

    if name == "polyak":
        scaled = optax.scale_by_polyak(values["optimum"], values["max_lr"], values["eps"], values["form"])
        return optax.chain(scaled, optax.scale(-values["lr"]))
    return getattr(optax.contrib, name)(**{ARGUMENTS.get(key, key): value for key, value in values.items()})


@cache
def by_optax(name, options, batch_size, decay=0.0, intercept=True):
    """The iterates (lanes, parameters) of optax, the last an intercept."""
    jax = pytest.importorskip("jax", reason="the witnesses of these rules are optax's optimizers, which run on jax")
    pytest.importorskip("optax", reason="the witnesses of these rules are optax's optimizers")
    jnp = jax.numpy
    A = np.column_stack([X, np.ones(N)]) if intercept else X
    penalised = np.append(np.ones(D), 0.0)[: A.shape[1]]
    # Batches are filled up with rows that weigh nothing.
    count = -(-N // batch_size)
    fill = count * batch_size - N
    padded = np.pad(A, ((0, fill), (0, 0))).reshape(count, batch_size, -1)
    labels, real = (np.pad(values, (0, fill)).reshape(count, batch_size) for values in (Y, np.ones(N)))

    def train(lane, l2):
        optimizer = witness(name, lane | dict(options))

        def objective(w, batch):
            margins, y, weights = rows[batch] @ w, targets[batch], shares[batch]
            return weights @ (jnp.logaddexp(0, margins) - y * margins) + l2 / 2 * jnp.sum(penalised * w * w)

        def step(state, batch):
            w, inner = state
            value, gradient = jax.value_and_grad(objective)(w, batch)
            updates, inner = optimizer.update(gradient, inner, w, value=value)
            return (w + updates, inner), None

        start = jnp.array(start_values(SCALE, SEED, A.shape[1]))
        return jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(STEPS) % count)[0][0]

    with jax.enable_x64(True):
        rows, targets, shares = (jnp.array(part) for part in (padded, labels, real / real.sum(axis=1, keepdims=True)))
        lanes = [filled(name, lane) for lane in lanes_of(name, dict(options), decay)]
        values = {key: jnp.array([lane[key] for lane in lanes], float) for key in lanes[0]}
        return np.asarray(jax.jit(jax.vmap(train))(values, jnp.array(L2)))


def complete(name, options):
    return tuple({key: options.get(key, values[0]) for key, values in OPTIMIZERS[name].options.items()}.items())


def test_every_rule_of_this_family_is_here():
    family = {name for name, record in OPTIMIZERS.items() if record.family == "model-based"}
    assert family == {name for name, _ in CASES} == set(reference_model_based.OPTIMIZERS)


def test_defaults_are_those_of_the_witness():
    optax = pytest.importorskip("optax", reason="the witnesses of these rules are optax's optimizers")
    functions = {"polyak": optax.polyak_sgd, "momo": optax.contrib.momo, "momo_adam": optax.contrib.momo_adam}
    others = {"polyak": {"lr": "scaling", "max_lr": "max_learning_rate", "optimum": "f_min", "form": "variant"}}
    for name, function in functions.items():
        theirs = {key: value.default for key, value in signature(function).parameters.items()}
        record = OPTIMIZERS[name]
        ours = record.hyper | {key: values[0] for key, values in record.options.items()}
        arguments = others.get(name, ARGUMENTS)
        assert {arguments.get(key, key): value for key, value in ours.items()} == theirs


@BATCHES
@cases(CASES)
def test_functions_agree_with_optax_after_1000_steps(name, options, batch_size):
    expected = by_optax(name, complete(name, options), batch_size)
    found = [by_functions(name, options, batch_size, *lane) for lane in zip(lanes_of(name, options), L2, strict=True)]
    assert relative_error(np.array(found), expected) < 1e-10


@pytest.mark.parametrize(("name", "options", "kernel", "batch_size"), on_kernels(CASES, N))
def test_engine_agrees_with_optax_after_1000_steps(name, options, kernel, batch_size):
    found = by_engine(name, options, lanes_of(name, options), batch_size=batch_size, kernel=kernel)
    assert relative_error(found, by_optax(name, complete(name, options), batch_size)) < 1e-10


@cases(DECAYING)
def test_decay_agrees_with_optax_without_an_intercept(name, options):
    lanes = lanes_of(name, options, decay=0.01)
    found = by_engine(name, options, lanes, batch_size=64, kernel=SMALL, intercept=False)
    expected = by_optax(name, complete(name, options), 64, decay=0.01, intercept=False)
    assert relative_error(found, expected) < 1e-10
    assert relative_error(found, by_optax(name, complete(name, options), 64, intercept=False)) > 1e-4


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_scaled_polyak_step_is_that_of_its_formula(scale):
    """Of the code that optax has, at `scaling = 1`; with another one its code divides by it instead."""
    jax = pytest.importorskip("jax", reason="the witness is optax's optimizer, which runs on jax")
    optax = pytest.importorskip("optax", reason="the witness is optax's optimizer")
    w, g, value = np.array([1.0, -2.0, 3.0]), np.array([2.0, 1.0, -1.0]), 2.4
    with jax.enable_x64(True):
        optimizer = optax.polyak_sgd(max_learning_rate=10.0, scaling=scale)
        update, _ = optimizer.update(jax.numpy.array(g), optimizer.init(jax.numpy.array(w)), value=value)
    found = in_python("polyak", w, lambda t, w: (g, value), 1, {"lr": scale, "max_lr": 10.0})
    np.testing.assert_allclose(found - w, np.asarray(update) * scale**2, rtol=1e-14)
    np.testing.assert_allclose(found, w - scale * value / 6 * g, rtol=1e-14)


# --- the published equations ------------------------------------------------------------------------------------------


@BATCHES
@cases(CASES + ADASPS)
def test_functions_agree_with_the_equations(name, options, batch_size):
    for lane in zip(lanes_of(name, options), L2, strict=True):
        found, expected = (by(name, options, batch_size, *lane) for by in (by_functions, by_equations))
        assert relative_error(found, expected) < 1e-10


@cases(DECAYING)
def test_an_intercept_does_not_decay_in_the_model_either(name, options):
    lanes = lanes_of(name, options, decay=0.01)
    found = by_engine(name, options, lanes, batch_size=64, kernel=SMALL)
    expected = [by_equations(name, options, 64, *lane) for lane in zip(lanes, L2, strict=True)]
    assert relative_error(found, np.array(expected)) < 1e-10
    functions = [by_functions(name, options, 64, *lane) for lane in zip(lanes, L2, strict=True)]
    assert relative_error(np.array(functions), np.array(expected)) < 1e-10


@pytest.mark.parametrize(("name", "options", "kernel", "batch_size"), on_kernels(ADASPS, N))
def test_engine_agrees_with_adasps(name, options, kernel, batch_size):
    found = by_engine(name, options, lanes_of(name, options), batch_size=batch_size, kernel=kernel)
    expected = [by_equations(name, options, batch_size, *lane) for lane in zip(LANES[name], L2, strict=True)]
    assert relative_error(found, np.array(expected)) < 1e-10


@pytest.mark.full
def test_engine_in_float32_is_near():
    for name, options in CASES + ADASPS:
        lanes = lanes_of(name, options)
        ends = [
            make_cohort(X, Y, lanes, name, options=options, l2=L2, init=SCALE, kernel=SMALL, dtype=dtype)
            for dtype in ("float64", "float32")
        ]
        for cohort in ends:
            cohort.advance(50)
        assert relative_error(ends[1].parameters(), ends[0].parameters()) < 2e-4


# --- what the papers prove --------------------------------------------------------------------------------------------


def walk(form, start, gradients, steps, values):
    """The iterates (steps + 1, parameters) of Polyak's rule, the start first."""
    points, evaluate = [], of_batches(gradients)

    def evaluate_and_keep(t, w):
        points.append(w)
        return evaluate(t, w)

    end = in_python("polyak", start, evaluate_and_keep, steps, values, {"form": form})
    return np.array([*points, end])


def minimiser(gradient, start):
    found = minimize(gradient.objective, start, jac=gradient, method="BFGS", options={"gtol": 1e-12}).x
    step = 1e-4 * np.eye(len(start))
    for _ in range(3):  # Newton's steps, with differences of the gradient
        hessian = np.array([(gradient(found + e) - gradient(found - e)) / 2e-4 for e in step])
        found = found - np.linalg.solve(hessian, gradient(found))
    return found


@pytest.mark.parametrize("max_lr", [1e9, 2.0])
@pytest.mark.parametrize("form", ["sps", "sps+"])
@pytest.mark.parametrize("seed", range(5))
def test_polyak_never_moves_away_from_the_minimiser(seed, form, max_lr):
    """Polyak (1987): of a convex objective, with its least value; at any rate up to twice the step."""
    x, y = problem(80, 5, seed=seed)
    gradient = Gradient(x, y, l2=1e-3)
    start = 3 * np.random.default_rng(seed).standard_normal(6)
    best = minimiser(gradient, start)
    for lr in (1.0, 1.9):
        values = {"lr": lr, "max_lr": max_lr, "optimum": gradient.objective(best)}
        points = walk(form, start, [gradient], 60, values)
        # Closer to the minimum the gap is a difference of rounded numbers.
        exact = [w for w in points if gradient.objective(w) - values["optimum"] > 1e-10]
        distances = np.linalg.norm(exact - best, axis=1)
        assert len(exact) > 10
        assert (np.diff(distances) <= 0).all()
        assert distances[-1] < 0.5 * distances[0]


@pytest.mark.parametrize("form", ["sps", "sps+", "adasps"])
def test_polyak_solves_what_every_batch_can_fit(form):
    """Loizou et al. (2021): where each batch has the least value 0 at one point, no step moves away from it."""
    rng = np.random.default_rng(0)
    x, best = rng.standard_normal((60, 8)), rng.standard_normal(8)
    gradients = [Gradient(x[i : i + 12], x[i : i + 12] @ best, 0, "squared", False) for i in range(0, 60, 12)]
    points = walk(form, np.zeros(8), gradients, 400, {"lr": 1.0, "max_lr": 1e9})
    distances = np.linalg.norm(points - best, axis=1)
    assert (np.diff(distances) <= 1e-15).all()
    assert distances[-1] < 1e-7  # a squared gradient of 2e-16 is taken for none


def test_adasps_nears_the_solution_where_batches_disagree():
    """Jiang & Stich (2023): with a bound below the batches' least values, where the plain step stays away."""
    x, y = problem(120, 5, seed=1)
    whole = Gradient(x, y, l2=1e-2)
    gradients = [Gradient(x[i : i + 10], y[i : i + 10], l2=1e-2) for i in range(0, 120, 10)]
    best = minimiser(whole, np.zeros(6))
    ends = {}
    for form in ("sps+", "adasps"):
        points = walk(form, np.zeros(6), gradients, 12 * 400, {"lr": 1.0, "max_lr": 1e9})
        ends[form] = np.mean([whole.objective(w) for w in points[-12:]]) - whole.objective(best)
    assert 0 < ends["adasps"] < 0.1 * ends["sps+"]


def test_adasps_never_lengthens_its_steps_and_sits_still_without_a_gradient():
    g = np.array([3.0, 4.0])
    objectives = [2.0, 3.0, 1.0, 0.0, 1.0]
    gradients = [g, g, 0 * g, 0 * g, g]
    points = []

    def evaluate(t, w):
        points.append(w)
        return gradients[t - 1], objectives[t - 1]

    points.append(in_python("polyak", np.zeros(2), evaluate, 5, {"max_lr": 10.0}, {"form": "adasps"}))
    steps = -np.diff(points, axis=0)[:, 0] / 3
    np.testing.assert_allclose(steps[0], 2 / 25)
    np.testing.assert_allclose(steps[1], min(3 / 25 * np.sqrt(2 / 5), 2 / 25))
    assert (steps[2:4] == 0).all()
    np.testing.assert_allclose(steps[4], 1 / 25 * np.sqrt(2 / 7))


def test_momo_without_momentum_is_polyaks_step():
    gradients, start = batch_gradients(64, 1e-3), start_values(SCALE, SEED, D + 1)
    momo = {"lr": 3.0, "beta": 0.0, "lower_bound": 0.5}
    polyak = {"max_lr": 3.0, "optimum": 0.5}
    ends = [
        in_python("momo", start, of_batches(gradients), 200, momo),
        in_python("polyak", start, of_batches(gradients), 200, polyak, {"form": "sps+"}),
    ]
    assert relative_error(*ends) < 1e-10


def test_momo_adam_is_adam_while_the_bound_is_far():
    gradients, start = batch_gradients(64, 1e-3), start_values(SCALE, SEED, D + 1)
    ends = [
        in_python(name, start, of_batches(gradients), 200, {"lr": 0.01, **values})
        for name, values in (("momo_adam", {"lower_bound": -1e6}), ("adam", {}))
    ]
    assert relative_error(*ends) < 1e-10


@cases(CASES + ADASPS)
def test_zero_gradients_move_nothing(name, options):
    """At the start too, where the averages are zero."""
    start = np.array([0.5, 0.0, -1.0])
    for objective in (0.0, 0.7):
        end = in_python(name, start, lambda t, w, f=objective: (0 * w, f), 5, {"lr": 1.0}, options)
        np.testing.assert_array_equal(end, start)
