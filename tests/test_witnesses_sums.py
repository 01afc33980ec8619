"""Every rule that needs sums over all parameters against its witness: optax's optimizer, or else the paper."""

from collections import defaultdict
from functools import cache, partial
from inspect import signature

import numpy as np
import pytest
import reference
import reference_sums
from cohorts import grid, in_python, make_cohort, on_kernels, problem, relative_error, spread

from fastgd.engine.rows.order import start_values
from fastgd.optimizers import OPTIMIZERS

STEPS, SEED = 1000, 3
# Steps of a full batch, where a thousand would measure the instability of the rule and not the agreement: at the
# minimum these rules divide by gradients that vanish, and amplify a difference in the last bit to 1e-3 ... 1e-1.
FEWER = {"lars": 200, "dadapt_adam": 100, "prodigy": 100}
L2 = (0.0, 1e-3, 0.0, 1e-2)
# Trust ratios and distances depend on the start: zero, the most common one, and another.
BATCHES = [(64, 0.1), (600, "zeros")]

CASES = [(name, ()) for name in reference_sums.OPTIMIZERS] + [("prodigy", (("safeguard_warmup", True),))]
EACH = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=lambda case: case if isinstance(case, str) else len(case)
)
# What optax calls it, and how it is told; the others' witness is the paper.
WITNESSES = {
    "lars": "lars",
    "lamb": "lamb",
    "novograd": "novograd",
    "dog": "contrib.dog",
    "dowg": "contrib.dowg",
    "dadapt_adam": "contrib.dadapt_adamw",
    "prodigy": "contrib.prodigy",
}
ARGUMENTS = {"lr": "learning_rate", "beta1": "b1", "beta2": "b2", "d0": "estim_lr0", "d_coef": "estim_lr_coef"}


def steps(name, batch_size):
    return FEWER.get(name, STEPS) if batch_size == 600 else STEPS


def optax_function(name):
    pytest.importorskip("jax", reason="the witness is optax's optimizer, which runs on jax")
    found = pytest.importorskip("optax", reason="the witness is optax's optimizer")
    for attribute in WITNESSES[name].split("."):
        found = getattr(found, attribute)
    return found


def arguments(function, values):
    """Hyper-parameters as optax's arguments: betas are a pair in some, and DoG's first step has a name."""
    theirs, ours = signature(function).parameters, dict(values)
    if "betas" in theirs:
        ours["betas"] = (ours.pop("beta1"), ours.pop("beta2"))
    if "init_step" in ours:
        ours["init_step"] = ("heuristic", ours["init_step"])
    return {key if key in theirs else ARGUMENTS[key]: value for key, value in ours.items()}


@cache
def by_optax(name, options, batch_size, init):
    """The iterates (lanes, parameters) of optax, trained: the intercepts last."""
    make = optax_function(name)
    import jax

    X, y = problem()
    count = -(-len(X) // batch_size)  # batches are filled up with rows that weigh nothing
    fill = count * batch_size - len(X)
    penalised = np.append(np.ones(X.shape[1]), 0.0)
    A = np.pad(np.column_stack([X, np.ones(len(X))]), ((0, fill), (0, 0))).reshape(count, batch_size, -1)
    targets = np.pad(y, (0, fill)).reshape(count, batch_size)
    weights = np.pad(np.ones(len(X)), (0, fill)).reshape(count, batch_size)
    weights /= weights.sum(axis=1, keepdims=True)

    def train(values, l2):
        if "weight_decay" in values:
            values = values | {"weight_decay": values["weight_decay"] * penalised}
        optimizer = make(**arguments(make, values | dict(options)))

        def step(state, batch):
            w, inner = state
            rows, expected, weight = (jax.numpy.array(part)[batch] for part in (A, targets, weights))
            g = ((jax.nn.sigmoid(rows @ w) - expected) * weight) @ rows + l2 * penalised * w
            change, inner = optimizer.update(g, inner, w)
            return (w + change, inner), None

        start = jax.numpy.array(start_values(init, SEED, len(penalised)))
        order = jax.numpy.arange(steps(name, batch_size)) % count
        return jax.lax.scan(step, (start, optimizer.init(start)), order)[0][0]

    with jax.enable_x64(True):
        lanes = grid(name)
        values = {key: jax.numpy.array([lane[key] for lane in lanes]) for key in lanes[0]}
        return np.asarray(jax.jit(jax.vmap(train))(values, jax.numpy.array(L2)))


def batch_gradients(batch_size, l2):
    """Return a function of the step and the parameters: the gradient on the step's rows, and the objective there."""
    X, y = problem()
    starts = range(0, len(X), batch_size)

    def gradient(t, w):
        first = starts[(t - 1) % len(starts)]
        rows = X[first : first + batch_size], y[first : first + batch_size], w
        options = {"loss": "logistic", "l2": l2, "intercept": True}
        return reference.gradient(*rows, **options), reference.objective(*rows, **options)

    return gradient


def undecayed(lane, d):
    """The lane's values with a decay for each parameter: an intercept has none."""
    decay = {"weight_decay": np.append(np.full(d - 1, lane["weight_decay"]), 0.0)} if "weight_decay" in lane else {}
    return lane | decay


def gradient_at(gradients, t, w):
    return gradients(t, w)[0]


@cache
def by_equation(name, options, batch_size, init):
    """The iterates (lanes, parameters) of the published equation, trained."""
    found = []
    for lane, l2 in zip(grid(name), L2, strict=True):
        gradients, memory = batch_gradients(batch_size, l2), defaultdict(float)
        w = start_values(init, SEED, problem()[0].shape[1] + 1)
        values = undecayed(lane, len(w)) | dict(options)
        for t in range(1, steps(name, batch_size) + 1):
            w = reference_sums.OPTIMIZERS[name](w, partial(gradient_at, gradients, t), t, memory, **values)
        found.append(w)
    return np.array(found)


@cache
def by_functions(name, options, batch_size, init):
    """The iterates (lanes, parameters) of the rule's own functions, called by Python."""
    w, count = start_values(init, SEED, problem()[0].shape[1] + 1), steps(name, batch_size)
    return np.array(
        [
            in_python(name, w, batch_gradients(batch_size, l2), count, undecayed(lane, len(w)), options)
            for lane, l2 in zip(grid(name), L2, strict=True)
        ]
    )


def by_witness(name, *case):
    return by_optax(name, *case) if name in WITNESSES else by_equation(name, *case)


@pytest.mark.parametrize("name", WITNESSES)
def test_defaults_are_those_of_optax(name):
    function, record = optax_function(name), OPTIMIZERS[name]
    assert record.witness == f"optax.{WITNESSES[name]}"
    theirs = {key: parameter.default for key, parameter in signature(function).parameters.items()}
    ours = record.hyper | {key: values[0] for key, values in record.options.items()}
    if ours["lr"] is None:
        ours["lr"] = theirs["learning_rate"]  # there is none in either
    if name == "dowg":
        assert theirs["init_estim_sq_dist"] is None  # it is eps then
        theirs["init_estim_sq_dist"] = theirs["eps"]
    for key, value in arguments(function, ours).items():
        assert theirs[key] == value, key


@EACH
@pytest.mark.parametrize(
    ("batch_size", "init"), spread(BATCHES, BATCHES[:1]), ids=["mini-batch", "full batch, from zero"]
)
def test_functions_agree_with_the_witness_and_the_equation(name, options, batch_size, init):
    case = name, options, batch_size, init
    assert relative_error(by_functions(*case), by_equation(*case)) < 1e-10
    assert relative_error(by_functions(*case), by_witness(*case)) < 1e-10


@pytest.mark.parametrize(("name", "options", "kernel", "batch_size"), on_kernels(CASES))
def test_engine_agrees_with_the_witness(name, options, kernel, batch_size):
    init = dict(BATCHES)[batch_size]
    X, y = problem()
    cohort = make_cohort(
        X, y, grid(name), name, options=dict(options), l2=L2, shuffled=False, batch_size=batch_size, init=init,
        seed=SEED, kernel=kernel,
    )  # fmt: skip
    cohort.advance(steps(name, batch_size))
    assert relative_error(cohort.parameters(), by_witness(name, options, batch_size, init)) < 1e-10


# --- what the papers prove --------------------------------------------------------------------------------------------

SCALE = 2.0**10


def run(name, *, steps=300, of_gradients=1.0, of_parameters=1.0, l2=1e-3, batch_size=64, init=0.1, **values):
    """The end of a run whose objective, or whose units of the parameters, are multiplied: in the units of old."""
    start = start_values(init, SEED, problem()[0].shape[1] + 1)
    gradient = batch_gradients(batch_size, l2)

    def scaled(t, w):
        g, loss = gradient(t, w / of_parameters)
        return of_gradients / of_parameters * g, of_gradients * loss

    lane = {"lr": 0.003, **values} if OPTIMIZERS[name].hyper["lr"] is None else values
    return in_python(name, start * of_parameters, scaled, steps, lane) / of_parameters


@pytest.mark.parametrize("name", ["lars", "lamb", "novograd", "dog", "dowg", "dadapt_sgd", "dadapt_adam", "prodigy"])
def test_the_scale_of_the_objective_does_not_matter(name):
    """Without eps, which has a unit."""
    eps = {"eps": 1e-300 if name == "dadapt_adam" else 0.0} if "eps" in OPTIMIZERS[name].hyper else {}
    np.testing.assert_allclose(run(name, of_gradients=SCALE, **eps), run(name, **eps), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "unit", "values"),
    [
        ("lars", None, {"eps": 0.0}),
        ("lamb", None, {"eps": 0.0}),
        ("dog", "init_step", {"eps": 0.0, "init": "zeros"}),
        ("dowg", "init_estim_sq_dist", {"eps": 0.0}),
        ("dadapt_sgd", "d0", {}),
        ("dadapt_adam", "d0", {"eps": 1e-300}),
        ("prodigy", "d0", {"eps": 0.0}),
    ],
)
def test_the_unit_of_the_parameters_does_not_matter(name, unit, values):
    """But for that of the first estimate of a distance; DoG's is relative to 1 + |w0|, so it starts from zero."""
    first = OPTIMIZERS[name].hyper.get(unit)
    power = 2 if name == "dowg" else 1  # its estimate is of the square
    changed = {unit: SCALE**power * first} if unit else {}
    np.testing.assert_allclose(run(name, of_parameters=SCALE, **values, **changed), run(name, **values), rtol=1e-9)


@pytest.mark.parametrize("name", ["dog", "dowg", "dadapt_sgd", "dadapt_adam", "prodigy"])
@pytest.mark.parametrize("batch_size", [64, 600])
def test_the_estimate_of_the_distance_never_falls(monkeypatch, name, batch_size):
    cls, estimates = OPTIMIZERS[name].cls, []
    original = cls.conclude

    def conclude(*arguments):
        c, m = original(*arguments)
        estimates.append(float(m[0]))
        return c, m

    monkeypatch.setattr(cls, "conclude", conclude)
    run(name, steps=500, batch_size=batch_size)
    assert np.all(np.diff(estimates) >= 0)
    assert estimates[-1] > 100 * estimates[0], "it finds its way from the first estimate"
    if name == "dadapt_sgd" and batch_size == 600:
        monkeypatch.undo()
        minimum, start = run("dog", steps=3000, batch_size=600), run("dog", steps=0, batch_size=600)
        assert estimates[-1] <= 2 * np.linalg.norm(minimum - start)


@pytest.mark.parametrize("name", reference_sums.OPTIMIZERS)
def test_gradients_that_are_zero_at_first_do_no_harm(name):
    """From zero, without a penalty: nothing is known but zeros, and nothing moves."""
    gradient = batch_gradients(600, 0.0)

    def later(t, w):
        g, loss = gradient(t, w)
        return (g if t > 3 else 0 * g), loss

    values = {"lr": 0.01} if OPTIMIZERS[name].hyper["lr"] is None else {}
    start = np.zeros(problem()[0].shape[1] + 1)
    np.testing.assert_array_equal(in_python(name, start, later, 3, values), start)
    end = in_python(name, start, later, 100, values)
    assert np.isfinite(end).all()
    assert gradient(1, end)[1] < gradient(1, start)[1]
