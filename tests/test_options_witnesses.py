"""Options around rules against PyTorch's and optax's, 1,000 steps, and proximal steps against scikit-learn."""

from itertools import islice

import numpy as np
import pytest
import reference
import small_studies
from cohorts import PARTS, SMALL, make_cohort, problem, relative_error, spread

from fastgd.engine.rows.order import start_values

N, D, STEPS, SEED, SCALE, B, L2 = 600, 9, 1000, 3, 0.3, 64, 1e-2
X, Y = problem(N, D)
RATES = {"sgd": (0.05, 0.2), "momentum": (0.02, 0.05), "adam": (0.001, 0.003)}


def batches():
    """The rows of each step: the engine's order."""
    return islice(reference.batches(N, B, SEED), STEPS)


def found_by(name, around, numbers):
    """What the engine reports, for each rate, and the lanes."""
    lanes = [{"lr": lr, **numbers} for lr in RATES[name]]
    cohort = make_cohort(X, Y, lanes, name, around=around, l2=L2, batch_size=B, init=SCALE, seed=SEED, kernel=SMALL)
    cohort.advance(STEPS)
    return cohort.parameters(), lanes


# --- PyTorch ----------------------------------------------------------------------------------------------------------

TORCH = {
    "clip by value, sgd": ("sgd", {"clip": "value"}, {"clip.value": 0.05}),
    "clip by value, adam": ("adam", {"clip": "value"}, {"clip.value": 0.05}),
    "clip by norm, momentum": ("momentum", {"clip": "norm"}, {"clip.norm": 0.15}),
    "clip by norm, adam": ("adam", {"clip": "norm"}, {"clip.norm": 0.15}),
    "ema": ("momentum", {"averaging": "ema"}, {"averaging.decay": 0.95}),
    "ema, later": ("adam", {"averaging": "ema"}, {"averaging.decay": 0.99, "averaging.start": 100.0}),
    "polyak": ("sgd", {"averaging": "polyak"}, {}),
    "polyak, later": ("momentum", {"averaging": "polyak"}, {"averaging.start": 500.0}),
}


def by_torch(torch, name, around, lane):
    """The averaged parameters where there is an average, else the parameters."""
    torch.set_num_threads(1)  # the tensors are tiny
    model = torch.nn.Linear(D, 1).double()
    start = torch.from_numpy(start_values(SCALE, SEED, D + 1))
    with torch.no_grad():
        model.weight[0], model.bias[0] = start[:D], start[D]
    kind = {"sgd": torch.optim.SGD, "momentum": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    more = {"momentum": 0.9} if name == "momentum" else {}
    optimizer = kind(model.parameters(), lr=lane["lr"], **more)
    swa = torch.optim.swa_utils
    of_kind = {"ema": lambda: {"multi_avg_fn": swa.get_ema_multi_avg_fn(lane["averaging.decay"])}, "polyak": dict}
    averaged = swa.AveragedModel(model, **of_kind[around["averaging"]]()) if "averaging" in around else None
    rows, targets = torch.from_numpy(X), torch.from_numpy(Y)
    for t, at in enumerate(batches()):
        optimizer.zero_grad()
        margins = model(rows[at])[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(margins, targets[at])
        (loss + L2 / 2 * model.weight.square().sum()).backward()  # what is clipped has the penalty in it
        if around.get("clip") == "value":
            torch.nn.utils.clip_grad_value_(model.parameters(), lane["clip.value"])
        elif around.get("clip") == "norm":
            torch.nn.utils.clip_grad_norm_(model.parameters(), lane["clip.norm"])
        optimizer.step()
        if averaged is not None and t >= lane.get("averaging.start", 0):
            averaged.update_parameters(model)
    reported = averaged.module if averaged is not None else model
    return np.append(reported.weight.detach().numpy()[0], reported.bias.detach().numpy()[0])


@pytest.mark.parametrize(
    ("name", "around", "numbers"),
    spread(
        TORCH.values(), [TORCH[case] for case in ("clip by value, adam", "clip by norm, momentum", "ema", "polyak")]
    ),
    ids=TORCH,
)
def test_against_pytorch(name, around, numbers):
    torch = pytest.importorskip("torch", reason="the witness of clipping and averaging is PyTorch")
    found, lanes = found_by(name, around, numbers)
    for w, lane in zip(found, lanes, strict=True):
        assert relative_error(w, by_torch(torch, name, around, lane)) < 1e-10


# --- optax ------------------------------------------------------------------------------------------------------------

OPTAX = {
    "lookahead, sgd": ("sgd", {"lookahead.every": 5.0, "lookahead.alpha": 0.5}),
    "lookahead, momentum": ("momentum", {"lookahead.every": 3.0, "lookahead.alpha": 0.8}),
    "lookahead, adam": ("adam", {"lookahead.every": 7.0, "lookahead.alpha": 0.2}),
}


@pytest.mark.parametrize(("name", "numbers"), spread(OPTAX.values(), [OPTAX["lookahead, momentum"]]), ids=OPTAX)
def test_against_optax(name, numbers):
    jax = pytest.importorskip("jax", reason="the witness of look-ahead is optax's, which runs on jax")
    optax = pytest.importorskip("optax", reason="the witness of look-ahead is optax's")
    jax.config.update("jax_enable_x64", True)
    found, lanes = found_by(name, {"lookahead": ""}, numbers)
    rows, targets = jax.numpy.asarray(X), jax.numpy.asarray(Y)
    inner = {"sgd": optax.sgd, "momentum": lambda lr: optax.sgd(lr, momentum=0.9), "adam": optax.adam}[name]

    def loss(w, at):
        z = rows[at] @ w[:D] + w[D]
        return (jax.numpy.logaddexp(0, z) - targets[at] * z).mean() + L2 / 2 * w[:D] @ w[:D]

    for w, lane in zip(found, lanes, strict=True):
        ahead = optax.lookahead(inner(lane["lr"]), int(numbers["lookahead.every"]), numbers["lookahead.alpha"])
        parameters = optax.LookaheadParams.init_synced(jax.numpy.asarray(start_values(SCALE, SEED, D + 1)))
        state = ahead.init(parameters)

        @jax.jit
        def step(parameters, state, at, ahead=ahead):
            updates, state = ahead.update(jax.grad(loss)(parameters.fast, at), state, parameters)
            return optax.apply_updates(parameters, updates), state

        for at in batches():
            parameters, state = step(parameters, state, at)
        assert relative_error(w, np.asarray(parameters.slow)) < 1e-10


# --- proximal steps ---------------------------------------------------------------------------------------------------

ROWS, TARGETS = problem(N, D, "squared")
NETS = pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.15, 0.3)], ids=["lasso", "elastic net"])


def descended(l1, l2, steps, kernel=SMALL):
    lane = {"lr": 0.3, "proximal.l1": l1, "proximal.l2": l2}
    options = {"loss": "squared", "kernel": kernel, "batch_size": N, "init": SCALE, "seed": SEED}
    cohort = make_cohort(ROWS, TARGETS, [lane], "sgd", around={"proximal": ""}, **options)
    cohort.advance(steps)
    return cohort.parameters()[0]


@NETS
@pytest.mark.parametrize("kernel", [SMALL, PARTS], ids=["tile", "parts"])
def test_full_batch_descent_is_ista(l1, l2, kernel):
    w, lr = start_values(SCALE, SEED, D + 1), 0.3
    for _ in range(STEPS):
        residuals = ROWS @ w[:D] + w[D] - TARGETS
        v = w[:D] - lr * ROWS.T @ residuals / N
        shrunk = np.sign(v) * np.maximum(np.abs(v) - lr * l1, 0) / (1 + lr * l2)
        w = np.append(shrunk, w[D] - lr * residuals.mean())  # the intercept is not penalised
    found = descended(l1, l2, STEPS, kernel)
    assert relative_error(found, w) < 1e-12
    np.testing.assert_array_equal(found == 0, w == 0)


@NETS
def test_full_batch_descent_ends_at_the_elastic_net(l1, l2):
    """scikit-learn's objective is the same: mean squared residual / 2 + alpha (ratio |w|_1 + (1 - ratio) / 2 |w|^2)."""
    from sklearn.linear_model import ElasticNet

    alpha = l1 + l2
    expected = ElasticNet(alpha=alpha, l1_ratio=l1 / alpha, tol=1e-14, max_iter=100_000).fit(ROWS, TARGETS)
    found = descended(l1, l2, 2000)
    np.testing.assert_allclose(found[:D], expected.coef_, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found[D], expected.intercept_, rtol=1e-7)
    assert (expected.coef_ == 0).any(), "a test of zeros needs some"
    np.testing.assert_array_equal(found[:D] == 0, expected.coef_ == 0)


# --- what a study records --------------------------------------------------------------------------------------------


def test_the_recorded_loss_is_that_of_the_reported_iterate(tmp_path):
    options = {"lookahead": {"every": 4}, "averaging": {"kind": "polyak", "start": 3}}
    optimizer = {"name": "momentum", "lr": [0.05, 0.1], **options}
    results = small_studies.run(tmp_path / "r", optimizer=optimizer, record={"parameters": "all"})
    rows, y = small_studies.rows()
    for trial in results.trials.to_dict("records"):
        assert trial["variant"] == "lookahead, averaging=polyak"
        w = results.parameters(trial["trial_id"])
        expected = reference.objective(rows, y, w, loss="logistic", intercept=True)
        assert trial["final_loss"] == pytest.approx(expected, rel=1e-12)
