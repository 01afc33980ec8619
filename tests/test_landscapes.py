"""Landscapes on NumPy arrays: gradients, minima, and values of the literature."""

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from fastgd.common.errors import InputError
from fastgd.problems import LANDSCAPES, find_landscape

DIMENSIONS = (1, 2, 3, 10, 1000)
OTHERS = {
    "rosenbrock": {"b": 5.0},
    "ravine": {"condition": 7.0},
    "rastrigin": {"amplitude": 3.0},
    "ackley": {"a": 11.0, "b": 0.3, "c": 5.0},
    "toy_neuron": {"x": (0.5, 2.5, -1.0), "y": (0.2, 0.9, 0.3)},
    "bumpy_bowl": {"bowl": 0.3, "depth": 1.0, "pothole": 0.8, "width": 0.6},
    "plateau_cliff": {"height": 4.0, "steepness": 7.0, "slope": 0.2},
    "adam_counterexample": {"C": 5.0},
}
PARAMETERS = [(name, {}) for name in LANDSCAPES] + list(OTHERS.items())


def cases(dimensions):
    found = []
    for name, params in PARAMETERS:
        least, most = LANDSCAPES[name].dimension
        for d in dimensions:
            found += [(name, params, d)] * (least <= d <= most)
    return [
        pytest.param(LANDSCAPES[name], params, d, id=f"{name}-{d}{'-other' * bool(params)}")
        for name, params, d in found
    ]


def drawn(record, d, count, seed=0):
    low, high = record.box(d)[:, :1], record.box(d)[:, 1:]
    return low + np.random.default_rng(seed).random((d, count)) * (high - low)


def complex_step(record, p, x, j):
    """The derivative along coordinate j, to the last digit: no difference is taken."""
    z = x.astype(complex)
    z[j] += 1e-30j
    return record.value(p, z).imag / 1e-30


def hessian(record, p, x):
    h, d = 1e-4, len(x)
    up = record.gradients(p, x[:, None] + h * np.eye(d))
    down = record.gradients(p, x[:, None] - h * np.eye(d))
    return (up - down) / (2 * h)


# --- the whole registry -----------------------------------------------------------------------------------------------


def test_the_registry_is_what_the_documentation_says():
    assert set(LANDSCAPES) == {
        "rosenbrock", "beale", "himmelblau", "rastrigin", "ackley", "booth", "three_hump_camel", "styblinski_tang",
        "levy", "saddle", "monkey_saddle", "ravine", "bumpy_bowl", "plateau_cliff", "toy_neuron", "adam_counterexample",
    }  # fmt: skip
    for record in LANDSCAPES.values():
        assert record.summary
        assert record.reference
        assert not record.foreign
        assert not record.difference
        assert record.online == (record.name == "adam_counterexample") == record.projected
        assert set(OTHERS.get(record.name, {})) == set(record.parameters)


@pytest.mark.parametrize(("record", "params", "d"), cases(DIMENSIONS))
def test_gradients_are_those_of_the_values(record, params, d):
    p, X = record.instance(**params), drawn(record, d, 20)
    found = record.gradients(p, X) if not record.online else sum(record.gradients(p, X, t) for t in (1, 2, 3)) / 3
    for j in {0, 1 % d, d // 2, max(d - 2, 0), d - 1}:
        expected = np.array([complex_step(record, p, x, j) for x in X.T])
        assert found[j] == pytest.approx(expected, rel=1e-11, abs=1e-13 * np.abs(found).max())


@pytest.mark.parametrize(("record", "params", "d"), cases(DIMENSIONS))
def test_many_points_are_as_one_and_stay_as_they_are(record, params, d):
    p, X = record.instance(**params), drawn(record, d, 7)
    before = X.copy()
    values, gradients = record.values(p, X), record.gradients(p, X)
    assert values.shape == (7,)
    assert gradients.shape == (d, 7)
    assert np.array_equal(X, before)
    for i in range(7):
        assert record.values(p, X[:, i : i + 1])[0] == pytest.approx(values[i], rel=1e-14, abs=1e-14)
        size = np.abs(gradients[:, i]).max()
        assert record.gradients(p, X[:, i : i + 1])[:, 0] == pytest.approx(gradients[:, i], rel=1e-13, abs=1e-14 * size)
    assert record.values(p, X.astype("f4")).dtype == record.gradients(p, X.astype("f4")).dtype == np.float32


@pytest.mark.parametrize(("record", "params", "d"), cases((1, 2, 3, 4, 6, 10)))
def test_minima_are_stationary_and_minimal(record, params, d):
    p = record.instance(**params)
    minima = record.minima(p, d)
    low, high = record.box(d).T
    assert np.all((minima >= low - 0.1) & (minima <= high + 0.1))
    assert len(np.unique(np.round(minima, 6), axis=0)) == len(minima)
    if record.projected:
        return
    gradients = record.gradients(p, minima.T)
    assert np.all(np.linalg.norm(gradients, axis=0) < 1e-8)
    values = record.values(p, minima.T)
    assert np.all(np.diff(values) >= 0)
    ball = np.random.default_rng(1).uniform(-1e-3, 1e-3, (d, 1000))
    for x, value in list(zip(minima, values, strict=True))[:150]:
        assert np.all(record.values(p, x[:, None] + ball) >= value - 1e-12)
        if record.name != "ackley":  # a cone has no Hessian
            assert np.min(np.linalg.eigvalsh(hessian(record, p, x))) > 0


@pytest.mark.parametrize(("record", "params", "d"), cases((1, 2, 3, 10)))
def test_nothing_is_lower_than_the_first_minimum(record, params, d):
    p = record.instance(**params)
    if record.name in ("saddle", "monkey_saddle"):
        assert record.minima(p, d).shape == (0, d)
        return
    lowest = record.values(p, record.minima(p, d)[:1].T)[0]
    assert np.all(record.values(p, drawn(record, d, 100_000)) >= lowest)


@pytest.mark.parametrize(("record", "params", "d"), cases((1, 2, 3, 1000)))
def test_starts_are_in_the_box(record, params, d):
    low, high = record.box(d).T
    assert record.box(d).shape == (d, 2)
    assert record.start(d).shape == (d,)
    assert np.all((low <= record.start(d)) & (record.start(d) <= high))


def test_an_identity_is_the_same_for_the_same_text_only():
    names = [repr(record) for record in LANDSCAPES.values()]
    assert len(set(names)) == len(names)
    assert repr(LANDSCAPES["beale"]).startswith("landscape fastgd.problems.landscapes.classic:beale ")
    assert LANDSCAPES["beale"] == find_landscape("beale") != LANDSCAPES["booth"]
    assert len({LANDSCAPES["beale"], find_landscape("beale")}) == 1


# --- values of the literature -----------------------------------------------------------------------------------------


def at(name, *x, **params):
    record = LANDSCAPES[name]
    return record.values(record.instance(**params), np.array(x, float)[:, None])[0]


@pytest.mark.parametrize("d", [2, 3, 10, 1000])
def test_rosenbrock_is_scipys(d):
    record, X = LANDSCAPES["rosenbrock"], drawn(LANDSCAPES["rosenbrock"], d, 10)
    assert record.values(record.instance(), X) == pytest.approx(rosen(X), rel=1e-13)
    expected = np.stack([rosen_der(x) for x in X.T], 1)
    assert record.gradients(record.instance(), X) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("beale", lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2),
        ("booth", lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2),
        ("himmelblau", lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2),
        ("three_hump_camel", lambda x, y: 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2),
        ("saddle", lambda x, y: x**2 - y**2),
        ("monkey_saddle", lambda x, y: x**3 - 3 * x * y**2),
        ("rastrigin", lambda *x: 10 * len(x) + sum(a**2 - 10 * np.cos(2 * np.pi * a) for a in x)),
        ("styblinski_tang", lambda *x: sum(a**4 - 16 * a**2 + 5 * a for a in x) / 2),
        (
            "ackley",
            lambda *x: (
                -20 * np.exp(-0.2 * np.sqrt(np.mean(np.square(x), axis=0)))
                - np.exp(np.mean(np.cos(2 * np.pi * np.array(x)), axis=0))
                + 20
                + np.e
            ),
        ),
        (
            "ravine",
            lambda *x: sum(100 ** (i / (len(x) - 1)) * a**2 for i, a in enumerate(x)) / 2,
        ),
    ],
)
def test_values_are_those_of_the_formula(name, formula):
    record = LANDSCAPES[name]
    for d in (2, 3, 7):
        if d <= record.dimension[1]:
            X = drawn(record, d, 50)
            found = record.values(record.instance(), X)
            assert found == pytest.approx(formula(*X), rel=1e-12, abs=1e-11)


def levy(x):
    w = 1 + (np.asarray(x) - 1) / 4
    middle = np.sum((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2))
    return np.sin(np.pi * w[0]) ** 2 + middle + (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)


@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_levy_is_the_formula(d):
    X = drawn(LANDSCAPES["levy"], d, 50)
    assert LANDSCAPES["levy"].values((), X) == pytest.approx([levy(x) for x in X.T], rel=1e-12)


def test_published_values():
    assert at("ackley", 0, 0) == at("levy", 1, 1, 1) == at("rastrigin", 0, 0) == at("beale", 3, 0.5) == 0
    assert at("booth", 1, 3) == at("three_hump_camel", 0, 0) == at("himmelblau", 3, 2) == 0
    assert at("himmelblau", -0.270845, -0.923039) == pytest.approx(181.617, abs=1e-3)
    for d in (1, 2, 5):
        record = LANDSCAPES["styblinski_tang"]
        lowest = record.minima(record.instance(), d)[0]
        assert lowest == pytest.approx(np.full(d, -2.903534), abs=1e-6)
        assert at("styblinski_tang", *lowest) == pytest.approx(-39.16599 * d, abs=2e-4 * d)


def test_himmelblaus_minima():
    minima = LANDSCAPES["himmelblau"].minima(LANDSCAPES["himmelblau"].instance(), 2)
    expected = [(3, 2), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126)]
    assert sorted(map(tuple, minima)) == [pytest.approx(point, abs=1e-6) for point in sorted(expected)]
    assert np.all(LANDSCAPES["himmelblau"].values((), minima.T) < 1e-29)


@pytest.mark.parametrize(
    ("name", "d", "count"),
    [("rastrigin", 2, 121), ("rastrigin", 3, 1331), ("rastrigin", 10, 1), ("styblinski_tang", 4, 16),
     ("three_hump_camel", 2, 3), ("rosenbrock", 3, 1), ("rosenbrock", 4, 2), ("rosenbrock", 7, 2),
     ("bumpy_bowl", 2, 3), ("plateau_cliff", 2, 1), ("levy", 1000, 1)],
)  # fmt: skip
def test_how_many_minima_are_known(name, d, count):
    record = LANDSCAPES[name]
    assert len(record.minima(record.instance(), d)) == count


def test_levys_minima_are_all_that_descent_finds():
    record = LANDSCAPES["levy"]
    X = drawn(record, 2, 2000)
    for _ in range(3000):
        X = X - 0.02 * record.gradients((), X)
    minima = record.minima(record.instance(), 2)
    apart = np.linalg.norm(X.T[:, None] - minima[None], axis=2).min(axis=1)
    inside = np.all(np.abs(X) < 9.9, axis=0)
    assert np.all(apart[inside] < 1e-2)  # the basin at 1 is nearly flat


def test_the_lectures_table_of_guesses():
    table = {
        (0.50, 0): 0.0731, (-0.10, 0): 0.1481, (0.94, -0.94): 0.0217,
        (1.42, -1.73): 0.0028, (1.65, -2.08): 0.0003, (1.78, -2.27): 0.0000,
    }  # fmt: skip
    for point, printed in table.items():
        assert at("toy_neuron", *point) == pytest.approx(printed, abs=1e-4)


def test_a_neuron_on_three_points_has_a_minimum_too():
    record = LANDSCAPES["toy_neuron"]
    p = record.instance(**OTHERS["toy_neuron"])
    assert len(record.minima(p, 2)) >= 1
    assert record.values(p, record.minima(p, 2)[:1].T)[0] > 1e-4


def test_a_neuron_that_cannot_fit_has_no_minimum():
    record = LANDSCAPES["toy_neuron"]
    assert record.minima(record.instance(x=(-1.0, 1.0), y=(0.0, 1.0)), 2).shape == (0, 2)


# --- names and parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("rosenbrock", {"c": 1.0}, "no parameter 'c'; valid: b"),
        ("himmelblau", {"a": 1.0}, "it has none"),
        ("ravine", {"conditon": 2.0}, "did you mean 'condition'"),
        ("ravine", {"condition": 0.0}, "condition = 0.0, which must be > 0"),
        ("ravine", {"condition": "steep"}, "which must be a number"),
        ("ravine", {"condition": float("nan")}, "which must be a number"),
        ("ravine", {"condition": [1.0, 2.0]}, "which must be a number"),
        ("adam_counterexample", {"C": 2.0}, "> 2"),
        ("bumpy_bowl", {"depth": -1.0}, ">= 0"),
        ("toy_neuron", {"x": 1.0}, "which must be numbers"),
        ("toy_neuron", {"x": (1.0, 2.0, 3.0)}, "as many numbers"),
        ("toy_neuron", {"x": (), "y": ()}, "at least one"),
    ],
)
def test_wrong_parameters(name, params, message):
    with pytest.raises(InputError, match=message):
        LANDSCAPES[name].instance(**params)


def test_parameters_are_floats_and_arrays():
    assert isinstance(LANDSCAPES["ravine"].instance(condition=3).condition, float)
    x = LANDSCAPES["toy_neuron"].instance(x=[1, 2], y=[0.1, 0.2]).x
    assert x.dtype == np.float64
    assert x.tolist() == [1, 2]


def test_wrong_dimensions():
    with pytest.raises(InputError, match="'beale' has 2 dimensions, not 3"):
        LANDSCAPES["beale"].box(3)
    with pytest.raises(InputError, match="'rosenbrock' has from 2 to 1000 dimensions, not 1"):
        LANDSCAPES["rosenbrock"].start(1)
    with pytest.raises(InputError, match="not 1001"):
        LANDSCAPES["levy"].minima((), 1001)
