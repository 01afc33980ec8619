"""What papers prove of their rules, in small: on the public step on arrays."""

import numpy as np
import pytest

from fastgd import optimizers


def path(name, start, gradient, steps, *, bounds=None, **values):
    """Return (steps, parameters): the points after each step with `gradient(w, t)`; bounds project w."""
    stepper = getattr(optimizers, name)(np.array(start, dtype=float), **values)
    points = []
    for t in range(1, steps + 1):
        stepper.step(np.array(gradient(stepper.w, t), dtype=float))
        if bounds:
            np.clip(stepper.w, *bounds, out=stepper.w)
        points.append(stepper.w.copy())
    return np.array(points)


def noise(steps, parameters=7, seed=0):
    """Return gradients (steps, parameters), none of them small."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 1], (steps, parameters)) * rng.uniform(0.1, 3, (steps, parameters))


@pytest.mark.parametrize("name", ["signsgd", "signum", "lion", "cocob"])
def test_the_scale_of_gradients_does_not_matter(name):
    gradients, start = noise(50), np.linspace(-1, 1, 7)
    few, many = (path(name, start, lambda w, t, k=k: k * gradients[t - 1], 50, lr=0.5) for k in (1, 2**20))
    assert np.array_equal(few, many)
    assert not np.array_equal(few[-1], start)


@pytest.mark.parametrize(("name", "values"), [("signsgd", {}), ("signum", {}), ("lion", {"weight_decay": 0.0})])
def test_every_parameter_moves_by_the_rate(name, values):
    gradients = noise(50)
    points = path(name, np.zeros(7), lambda w, t: gradients[t - 1], 50, lr=0.25, **values)
    assert np.array_equal(np.abs(np.diff(points, axis=0)), np.full((49, 7), 0.25))


def test_sm3_without_momentum_is_adagrad_on_a_vector():
    gradients = noise(50)
    adagrad, sm3 = (
        path(name, np.zeros(7), lambda w, t: gradients[t - 1], 50, lr=0.1, eps=1e-8, **values)
        for name, values in (("adagrad", {"eps_inside": True}), ("sm3", {"momentum": 0.0}))
    )
    np.testing.assert_allclose(sm3, adagrad, rtol=1e-13)


def test_the_second_moment_of_yogi_changes_by_the_squared_gradient():
    """However small v is, or large: Adam's would move by (1 - beta2) (g^2 - v)."""
    yogi = optimizers.yogi(np.zeros(7), lr=0.01, beta2=0.9)
    for g in noise(50):
        before = yogi.slots["mean_square"].copy()
        yogi.step(g)
        np.testing.assert_allclose(np.abs(yogi.slots["mean_square"] - before), 0.1 * g**2, rtol=1e-9)


# The loss is C w once in three steps and -w otherwise, for w in [-1, 1]: the best w is -1 when C > 2. Adam with a short
# memory of squares divides the rare large gradients by their own size (Reddi, Kale & Kumar 2018, theorem 1).
@pytest.mark.parametrize(("name", "values", "end"), [("adam", {}, 1.0), ("adopt", {"clipping": False}, -1.0)])
def test_adopt_converges_with_a_beta2_with_which_adam_goes_the_wrong_way(name, values, end):
    largest = 4.0
    beta2 = 1 / (1 + largest**2)
    points = path(
        name,
        [0.0],
        lambda w, t: [largest if t % 3 == 1 else -1.0],
        6000,
        bounds=(-1, 1),
        lr=0.003,
        beta1=0.0,
        beta2=beta2,
        **values,
    )
    assert points[-1] == pytest.approx([end], abs=0.02)


def test_optimistic_adam_ends_a_game_in_which_adam_circles_outwards():
    """min over x, max over y of x y, from (1, 1): only (0, 0) is an equilibrium."""

    def game(name, **values):
        points = path(name, [1.0, 1.0], lambda w, t: [w[1], -w[0]], 5000, lr=0.02, beta1=0.0, **values)
        return np.linalg.norm(points[-1])

    assert game("adam") > np.sqrt(2)
    assert game("optimistic_adam") < 1e-9
    assert game("optimistic_adam", nesterov=False) < 1e-9


@pytest.mark.parametrize("distance", [0.1, 1.0, 10.0, 1000.0])
def test_cocob_finds_a_minimum_at_any_distance_without_a_rate(distance):
    """The paper bounds the loss of the averaged iterate, for convex functions."""
    points = path("cocob", [0.0], lambda w, t: np.sign(w - distance), 3000)
    assert points.mean() == pytest.approx(distance, rel=0.05)


def test_cocob_bets_what_it_has():
    cocob = optimizers.cocob(np.linspace(-1, 1, 7))
    for g in noise(200):
        cocob.step(g)
        s = cocob.slots
        wealth = s["largest"] + s["reward"]
        assert np.all(wealth > 0)
        assert np.all(np.abs(cocob.w - s["start"]) * s["largest"] <= wealth)


@pytest.mark.parametrize("power", [0.0, 1.5, 2.0])
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_free_reports_the_average_of_z_weighted_by_the_largest_rate(name, power):
    gradients, rates = noise(60), 0.1 * np.minimum(np.arange(1, 61) / 20, np.linspace(2, 0.1, 60))
    stepper = getattr(optimizers, name)(np.linspace(-1, 1, 7), lr=0.1, weight_lr_power=power)
    np.testing.assert_allclose(stepper.iterate(), np.linspace(-1, 1, 7), rtol=1e-15, err_msg="the start")
    z = []
    for g, rate in zip(gradients, rates, strict=True):
        stepper.step(g, lr=rate)
        z.append(stepper.slots["z"].copy())
    weights = np.maximum.accumulate(rates) ** power
    np.testing.assert_allclose(stepper.iterate(), np.average(z, axis=0, weights=weights), rtol=1e-12)


def test_schedule_free_counts_exactly_in_float32():
    """The sum of equal weights is the number of steps, and where nothing moves nothing drifts."""
    start = np.linspace(-1, 1, 7, dtype=np.float32)
    stepper = optimizers.schedule_free_sgd(start.copy(), lr=2.0**-10)
    for _ in range(2000):
        stepper.step(np.zeros_like(start))
    assert np.array_equal(stepper.iterate(), start)
    stepper.step(np.full_like(start, 2**10))  # z moves by 1, x by 1 / 2001
    np.testing.assert_allclose(start - stepper.iterate(), 1 / 2001, rtol=1e-3)  # next to 1 in float32
