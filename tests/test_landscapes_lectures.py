"""What the lectures, and remarks made in them, observe on landscapes: by plain NumPy loops."""

import numpy as np
import pytest

from fastgd.problems import LANDSCAPES


def descend(record, rates, momentum=0.0, start=None):
    """All iterates (steps + 1, 2) of descent with momentum."""
    p, x = record.instance(), record.start(2) if start is None else np.array(start, float)
    u, path = np.zeros(2), [x]
    for rate in rates:
        u = momentum * u + rate * record.gradients(p, x[:, None])[:, 0]
        x = x - u
        path.append(x)
    return np.array(path)


def lands(path):
    """Whether the last iterate is the deep minimum."""
    return bool(np.linalg.norm(path[-1]) < 1e-2)


def caught(path):
    return bool(np.linalg.norm(path[-1] - [-2.7254, 0]) < 1e-2)


def restarts(rate, period, steps):
    return rate / 2 * (1 + np.cos(np.pi * (np.arange(steps) % period) / period))


def test_the_first_pothole_catches_descent_and_not_momentum():
    for rate in (0.05, 0.1, 0.2, 0.3, 0.5):
        assert caught(descend(LANDSCAPES["bumpy_bowl"], np.full(400, rate)))
        assert lands(descend(LANDSCAPES["bumpy_bowl"], np.full(400, rate), momentum=0.9))


def test_too_high_a_rate_dances_and_a_decaying_one_lands():
    for rate in (1.2, 1.5, 2.0, 3.0):
        late = descend(LANDSCAPES["bumpy_bowl"], np.full(1000, rate))[500:]
        assert np.all(np.abs(late) < 6)
        assert np.ptp(late[:, 0]) > 1
        assert lands(descend(LANDSCAPES["bumpy_bowl"], rate * 0.99 ** np.arange(1000)))


def test_warm_restarts_escape_where_their_mean_rate_is_caught():
    for start in (None, (-2.8, 0.1)):
        for rate in (1.0, 1.1, 1.2):
            for period in (40, 50, 80, 100):
                assert lands(descend(LANDSCAPES["bumpy_bowl"], restarts(rate, period, 400), start=start))
            assert caught(descend(LANDSCAPES["bumpy_bowl"], np.full(400, rate / 2), start=start))


def test_a_cliff_throws_descent_far_unless_it_is_clipped():
    record = LANDSCAPES["plateau_cliff"]
    p, x, far = record.instance(), record.start(2)[:, None], 0.0
    assert np.abs(record.gradients(p, x)[0, 0]) < 0.05
    assert record.gradients(p, np.zeros((2, 1)))[0, 0] == pytest.approx(50, rel=1e-2)
    clipped, clipped_far = x, 0.0
    for _ in range(2000):
        x = x - 0.3 * record.gradients(p, x)
        g = record.gradients(p, clipped)
        clipped = clipped - 0.3 * g / max(1, np.linalg.norm(g))
        far, clipped_far = min(far, x[0, 0]), min(clipped_far, clipped[0, 0])
    assert far < -10
    assert clipped_far > -1.1
    assert clipped == pytest.approx(record.minima(p, 2).T, abs=1e-3)


def adam(record, rate, amsgrad, C=3.0, beta2=None, steps=3000):
    p, beta2 = record.instance(C=C), 1 / (1 + C * C) if beta2 is None else beta2
    low, high = record.box(1)[0]
    x, v, most, path = record.start(1)[:, None], 0.0, 0.0, []
    for t in range(1, steps + 1):
        g = record.gradients(p, x, t)
        v = beta2 * v + (1 - beta2) * g * g
        most = np.maximum(v, most) if amsgrad else v
        root = np.sqrt(most / (1 - beta2**t)) + 1e-8
        x = np.clip(x - rate * g / root, low, high)
        path.append(x[0, 0])
    return np.array(path)


@pytest.mark.parametrize("C", [3.0, 5.0, 10.0])
def test_adam_goes_the_wrong_way_and_amsgrad_does_not(C):
    record = LANDSCAPES["adam_counterexample"]
    assert record.minima(record.instance(C=C), 1) == -1
    assert adam(record, 0.01, amsgrad=False, C=C)[-3:].min() > 0.98
    assert adam(record, 0.01, amsgrad=True, C=C)[-3:].max() < -0.98
    assert adam(record, 0.01, amsgrad=False, C=C, beta2=0.999)[-3:].max() < -0.98  # a long memory cures it too
