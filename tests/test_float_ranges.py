"""Norms, sums and constants: right up to the largest float and down to small ones, and as exact as their type."""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
import reference
from cohorts import PARTS, SINGLE, SMALL, TYPES, make_cohort, problem, spread
from landscape_studies import study
from numba import types
from numba.core.errors import TypingError
from sparse_cohorts import pair
from swarms import make_swarm

import fastgd
from fastgd import optimizers
from fastgd.common.errors import InputError
from fastgd.core import math as the_math
from fastgd.core.address_calls import address_of, call_at
from fastgd.core.compile import jit
from fastgd.core.static import Static
from fastgd.core.threads import Threads, call
from fastgd.engine.rows.norms import norms
from fastgd.engine.shapes import tile_shape
from fastgd.optimizers.line_search import Exact
from fastgd.problems import LOSSES

KERNELS = [SINGLE, SMALL, PARTS]


def kernels_of(*sizes):
    """Parametrise by (type, size) and kernel: a lane alone in float32, which compiles its own, with `full`."""
    cases = [(*size, kernel) for size in sizes for kernel in KERNELS]
    return pytest.mark.parametrize(
        ("dtype", "size", "kernel"),
        spread(cases, [case for case in cases if (case[0], case[2]) != ("float32", SINGLE)]),
        ids=lambda each: getattr(each, "name", str(each)),
    )


# --- norms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 5e-324, 1e-300, 1e-200, 1e-150, 1.0, 1e150, 1e200, 1e300])
@np.errstate(over="ignore")
def test_a_norm_of_numbers_of_any_size(scale):
    x = scale * np.array([3.0, -4.0, 1e-3, 0.0])
    parts = tuple(np.sum(part) for part in the_math.squares(x))
    expected = math.hypot(*x)
    assert the_math.root(parts) == pytest.approx(expected, rel=1e-14, abs=0)
    assert norms(x[:, None])[0] == pytest.approx(expected, rel=1e-14, abs=0)
    assert the_math.hypot(x[0], x[1]) == pytest.approx(math.hypot(x[0], x[1]), rel=1e-14, abs=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_norm_of_what_is_not_finite(bad):
    for x in ([bad, 1.0], [1e300, bad], [1e-300, bad], [bad, 0.0]):
        with np.errstate(all="ignore"):
            found = the_math.root(tuple(np.sum(part) for part in the_math.squares(np.array(x))))
            assert np.isnan(found) if np.isnan(bad) else found == np.inf
            assert (
                np.isnan(norms(np.array(x)[:, None])[0]) if np.isnan(bad) else norms(np.array(x)[:, None])[0] == np.inf
            )


@np.errstate(over="ignore")
def test_a_lanes_norm_does_not_depend_on_the_others():
    columns = np.random.default_rng(0).standard_normal((50, 3))
    columns[:, 2] *= 1e200
    np.testing.assert_array_equal(norms(columns)[:2], norms(columns[:, :2]))


@np.errstate(over="ignore")
def test_norms_of_many_columns_are_those_of_few():
    columns = 10.0 ** np.random.default_rng(0).uniform(-200, 200, (3, 10_000))
    parts = [norms(columns[:, first : first + 100]) for first in range(0, 10_000, 100)]
    np.testing.assert_array_equal(norms(columns), np.concatenate(parts))


# Rules whose step does not depend on the gradient's scale, once eps is 0, or depends on the quotient of loss and scale.
SCALES = {"float32": (1e-30, 1e22, 3e37), "float64": (1e-200, 1e200, 1e307)}
INVARIANT = [
    ("sgd", {"lr": 1.0, "clip": {"norm": 1e-3}}),
    ("lars", {"lr": 1.0, "momentum": 0.0}),
    ("novograd", {"lr": 1.0, "eps": 0.0}),
    ("dog", {"eps": 0.0}),
    ("dowg", {"eps": 0.0}),
    ("dadapt_sgd", {}),
    ("polyak", {"max_lr": 1e30}),
    ("momo", {"lr": 1e30}),
]


@pytest.mark.parametrize("dtype", spread(SCALES, ["float32"]))
@pytest.mark.parametrize(
    ("name", "values"),
    spread(INVARIANT, [INVARIANT[at] for at in (0, 1, 3, 6)]),
    ids=[name for name, _ in INVARIANT],
)
def test_a_step_does_not_depend_on_the_scale_of_the_gradient(name, values, dtype):
    g = np.array([1.0, -0.5, 0.25], dtype)

    def stepped(scale):
        w = np.array([0.1, 0.2, -0.3], dtype)
        rule = getattr(optimizers, name)(w, **values)
        for _ in range(2):
            rule.step(g * np.array(scale, dtype), loss=scale)
        return w

    for scale in SCALES[dtype]:
        if scale < 1 and name in ("sgd", "polyak", "momo"):  # PyTorch adds 1e-6, and for optax a small norm is 0
            continue
        np.testing.assert_allclose(
            stepped(scale), stepped(1.0), rtol=(3e-6 if dtype == "float32" else 1e-12) if name != "sgd" else 2e-6
        )


@pytest.mark.parametrize("name", ["dog", "dowg", "dadapt_sgd", "lars", "sgd"])
def test_a_small_step_along_the_largest_gradients(name):
    """A rate of 1e-6 / 1e38 would keep one digit or two in float32."""
    values = {
        "dog": {"eps": 0.0},
        "dowg": {"eps": 0.0},
        "lars": {"lr": 1e-3},
        "sgd": {"lr": 1.0, "clip": {"norm": 1e-4}},
    }.get(name, {})
    steps = []
    for scale in (1.0, 3e38):
        w = np.zeros(3, "float32")
        if name == "lars":
            w += 1
        rule = getattr(optimizers, name)(w, **values)
        rule.step(np.array([1.0, -0.5, 0.25], "float32") * np.float32(scale))
        steps.append(rule.slots["velocity"].copy() if name == "lars" else w)
    np.testing.assert_allclose(steps[1], steps[0], rtol=2e-6 if name != "sgd" else 3e-6)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e22), ("float32", 1e37), ("float64", 1e200)])
def test_a_gradient_that_is_clipped_by_its_norm(dtype, size):
    w = np.zeros(1, dtype)
    optimizers.sgd(w, lr=1.0, clip={"norm": 1.0}).step(np.array([-size], dtype))
    assert w[0] == pytest.approx(1.0, rel=1e-6 if dtype == "float32" else 1e-14)


@kernels_of(("float32", 1e22), ("float64", 1e200))
def test_a_cohort_clips_it_too(dtype, size, kernel):
    X, y = np.ones((4, 1)), np.full(4, size)
    cohort = make_cohort(
        X, y, [{"lr": 1.0, "clip.norm": 1.0}], "sgd", loss="squared", kernel=kernel, batch_size=4, intercept=False,
        around={"clip": "norm"}, dtype=dtype,
    )  # fmt: skip
    cohort.advance(1)
    assert cohort.parameters()[0, 0] == pytest.approx(1.0, rel=1e-6 if dtype == "float32" else 1e-14)
    assert cohort.gradient_norms()[0][0] == pytest.approx(size, rel=1e-6)


@kernels_of(("float32", 1e30), ("float32", 1e-30), ("float64", 1e200), ("float64", 1e-200))
def test_the_norms_of_checkpoints(dtype, size, kernel):
    X, y = np.ones((4, 2)), np.zeros(4)
    start = np.array([3 * size, -4 * size])
    cohort = make_cohort(
        X,
        y,
        [{"lr": 1.0}],
        "sgd",
        loss="huber",
        kernel=kernel,
        batch_size=4,
        intercept=False,
        init=tuple(start),
        dtype=dtype,
    )
    found = cohort.measure([(X.astype(dtype), y.astype(dtype), [LOSSES["huber"]])]).norms[0]
    assert found == pytest.approx(5 * size, rel=1e-6, abs=0)
    expected = math.sqrt(2) * min(size, 1.0)
    assert cohort.gradient_norms()[0][0] == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e30), ("float64", 1e200), ("float64", 1e-200)])
def test_the_norm_of_a_landscapes_gradient(dtype, size):
    swarm = make_swarm("saddle", "sgd", dtype=dtype, starts=np.array([[3 * size, -4 * size]]))
    reading = swarm.read()
    expected = math.hypot(*swarm.spec.landscape.gradients(swarm.spec.p, reading.positions)[:, 0])
    assert reading.grad_norm[0] == pytest.approx(expected, rel=1e-6, abs=0)


def test_the_norm_of_a_landscapes_point(tmp_path):
    fields = {"starts": {"points": [[3e200, -4e200]]}, "optimizer": {"name": "sgd", "lr": 1e-9}, "steps": 1}
    curves = fastgd.run(study(problem={"landscape": "rosenbrock"}, **fields), tmp_path / "r").curves
    assert curves["param_norm"].iloc[0] == pytest.approx(5e200)


# --- sums of many rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", spread(KERNELS, [SMALL, PARTS]), ids=lambda kernel: kernel.name)
def test_gradients_of_many_rows_in_float32(kernel):
    """In a running sum in float32, half a million equal terms would be off in the third digit.

    Chunks of 256 rows are summed in float32: equal terms, whose roundings are equal too, are off by at most 8e-6.
    """
    n = 1_000_000 if kernel.parts else 16_000
    X, y = np.full((n, 1), 0.1, "float32"), np.zeros(n, "float32")
    cohort = make_cohort(
        X, y, [{"lr": 1.0}], "sgd", loss="squared", kernel=kernel, batch_size=n, init=(1.0,), intercept=False,
        dtype="float32",
    )  # fmt: skip
    expected = float(X[0, 0]) ** 2
    assert cohort.gradient_norms()[0][0] == pytest.approx(expected, rel=5e-6)
    cohort.advance(1)
    assert 1 - cohort.parameters()[0, 0] == pytest.approx(expected, rel=2e-5)  # w has seven digits


def test_the_mean_of_a_snapshot_in_float32():
    X, y = np.full((1_000_000, 1), 0.1, "float32"), np.zeros(1_000_000, "float32")
    cohort = make_cohort(
        X, y, [{"lr": 0.0}], "sgd", loss="squared", kernel=SMALL, batch_size=10_000, init=(1.0,), intercept=False,
        dtype="float32", estimator="svrg",
    )  # fmt: skip
    cohort.advance(1)
    assert cohort.lanes.mean[0, 0] == pytest.approx(float(X[0, 0]) ** 2, rel=5e-6)


# --- constants --------------------------------------------------------------------------------------------------------


def test_one_minus_beta_is_rounded_once():
    """float32(1) - float32(0.99999) would be off by 0.14 %."""
    adam = optimizers.adam(np.zeros(1, "float32"), lr=1e-3, beta1=0.99999, beta2=0.99999)
    adam.step(np.ones(1, "float32"))
    for slot in adam.slots.values():
        assert slot[0] == np.float32(1 - 0.99999)


# PyTorch in float32 takes the same steps with constants made in float64: after 1,000 of them, iterates agree to 1e-6
# of the largest weight. Each of the two computes its gradients at its own iterate, in float64, and rounds them. Decay
# is left out: PyTorch multiplies by a rounded `1 - lr decay`, which is off by 1e-5 of a weight then; here the decay
# alone is rounded, and agrees with PyTorch in float64.
WITNESSES = [
    ("sgd", {"lr": 0.1}, "SGD", {}),
    ("momentum", {"lr": 0.05}, "SGD", {"momentum": 0.9}),
    ("adam", {"lr": 1e-3}, "Adam", {}),
    ("adam", {"lr": 1e-3, "beta2": 0.99999}, "Adam", {"betas": (0.9, 0.99999)}),
    ("amsgrad", {"lr": 1e-3}, "Adam", {"amsgrad": True}),
    ("adamw", {"lr": 1e-3, "weight_decay": 0.0}, "AdamW", {"weight_decay": 0.0}),
    ("adamax", {"lr": 1e-3}, "Adamax", {}),
    ("nadam", {"lr": 1e-3}, "NAdam", {}),
    ("radam", {"lr": 1e-3}, "RAdam", {}),
    ("rmsprop", {"lr": 1e-3, "alpha": 0.999}, "RMSprop", {"alpha": 0.999}),
    ("adagrad", {"lr": 0.05}, "Adagrad", {}),
    ("adadelta", {"lr": 1.0}, "Adadelta", {"rho": 0.9}),
]


@pytest.mark.parametrize(
    ("name", "values", "witness", "options"),
    spread(WITNESSES, [case for case in WITNESSES if case[0] in ("sgd", "adam", "adagrad")]),
    ids=[f"{name}-{i}" for i, (name, *_) in enumerate(WITNESSES)],
)
def test_the_witness_in_float32(name, values, witness, options):
    torch = pytest.importorskip("torch", reason="the witnesses are PyTorch's optimizers")
    X, y = problem(200, 10)

    def gradient(t, w):
        rows = (np.arange(20) + 20 * t) % len(y)
        return reference.gradient(X[rows], y[rows], w.astype(float), loss="logistic").astype("float32")

    w = np.zeros(10, "float32")
    ours, theirs = getattr(optimizers, name)(w, **values), torch.zeros(10, requires_grad=True)
    other = getattr(torch.optim, witness)([theirs], lr=values["lr"], **options)
    for t in range(1000):
        ours.step(gradient(t, w))
        theirs.grad = torch.from_numpy(gradient(t, theirs.detach().numpy()))
        other.step()
    expected = theirs.detach().numpy()
    assert np.max(np.abs(w - expected)) <= 1e-6 * np.max(np.abs(expected))


# --- differences, errors and zeros ------------------------------------------------------------------------------------


def test_the_direction_of_a_line_search_in_float32():
    """Weights of 1e4 leave few digits of a small step."""
    X, y = problem(40, 3, "squared")
    start = np.array([1e4, -1e4, 1e4])
    cohort = make_cohort(
        X, X @ start + 1e-2 * y, [{"lr": 1.0}], "sgd", loss="huber", line_search=Exact(), batch_size=40,
        init=tuple(start), intercept=False, dtype="float32",
    )  # fmt: skip
    cohort._order_rows(0)
    cohort.kernels.link()
    cohort._sum_gradient(0, cohort.n, lambda: None)
    found = cohort.layout.columns(cohort.layout.blocks(cohort.direction(), 0))[:, 0]
    np.testing.assert_allclose(found, -cohort.layout.blocks(cohort._gradients[0], 0)[0, :, 0], rtol=1e-6)


@jit
def failing(shape, constant, x):
    if x[0] > 0:
        raise ValueError("from below")


@jit
def calling(address, shape, x):
    call_at(address, shape, x)
    x[1] = 1


class Pair(NamedTuple):
    number: Any
    array: Any


@jit
def passing(address, shape, pair):
    call_at(address, shape, pair)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Pair(np.int32(1), np.zeros(2)), "whole numbers in a tuple .* are int64"),
        (Pair(1, np.zeros((2, 2)).T), "takes C-contiguous arrays"),
    ],
)
def test_what_a_call_by_address_cannot_pass_in_a_tuple_is_refused(pair, message):
    """The kernel would read other bytes than those that are passed."""
    with pytest.raises(TypingError, match=message):
        passing(0, Static(tile_shape(4, 8)), pair)


def test_an_error_in_a_kernel_that_is_called_by_its_address_is_raised():
    shape, x = Static(tile_shape(4, 8)), np.array([1.0, 0.0])
    kind = numba.typeof(shape)
    address = address_of(failing, (kind, kind, types.Array(types.float64, 1, "C")))
    with Threads(2) as threads:
        for count in (1, 2):
            with pytest.raises(RuntimeError, match="the kernel failing failed"):
                threads.run([call(calling, (address, shape, x))] * count)
        threads.run([call(calling, (address, shape, -x))])


@TYPES
@pytest.mark.parametrize(
    "name", spread(["adam", "adagrad", "rmsprop", "adamax", "cocob", "stable_adamw", "lamb", "yogi"])
)
def test_without_eps_dense_and_sparse_rows_agree(name, dtype):
    """A parameter that has had no gradient stays where it is: 0 / 0 is not a number, and is no step."""
    dense, sparse = pair(name, [{"lr": 0.01, "eps": 0.0, "weight_decay": 0.0}] * 2, batch_size=2, dtype=dtype)
    for cohort in (dense, sparse):
        cohort.advance(100)
        assert np.isfinite(cohort.parameters()).all()
    close = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(sparse.parameters(), dense.parameters(), rtol=close, atol=close)


def test_an_eps_that_a_type_or_a_schedule_makes_zero():
    w = np.zeros(2, "float32")
    optimizers.adam(w, lr=0.1, eps=1e-60).step(np.array([1.0, 0.0], "float32"))
    np.testing.assert_allclose(w, [-0.1, 0], rtol=1e-6)

    class Vanished:
        per_step = False

        def __call__(self, first, steps):
            return np.zeros((1, 1, 2))

    X, y = problem(20, 3)
    X[:, 1] = 0
    cohort = make_cohort(X, y, [{"lr": 0.1}] * 2, "adam", scheduled=("eps",), schedule=Vanished(), batch_size=10)
    cohort.advance(2)
    assert np.isfinite(cohort.parameters()).all()
    swarm = make_swarm(name="adam", scheduled=("eps",), schedule=lambda first, steps: np.zeros((steps, 1)))
    assert (swarm._values(3).values > 0).all()


def test_look_ahead_does_not_go_with_a_parameter_that_is_placed():
    w = np.zeros(2)
    optimizers.madgrad(w, lr=0.1, lookahead={})
    with pytest.raises(InputError, match=r"madgrad .*: with lr = 0\.1, momentum = 0 less than half of a move is left"):
        optimizers.madgrad(w, lr=0.1, momentum=0.0, lookahead={})
