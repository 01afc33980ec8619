"""Every rule whose witness is optax, against it."""

from functools import cache
from inspect import signature

import numpy as np
import pytest
import test_witnesses_sums
from cohorts import SMALL, grid, make_cohort, on_kernels, problem, relative_error

from fastgd.engine.rows.order import start_values
from fastgd.optimizers import OPTIMIZERS

jax = pytest.importorskip("jax", reason="the witnesses of these rules are optax's optimizers, which run on jax")
optax = pytest.importorskip("optax", reason="the witnesses of these rules are optax's optimizers")

jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

STEPS, SEED, SCALE = 1000, 3, 0.1
L2 = (0.0, 1e-3, 0.0, 1e-2)


# --- the witnesses ----------------------------------------------------------------------------------------------------


def sm3(learning_rate, momentum, eps):
    return optax.chain(optax.scale_by_sm3(momentum, eps=eps), optax.scale(-learning_rate))


def yogi(learning_rate, b1, b2, eps, initial):
    scaled = optax.scale_by_yogi(b1, b2, eps, initial_accumulator_value=initial)
    return optax.chain(scaled, optax.scale(-learning_rate))


def ademamix(learning_rate, b1, b2, b3, alpha, eps, weight_decay, warmup):
    """With the schedules of the paper; optax counts from 0."""

    def done(count):
        return jnp.minimum((count + 1) / jnp.maximum(warmup, 1), 1)

    def decay(count):
        half_life = (1 - done(count)) * half_life_of(b1) + done(count) * half_life_of(b3)
        return jnp.where(done(count) < 1, 0.5 ** (1 / half_life), b3)

    def half_life_of(beta):
        return jnp.log(0.5) / jnp.log(beta)

    return optax.contrib.ademamix(
        learning_rate, b1, b2, decay, lambda count: alpha * done(count), eps=eps, weight_decay=weight_decay
    )


WITNESSES = {
    "signsgd": optax.sign_sgd,
    "signum": optax.signum,
    "lion": optax.lion,
    "sm3": sm3,
    "nadamw": optax.nadamw,
    "adabelief": optax.adabelief,
    "adan": optax.adan,
    "yogi": yogi,
    "adopt": optax.contrib.adopt,
    "ademamix": ademamix,
    "optimistic_adam": optax.optimistic_adam_v2,
    "schedule_free_sgd": optax.contrib.schedule_free_sgd,
    "schedule_free_adamw": optax.contrib.schedule_free_adamw,
    "cocob": optax.contrib.cocob,
}
CASES = [(name, {}) for name in WITNESSES]
CASES += [("adopt", {"clipping": False}), ("optimistic_adam", {"nesterov": False})]
ARGUMENTS = {  # what optax calls a hyper-parameter, where it has another name
    "lr": "learning_rate",
    "beta": "b1",
    "beta1": "b1",
    "beta2": "b2",
    "beta3": "b3",
    "clipping": "use_clipping",
    "initial": "initial_accumulator_value",
}
SHORTENED = {  # where the table's function stands for one of optax, or for two: the public one has the last word
    "sm3": (optax.scale_by_sm3, optax.sm3),
    "yogi": (optax.scale_by_yogi, optax.yogi),
    "ademamix": (optax.contrib.ademamix,),
}


def rise_and_fall(k, xp):
    """The factor of a scheduled rate at index k from 0: a warm-up from 0, then a fall."""
    return xp.minimum(k / 100, 1) * xp.minimum(xp.exp((400 - k) / 300), 1)


def scheduled_sgd(rate, values):
    return optax.contrib.schedule_free(optax.sgd(rate), shifted(rate), values["beta"], values["weight_lr_power"])


def scheduled_adamw(rate, values):
    base = optax.chain(
        optax.scale_by_rms(values["beta2"], values["eps"], eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(values["weight_decay"]),
        optax.scale_by_learning_rate(rate),
    )
    return optax.contrib.schedule_free(base, shifted(rate), values["beta1"], values["weight_lr_power"])


def shifted(rate):
    """optax weighs step t by the schedule at t, and steps by the schedule at t - 1: the paper has one rate a step."""
    return lambda count: rate(count - 1)


SCHEDULED = {"schedule_free_sgd": scheduled_sgd, "schedule_free_adamw": scheduled_adamw}


def witness(name, values):
    """Return optax's transformation with these hyper-parameters and options."""
    make = WITNESSES[name]
    return make(**{argument(make, key): value for key, value in values.items()})


def argument(function, name):
    """Return what a function of optax calls a hyper-parameter."""
    return name if name in signature(function).parameters else ARGUMENTS[name]


@cache
def trained(name, options, batch_size, scheduled=False):
    """The iterates (lanes, parameters) that optax reports after STEPS steps, the last an intercept."""
    X, y = problem()
    A = np.column_stack([X, np.ones(len(X))])
    penalised = np.append(np.ones(X.shape[1]), 0.0)
    # Batches are filled up with rows that weigh nothing.
    count = -(-len(X) // batch_size)
    fill = count * batch_size - len(X)
    rows = jnp.array(np.pad(A, ((0, fill), (0, 0))).reshape(count, batch_size, -1))
    targets = jnp.array(np.pad(y, (0, fill)).reshape(count, batch_size))
    real = np.pad(np.ones(len(X)), (0, fill)).reshape(count, batch_size)
    weights = jnp.array(real / real.sum(axis=1, keepdims=True))

    def train(values, l2):
        if "weight_decay" in values:
            values = values | {"weight_decay": values["weight_decay"] * penalised}
        if scheduled:
            optimizer = SCHEDULED[name](lambda count: values["lr"] * rise_and_fall(jnp.float64(count), jnp), values)
        else:
            optimizer = witness(name, values | dict(options))

        def step(state, batch):
            w, inner = state
            margins = rows[batch] @ w
            residuals = (jax.nn.sigmoid(margins) - targets[batch]) * weights[batch]
            gradient = residuals @ rows[batch] + l2 * penalised * w
            updates, inner = optimizer.update(gradient, inner, w)
            return (optax.apply_updates(w, updates), inner), None

        start = jnp.array(start_values(SCALE, SEED, A.shape[1]))
        (w, inner), _ = jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(STEPS) % count)
        return optax.contrib.schedule_free_eval_params(inner, w) if name.startswith("schedule_free") else w

    lanes = grid(name)
    values = {key: jnp.array([lane[key] for lane in lanes]) for key in lanes[0]}
    return np.asarray(jax.jit(jax.vmap(train))(values, jnp.array(L2)))


def test_every_optimizer_of_optax_has_its_witness():
    others = set(test_witnesses_sums.WITNESSES) | {"polyak", "momo", "momo_adam"}  # in files of their own
    named = {name for name, record in OPTIMIZERS.items() if record.witness.startswith("optax")}
    assert named - others == set(WITNESSES)


def test_defaults_are_those_of_the_witness():
    for name, make in WITNESSES.items():
        functions = SHORTENED.get(name, (make,))
        theirs = {key: value.default for function in functions for key, value in signature(function).parameters.items()}
        record = OPTIMIZERS[name]
        ours = record.hyper | {key: values[0] for key, values in record.options.items()}
        ours.pop("warmup", None)  # optax's alpha and b3 are constants unless they are given as functions
        for key, value in ours.items():
            if value is not None:
                assert theirs[key if key in theirs else ARGUMENTS[key]] == value, (name, key)


@pytest.mark.parametrize(("name", "options", "kernel", "batch_size"), on_kernels(CASES))
def test_agrees_with_its_witness_after_1000_steps(name, options, kernel, batch_size):
    X, y = problem()
    common = {"l2": L2, "shuffled": False, "init": SCALE, "seed": SEED}
    cohort = make_cohort(X, y, grid(name), name, options=options, batch_size=batch_size, kernel=kernel, **common)
    cohort.advance(STEPS)
    assert relative_error(cohort.parameters(), trained(name, tuple(options.items()), batch_size)) < 1e-10


# --- schedule-free rules with a rate that is scheduled ----------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULED)
def test_schedule_free_weighs_by_the_largest_rate_so_far(name):
    X, y = problem()
    lanes = grid(name)

    class Schedule:
        per_step = True

        def __call__(self, first, steps):
            return rise_and_fall(np.arange(first, first + steps), np)[:, None, None] * [lane["lr"] for lane in lanes]

    scheduled = {"scheduled": ("lr",), "schedule": Schedule()}
    cohort = make_cohort(X, y, lanes, name, l2=L2, shuffled=False, init=SCALE, seed=SEED, kernel=SMALL, **scheduled)
    cohort.advance(STEPS)
    assert relative_error(cohort.parameters(), trained(name, (), 64, scheduled=True)) < 1e-10
