"""Losses against their formulas in 60 digits: as NumPy functions, and as vectors of lanes inside a kernel."""

import decimal
from decimal import Decimal

import numpy as np
import pytest
import reference
from cohorts import SINGLE, TYPES, make_cohort

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import Static
from fastgd.core.vectors import aligned
from fastgd.engine.loss_kernels import losses_address, residuals_address
from fastgd.engine.shapes import single_shape, tile_shape
from fastgd.problems import LOSSES, MEASURES, ZERO_ONE

TARGETS = {"binary": (0.0, 1.0), "unit": (0.0, 0.3, 1.0), "real": (-2.5, 0.0, 1.0), "count": (0.0, 1.0, 7.0)}
NEAR = [0.0, 1e-300, 1e-8, 0.1, 0.5, 0.999, 1.0, 1.001, 1.5, 2.0, 5.0, 17.0, 30.0, 36.0, 37.0, 40.0, 80.0]
FAR = [87.0, 89.0, 100.0, 700.0, 708.5, 710.0, 740.0, 750.0, 1e5, 1e154, 1e300]
MARGINS = sorted({sign * size for size in NEAR + FAR for sign in (-1.0, 1.0)})
CASES = [(name, y) for name, loss in LOSSES.items() for y in TARGETS[loss.targets]]

# 60 digits; e^1e300 is Infinity and e^-1e300 is 0, as they should be
CONTEXT = decimal.Context(prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])


def sigmoid(z):
    return 1 / (1 + (-z).exp())


def exact(name, margin, target):
    """The loss, its derivative, and the size of the terms that each is a difference of; in floats."""
    with decimal.localcontext(CONTEXT):
        z, y = Decimal(float(margin)), Decimal(float(target))
        s = 2 * y - 1
        match name:
            case "squared":
                value, derivative = (z - y) ** 2 / 2, z - y
            case "logistic":
                m = -s * z
                e = (-abs(m)).exp()
                rest = (1 + e).ln() if e > Decimal("1e-30") else e - e**2 / 2
                value, derivative = max(m, Decimal(0)) + rest, -s * sigmoid(m)
            case "hinge":
                value, derivative = max(1 - s * z, Decimal(0)), -s if s * z < 1 else Decimal(0)
            case "squared_hinge":
                rest = max(1 - s * z, Decimal(0))
                value, derivative = rest**2, -2 * s * rest
            case "huber":
                r = z - y
                value = r**2 / 2 if abs(r) <= 1 else abs(r) - Decimal("0.5")
                derivative = max(min(r, Decimal(1)), Decimal(-1))
            case "sigmoid_squared":
                r = (1 - y) * sigmoid(z) - y * sigmoid(-z)
                value, derivative = r**2 / 2, r * sigmoid(z) * sigmoid(-z)
            case "poisson":
                value, derivative = z.exp() - y * z, z.exp() - y
        differences = {"poisson": z.exp() + abs(y * z) + y, "sigmoid_squared": y * (1 - y)}
        return float(value), float(derivative), float(differences.get(name, 0))


def assert_close(found, expected, terms, dtype):
    """To a few units in the last place, of the terms; where the result is not normal, 0 will do."""
    form = np.finfo(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = np.asarray(expected).astype(dtype).astype(float)
        limit = 8 * form.eps * np.maximum(np.abs(expected), terms) + 2 * form.smallest_normal
        off = ~((np.abs(found - expected) <= limit) | (found == expected))
    assert not off.any(), (np.asarray(found)[off], expected[off])


def table(name, y, margins, dtype=np.float64):
    """Exact values, derivatives and terms at these margins."""
    return np.array([exact(name, dtype(z), dtype(y)) for z in margins]).T


# --- as NumPy functions -----------------------------------------------------------------------------------------------


def test_every_loss_has_a_reference():
    assert set(reference.LOSSES) == set(LOSSES)


@pytest.mark.parametrize(("name", "y"), CASES)
def test_exact_and_silent_for_any_margin(name, y):
    """Warnings are errors: none comes where the loss is finite."""
    value, derivative, terms = table(name, y, MARGINS)
    for function, expected in ((LOSSES[name].value, value), (LOSSES[name].derivative, derivative)):
        finite = np.isfinite(expected)
        assert np.sum(finite) > len(MARGINS) // 2 + 10
        assert_close(function(np.array(MARGINS)[finite], y), expected[finite], terms[finite], "float64")


@pytest.mark.parametrize(("name", "y"), CASES)
def test_derivative_is_the_slope(name, y):
    loss, h = LOSSES[name], 1e-6
    z = np.linspace(-3, 3, 61) + 0.0123  # beside the kinks
    slope = (loss.value(z + h, y) - loss.value(z - h, y)) / (2 * h)
    np.testing.assert_allclose(loss.derivative(z, y), slope, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(("name", "y"), CASES)
def test_one_number_is_as_good_as_an_array(name, y):
    loss, z = LOSSES[name], np.array([-1.7, 0.0, 0.4])
    for function in (loss.value, loss.derivative):
        np.testing.assert_array_equal([function(float(one), y) for one in z], function(z, y))


def test_agree_with_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is an outside witness")
    functional = torch.nn.functional
    witnesses = {
        "squared": lambda z, y: functional.mse_loss(z, y, reduction="none") / 2,
        "logistic": lambda z, y: functional.binary_cross_entropy_with_logits(z, y, reduction="none"),
        "hinge": lambda z, y: functional.relu(1 - (2 * y - 1) * z),
        "squared_hinge": lambda z, y: functional.relu(1 - (2 * y - 1) * z) ** 2,
        "huber": lambda z, y: functional.huber_loss(z, y, reduction="none", delta=1.0),
        "sigmoid_squared": lambda z, y: functional.mse_loss(torch.sigmoid(z), y, reduction="none") / 2,
        "poisson": lambda z, y: functional.poisson_nll_loss(z, y, log_input=True, full=False, reduction="none"),
    }
    assert set(witnesses) == set(LOSSES)
    margins = np.linspace(-6, 6, 97) + 0.01
    for name, y in CASES:
        z = torch.tensor(margins, requires_grad=True)
        values = witnesses[name](z, torch.full_like(z, y))
        values.sum().backward()
        np.testing.assert_allclose(LOSSES[name].value(margins, y), values.detach().numpy(), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(LOSSES[name].derivative(margins, y), z.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_zero_one_counts_errors():
    z, y = np.array([-2.0, -1e-300, 0.0, 1e-300, 3.0]), np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    np.testing.assert_array_equal(ZERO_ONE.value(z, y), [0, 1, 0, 0, 1])


# --- in kernels -------------------------------------------------------------------------------------------------------


@jit
def _add_losses(address, shape, Z, y, rows, out):
    call_at(address, shape, Z, y, rows, out)


@jit
def _residuals(address, shape, Z, y, rows, scale, check):
    call_at(address, shape, Z, y, rows, scale, check)


def add_losses(name, shape, Z, y, out, *, single=False):
    """What drivers call, as they do."""
    address = losses_address(LOSSES[name], shape, Z.dtype, single)
    _add_losses(address, Static(shape.of_lanes), Z, y, len(y), out)


def residuals(name, shape, Z, y, scale, check, *, single=False):
    """What drivers call, as they do."""
    address = residuals_address(LOSSES[name], shape, Z.dtype, single)
    _residuals(address, Static(shape.of_lanes), Z, y, len(y), scale, check)


def representable(dtype):
    """The margins that this type can hold, and a few where float32 ends, in whole vectors."""
    margins = [z for z in [*MARGINS, 88.7, -86.8, -87.1] if abs(z) < float(np.finfo(dtype).max)]
    return np.array(margins + [0.25] * (-len(margins) % 16), dtype)


@TYPES
@pytest.mark.parametrize(("name", "y"), CASES)
def test_values_in_a_kernel(name, y, dtype):
    z = representable(dtype)
    shape = tile_shape(8, z.itemsize)
    Z, out = aligned((len(z),), dtype), aligned((8,), np.float64)
    expected, _, terms = table(name, y, z, z.dtype.type)
    found = np.empty(len(z))
    for start in range(0, len(z), 8):
        Z[:8], out[:] = z[start : start + 8], 0
        add_losses(name, shape, Z, np.full(1, y, dtype), out)
        found[start : start + 8] = out
    assert_close(found, expected, terms, dtype)


@pytest.mark.parametrize("rows", [1, 7, 8, 29, 64])
@TYPES
@pytest.mark.parametrize("name", list(LOSSES))
def test_sums_over_rows_in_kernels(name, dtype, rows):
    """Rows may share a logarithm and fill vectors or not: the sums are those of the values."""
    rng = np.random.default_rng(rows)
    y = rng.integers(0, 2, rows).astype(dtype)
    for scale in (1e-3, 1.0, 10.0):
        z = rng.normal(0, scale, (rows, 8)).astype(dtype)
        expected = sum(LOSSES[name].value(np.float64(row), np.float64(label)) for row, label in zip(z, y, strict=True))
        places = {"rtol": 1e-14 if dtype == "float64" else 5e-6}
        tile, out = tile_shape(8, z.itemsize), aligned((8,), np.float64)
        Z = aligned((z.size,), dtype)
        Z[:] = z.ravel()
        add_losses(name, tile, Z, y, out)
        np.testing.assert_allclose(out, expected, **places)
        single, targets, total = single_shape(z.itemsize), aligned((96,), dtype), np.zeros(1)
        targets[:rows] = y
        for lane in range(8):
            Z, total[:] = aligned((96,), dtype), 0
            Z[:rows] = z[:, lane]
            add_losses(name, single, Z, targets[:rows], total, single=True)
            np.testing.assert_allclose(total[0], expected[lane], **places)


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.log_terms])
@pytest.mark.parametrize("z", [np.inf, -np.inf, np.nan, 1e300])
def test_shared_logarithms_keep_what_is_not_finite(name, z):
    margins, out = aligned((8 * 8,), "float64"), aligned((8,), np.float64)
    margins[3 * 8 + 2] = z
    add_losses(name, tile_shape(8, 8), margins, np.zeros(8), out)
    expected = np.full(8, 8 * np.log(2))
    expected[2] = 7 * np.log(2) + LOSSES[name].value(z, 0.0)
    np.testing.assert_allclose(out, expected, rtol=1e-14)


@pytest.mark.parametrize("single", [False, True], ids=["tile", "single"])
@TYPES
@pytest.mark.parametrize(("name", "y"), CASES)
def test_derivatives_in_a_kernel(name, y, dtype, single):
    z = representable(dtype)
    L = 1 if single else 8
    shape = single_shape(z.itemsize) if single else tile_shape(L, z.itemsize)
    Z, targets, check = aligned((len(z),), dtype), aligned((len(z) // L,), dtype), aligned((L,), dtype)
    Z[:], targets[:] = z, y
    residuals(name, shape, Z, targets, z.dtype.type(0.25), check, single=single)
    _, expected, terms = table(name, y, z, z.dtype.type)
    with np.errstate(over="ignore"):
        assert_close(4 * Z.astype(np.float64), expected, terms, dtype)
        lanes = np.isfinite((expected + z).astype(dtype)).reshape(-1, L).all(axis=0)
    np.testing.assert_array_equal(check, np.where(lanes, 0, np.nan), "a lane is flagged where a residual is not finite")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", LOSSES)
def test_a_margin_that_is_not_finite_flags_its_lane_alone(name, bad):
    Z, y, check = aligned((6 * 8,), "float64"), np.ones(6), aligned((8,), "float64")
    Z[3 * 8 + 5] = bad
    residuals(name, tile_shape(8, 8), Z, y, 1.0, check)
    np.testing.assert_array_equal(np.isnan(check), np.arange(8) == 5)


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 4e-7)])
def test_sums_are_kept_in_float64(dtype, close):
    """A million rows through a whole cohort: a sum in float32 would be off in the third digit."""
    X, y = np.full((1_000_000, 1), 0.1, dtype), np.zeros(1_000_000, dtype)
    cohort = make_cohort(X, y, [{"lr": 1.0}], "sgd", kernel=SINGLE, init=1.0, intercept=False, dtype=dtype)
    (sums,) = cohort.measure([(X, y, MEASURES)]).sums
    z = float(X[0] @ cohort.parameters()[0].astype(dtype))
    expected = [1e6 * measure.value(z, 0.0) for measure in MEASURES]
    np.testing.assert_allclose(sums[:, 0], expected, rtol=close)
