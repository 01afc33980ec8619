"""Networks in the engine: against a readable reference, against PyTorch, and the bits that nothing may change."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import reference_networks
from cohorts import TYPES, grid, make_cohort, problem, relative_error, spread
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from fastgd.core.vectors import register_bits
from fastgd.engine.network.model import Network
from fastgd.engine.network.starts import start_of_layer
from fastgd.engine.shapes import Kernel
from fastgd.optimizers.line_search import Armijo, Best
from fastgd.problems import CLASS_LOSSES, LOSSES, MISSES, with_outputs
from fastgd.problems.activations import ACTIVATIONS
from fastgd.problems.starts import STARTS

TILE, PARTS = Kernel(8, network=True), Kernel(8, parts=2, network=True)  # the widest of float64, as studies get
ONE = Kernel(1, network=True)
ROWS, FEATURES = 300, 5


def network(hidden=(6, 3), activation="tanh", *, bias=True):
    return Network(tuple(hidden), ACTIVATIONS[activation], bias=bias)


def make(X, y, lanes, optimizer="sgd", *, model=None, kernel=TILE, init="glorot", **options):
    return make_cohort(X, y, lanes, optimizer, model=model or network(), kernel=kernel, init=init, **options)


def train_by_reference(X, y, model, optimizer, hyper, *, loss, batch_size, steps, start, l2=0.0, seed=None):
    """The parameters after some steps of the reference's rule on the reference's network."""
    widths, memory, w = model.widths(X.shape[1]), reference.defaultdict(float), np.array(start)
    how = {"loss": loss, "l2": l2, "bias": model.bias}
    for t, rows in zip(range(1, steps + 1), reference.batches(len(X), batch_size, seed), strict=False):

        def of_batch(at, rows=rows, of=reference_networks.gradient):
            return of(at, X[rows], y[rows], widths, model.activation.name, **how)

        of_batch.objective = lambda at, of=of_batch: of(at, of=reference_networks.objective)
        w = reference.OPTIMIZERS[optimizer](w, of_batch, t, memory, **hyper)
    return w


# --- steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize(
    ("hidden", "batch_size", "kernel"),
    [
        ((), 32, TILE),
        ((7,), 7, TILE),
        ((6, 3), 100, TILE),
        ((5, 9, 4), ROWS, TILE),
        ((6, 3), ROWS, PARTS),
        ((9, 8), 7, ONE),
        ((5, 17, 4), ROWS, ONE),
    ],
)
def test_train_as_the_reference(loss, hidden, batch_size, kernel):
    X, y = problem(ROWS, FEATURES, loss)
    model, lanes = network(hidden), [{"lr": 0.02}, {"lr": 0.1}]
    cohort = make(X, y, lanes, model=model, loss=loss, batch_size=batch_size, kernel=kernel, l2=[0.0, 0.1])
    start = cohort.parameters()[0]
    cohort.advance(40)
    for found, lane, l2 in zip(cohort.parameters(), lanes, (0.0, 0.1), strict=True):
        how = {"loss": loss, "batch_size": batch_size, "steps": 40, "start": start, "seed": 3}
        expected = train_by_reference(X, y, model, "sgd", lane, l2=l2, **how)
        assert relative_error(found, expected) < 1e-10


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_train_as_the_reference(activation):
    X, y = problem(ROWS, FEATURES, "squared")
    model = network((8, 5), activation)
    cohort = make(X, y, [{"lr": 0.05}], "momentum", model=model, loss="squared", batch_size=20)
    start = cohort.parameters()[0]
    cohort.advance(60)
    how = {"loss": "squared", "batch_size": 20, "steps": 60, "start": start, "seed": 3}
    expected = train_by_reference(X, y, model, "momentum", {"lr": 0.05, "momentum": 0.9}, **how)
    assert relative_error(cohort.parameters()[0], expected) < 1e-10


@pytest.mark.parametrize(
    "optimizer", spread(["momentum", "adam", "polyak", "nesterov", "rmsprop", "schedule_free_sgd", "dog"])
)
def test_rules_train_as_the_reference(optimizer):
    X, y = problem(ROWS, FEATURES, "logistic")
    lanes, model = grid(optimizer)[:1] + grid(optimizer)[2:3], network((6, 3), bias=False)
    cohort = make(X, y, lanes, optimizer, model=model, batch_size=50)
    start = cohort.parameters()[0]
    cohort.advance(50)
    for found, lane in zip(cohort.parameters(), lanes, strict=True):
        how = {"loss": "logistic", "batch_size": 50, "steps": 50, "start": start, "seed": 3}
        assert relative_error(found, train_by_reference(X, y, model, optimizer, lane, **how)) < 1e-9


@pytest.mark.parametrize("kernel", [TILE, PARTS])
@pytest.mark.parametrize("optimizer", spread(["lars", "lamb", "novograd", "stable_adamw"], ["lamb", "novograd"]))
def test_layerwise_rules_see_each_layer(optimizer, kernel):
    X, y = problem(ROWS, FEATURES, "logistic")
    model, lane, batch_size = network((6, 3)), grid(optimizer)[0], ROWS if kernel is PARTS else 50
    cohort = make(X, y, [lane], optimizer, model=model, batch_size=batch_size, kernel=kernel, init="pytorch")
    w, memory = cohort.parameters()[0], {}
    for t, rows in zip(range(1, 31), reference.batches(ROWS, batch_size, 3), strict=False):
        g = reference_networks.gradient(w, X[rows], y[rows], model.widths(FEATURES), "tanh", loss="logistic")
        parts, at = [], 0
        for group in model.groups(FEATURES):
            own = slice(at, at + group.size)
            values = lane if group.penalised else lane | {"weight_decay": 0.0} if "weight_decay" in lane else lane
            s = memory.setdefault(group.name, reference.defaultdict(float))
            parts.append(reference.OPTIMIZERS[optimizer](w[own], lambda _, g=g[own]: g, t, s, **values))
            at += group.size
        w = np.concatenate(parts)
    cohort.advance(30)
    assert relative_error(cohort.parameters()[0], w) < 1e-9


def test_clipping_before_a_layerwise_rule_is_by_all_layers():
    X, y = problem(ROWS, FEATURES, "squared")
    y, model = 100 * y, network((6, 3))
    cohort = make(
        X,
        y,
        [{"lr": 0.1, "clip.norm": 0.5}],
        "novograd",
        model=model,
        loss="squared",
        batch_size=50,
        around={"clip": "norm"},
    )
    w, memory = cohort.parameters()[0], {}
    for t, rows in zip(range(1, 21), reference.batches(ROWS, 50, 3), strict=False):
        g = reference_networks.gradient(w, X[rows], y[rows], model.widths(FEATURES), "tanh", loss="squared")
        assert np.linalg.norm(g) > 0.5
        g, parts, at = g * 0.5 / np.linalg.norm(g), [], 0
        for group in model.groups(FEATURES):
            s = memory.setdefault(group.name, reference.defaultdict(float))
            how = {"lr": 0.1, "beta1": 0.9, "beta2": 0.25, "eps": 1e-6, "weight_decay": 0.0}
            own = slice(at, at + group.size)
            parts.append(reference.OPTIMIZERS["novograd"](w[own], lambda _, g=g[own]: g, t, s, **how))
            at += group.size
        w = np.concatenate(parts)
    cohort.advance(20)
    assert relative_error(cohort.parameters()[0], w) < 1e-9


def clipped_by_layer(g, model, most):
    """A gradient (parameters,) of which each layer, weights and biases together, is clipped, and what share."""
    layers, at = {}, 0
    for group in model.groups(FEATURES):
        layers.setdefault(group.layer, []).append(slice(at, at + group.size))
        at += group.size
    out, shares = g.copy(), []
    for parts in layers.values():
        own = slice(parts[0].start, parts[-1].stop)
        shares.append(min(1, most / (np.linalg.norm(g[own]) + 1e-6)))
        out[own] *= shares[-1]
    return out, shares


@pytest.mark.parametrize("optimizer", ["sgd", "novograd", "dog"])
@pytest.mark.parametrize("kernel", [TILE, PARTS])
def test_clipping_by_the_norm_of_each_layer(optimizer, kernel):
    """Before rules that sum over nothing, over each layer's weights, and over all parameters."""
    X, y = problem(ROWS, FEATURES, "squared")
    y, model, batch_size = 2 * y, network((6, 3)), ROWS if kernel is PARTS else 50
    lane = {"lr": 0.1} if optimizer == "sgd" else grid(optimizer)[0]
    around = {"model": model, "loss": "squared", "batch_size": batch_size, "kernel": kernel}
    cohort = make(X, y, [lane | {"clip.layer_norm": 0.85}], optimizer, around={"clip": "layer_norm"}, **around)
    w, memory, clipped = cohort.parameters()[0], {}, []
    sizes = [group.size for group in model.groups(FEATURES)] if optimizer == "novograd" else [len(w)]
    for t, rows in zip(range(1, 21), reference.batches(ROWS, batch_size, 3), strict=False):

        def of_batch(at, rows=rows):
            g = reference_networks.gradient(at, X[rows], y[rows], model.widths(FEATURES), "tanh", loss="squared")
            found, shares = clipped_by_layer(g, model, 0.85)
            clipped.append(min(shares) < 1 == max(shares))
            return found

        g, parts, at = of_batch(w), [], 0
        for number, size in enumerate(sizes):
            own, s = slice(at, at + size), memory.setdefault(number, reference.defaultdict(float))
            parts.append(reference.OPTIMIZERS[optimizer](w[own], lambda _, g=g[own]: g, t, s, **lane))
            at += size
        w = np.concatenate(parts)
    assert any(clipped), "one layer was clipped in a step, and another one was not"
    cohort.advance(20)
    assert relative_error(cohort.parameters()[0], w) < 1e-9


class Falling:
    """A schedule of the norm that is kept, from 1 on."""

    per_step = True

    def __call__(self, first, steps):
        return 1 / (1 + 0.2 * np.arange(first, first + steps)[:, None, None])


@TYPES
def test_a_schedule_drives_the_norm_of_each_layer(dtype):
    X, y = problem(ROWS, FEATURES, "squared")
    model, how = network((6, 3)), {"loss": "squared", "batch_size": 50, "dtype": dtype}
    clip = {"around": {"clip": "layer_norm"}, "scheduled": ("clip.layer_norm",), "schedule": Falling()}
    cohort = make(X, 2 * y, [{"lr": 0.1, "clip.layer_norm": 1.0}], model=model, **how, **clip)
    w = cohort.parameters()[0]
    for t, rows in zip(range(20), reference.batches(ROWS, 50, 3), strict=False):
        g = reference_networks.gradient(w, X[rows], 2 * y[rows], model.widths(FEATURES), "tanh", loss="squared")
        w = w - 0.1 * clipped_by_layer(g, model, 1 / (1 + 0.2 * t))[0]
    cohort.advance(20)
    assert relative_error(cohort.parameters()[0], w) < (1e-12 if dtype == "float64" else 1e-5)


def test_a_line_search_goes_along_what_each_layer_clips():
    X, y = problem(ROWS, FEATURES, "squared")
    model, how = network((6, 3)), {"loss": "squared"}
    clip = {"around": {"clip": "layer_norm"}, "line_search": Armijo()}
    cohort = make(
        X, y, [{"lr": 3.0, "clip.layer_norm": 0.2}], model=model, batch_size=ROWS, kernel=PARTS, **how, **clip
    )
    for _ in range(3):
        w = cohort.parameters()[0]
        cohort.advance(1)
        g = reference_networks.gradient(w, X, y, model.widths(FEATURES), "tanh", **how)
        step = cohort.line.rates[0] * clipped_by_layer(g, model, 0.2)[0]
        assert relative_error(cohort.parameters()[0], w - step) < 1e-12


@settings(max_examples=20, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 20), max_size=3),
    outputs=st.sampled_from([1, 2, 10]),
    bias=st.booleans(),
    batch_size=st.sampled_from([1, 7, 100, ROWS]),
)
def test_a_lane_alone_has_the_bits_of_a_tile(hidden, outputs, bias, batch_size):
    X, y = problem(ROWS, FEATURES, "logistic")
    model, loss = Network(tuple(hidden), ACTIVATIONS["tanh"], outputs, bias), LOSSES["logistic"]
    if outputs > 1:
        loss, y = with_outputs(CLASS_LOSSES["softmax"], outputs), np.arange(ROWS) % outputs * 1.0
    lanes, how = [{"lr": 0.02}, {"lr": 0.1}], {"model": model, "loss": loss, "batch_size": batch_size, "l2": 0.1}
    tile, one = (make(X, y, lanes, "adam", kernel=kernel, **how) for kernel in (TILE, ONE))
    for cohort in (tile, one):
        cohort.advance(20)
    assert np.array_equal(one.parameters(), tile.parameters())
    ours, theirs = (cohort.measure([(X, y, [loss])]) for cohort in (one, tile))
    assert np.array_equal(ours.sums[0], theirs.sums[0])
    assert np.array_equal(ours.norms, theirs.norms)
    assert np.array_equal(one.gradient_norms(), tile.gradient_norms())


def test_few_lanes_are_alone_if_their_layers_fill_vectors():
    wide, narrow = network((64, 32)), network((3, 2))
    lanes = (1, 2, 4, 17)
    names = {model: [model.kernel(8, count, 16, 8).name for count in lanes] for model in (wide, narrow)}
    widest = register_bits()[0] // 64
    assert names[wide][0] == names[narrow][0] == "network-single"
    assert names[narrow][2] == f"network-tile-{min(4, widest)}"
    assert names[wide][1] == "network-single"
    assert names[wide][-1] == f"network-tile-{widest}"
    assert wide.kernel(8, 1, 16_384, 8).parts, "the parts of a large batch are those of a tile"
    assert wide.kernel(8, 1, 16, 8, tiles=True).name == "network-tile-2"
    assert Kernel(1, network=True).family == Kernel(8, network=True).family, "they have the same bits"


@TYPES
@pytest.mark.parametrize("hidden", [(), (6, 3)])
@pytest.mark.parametrize(("batch_size", "parts"), [(16, 0), (100, 0), (ROWS, 2)])
def test_sparse_rows_train_as_dense_ones(hidden, batch_size, parts, dtype):
    X, y = problem(ROWS, FEATURES, "logistic")
    X[np.random.default_rng(0).random(X.shape) < 0.7] = 0
    how = {"model": network(hidden), "batch_size": batch_size, "l2": 0.01, "dtype": dtype, "init": "pytorch"}
    lanes = [{"lr": 0.02}, {"lr": 0.1}]
    dense, sparse = (
        make(rows, y, lanes, "adam", kernel=Kernel(8, parts=parts, network=True, sparse=rows is not X), **how)
        for rows in (X, csr_matrix(X, dtype=dtype))
    )
    for cohort in (dense, sparse):
        cohort.advance(30)
    assert np.array_equal(sparse.parameters(), dense.parameters()), "products with zeros change no sum"
    assert sparse.gradient_norms() == pytest.approx(dense.gradient_norms(), rel=1e-12)


@pytest.mark.full
@pytest.mark.parametrize("kernel", [TILE, ONE])
@pytest.mark.parametrize("batch_size", [1, 16, 64, 200])
def test_float32_trains_as_float64(batch_size, kernel):
    X, y = problem(ROWS, FEATURES, "logistic")
    how = {"optimizer": "adam", "batch_size": batch_size, "model": network((20, 9), "relu"), "kernel": kernel}
    double, single = (make(X, y, [{"lr": 0.01}], dtype=dtype, **how) for dtype in ("float64", "float32"))
    for cohort in (double, single):
        cohort.advance(100)
    assert relative_error(single.parameters(), double.parameters()) < 1e-3


def test_a_network_without_hidden_layers_is_the_linear_model():
    X, y = problem(ROWS, FEATURES, "logistic")
    lanes = [{"lr": 0.1}, {"lr": 0.3}]
    linear = make_cohort(X, y, lanes, "adam", batch_size=16, kernel=Kernel(4), l2=0.01)
    layers = make(X, y, lanes, "adam", model=network(()), batch_size=16, init="zeros", l2=0.01)
    for cohort in (linear, layers):
        cohort.advance(100)
    assert relative_error(layers.parameters(), linear.parameters()) < 1e-12


# --- line searches ----------------------------------------------------------------------------------------------------


@TYPES
@pytest.mark.parametrize("search", [Best(rates=(0.01, 0.1, 1.0)), Armijo()], ids=["best", "armijo"])
def test_line_searches_by_forward_passes(search, dtype):
    X, y = problem(ROWS, FEATURES, "squared")
    model, rates, l2 = network((6, 3)), [0.5, 2.0, 5.0, 9.0, 20.0], 0.01
    how = {"model": model, "loss": "squared", "batch_size": ROWS, "l2": l2, "kernel": PARTS, "dtype": dtype}
    cohort = make(X, y, [{"lr": rate} for rate in rates], line_search=search, **how)
    widths, of = model.widths(FEATURES), {"loss": "squared", "l2": l2}
    for _ in range(5):
        before = cohort.parameters()
        cohort.advance(1)
        for w, largest, chosen in zip(before, rates, cohort.line.rates, strict=True):
            g = reference_networks.gradient(w, X, y, widths, "tanh", **of)

            def value(rate, w=w, g=g):
                return reference_networks.objective(w - rate * g, X, y, widths, "tanh", **of)

            if isinstance(search, Best):
                tried = [value(largest * factor) for factor in search.rates]
                assert chosen == pytest.approx(largest * search.rates[int(np.argmin(tried))])
            else:
                assert value(chosen) <= value(0) - search.slope * chosen * (g @ g) * (1 - 1e-3)
    assert (cohort.line.evaluations >= 5).all()


# --- classes ----------------------------------------------------------------------------------------------------------


def digits(rows=400):
    """Pictures of digits (rows, 64), scaled to 0 to 1, and their classes."""
    X, y = load_digits(return_X_y=True)
    return X[:rows] / 16, y[:rows].astype(float)


def softmax_network(hidden=(), activation="relu"):
    return Network(tuple(hidden), ACTIVATIONS[activation], outputs=10)


def of_classes(X, y, lanes, optimizer="sgd", *, model, **options):
    loss = with_outputs(CLASS_LOSSES["softmax"], 10)
    return make(X, y, lanes, optimizer, model=model, loss=loss, **options)


def softmax_by_torch(torch, model, d, w, X, y, steps, lr):
    theirs = torch_network(torch, model, d, w)
    stepper = torch.optim.SGD(theirs.parameters(), lr=lr)
    rows, classes = torch.from_numpy(X), torch.from_numpy(y.astype(np.int64))
    for step in range(steps):
        batch = slice(25 * (step % (len(X) // 25)), 25 * (step % (len(X) // 25)) + 25)
        stepper.zero_grad()
        torch.nn.functional.cross_entropy(theirs(rows[batch]), classes[batch]).backward()
        stepper.step()
    return theirs


@pytest.mark.parametrize(("hidden", "kernel"), [((), TILE), ((12,), TILE), ((9, 7), TILE), ((9, 7), ONE)])
def test_softmax_trains_as_pytorch(hidden, kernel):
    torch = pytest.importorskip("torch", reason="PyTorch is an outside witness")
    (X, y), model = digits(), softmax_network(hidden)
    how = {"batch_size": 25, "shuffled": False, "init": "pytorch", "kernel": kernel}
    cohort = of_classes(X, y, [{"lr": 0.1}], model=model, **how)
    theirs = softmax_by_torch(torch, model, 64, cohort.parameters()[0], X, y, 200, 0.1)
    cohort.advance(200)
    layers = reference_networks.layers_of(cohort.parameters()[0], model.widths(64))
    for layer, (W, b) in zip(theirs[::2], layers, strict=True):
        assert relative_error(W.T, layer.weight.detach().numpy()) < 1e-9
        assert relative_error(b, layer.bias.detach().numpy()) < 1e-9


def test_softmax_regression_finds_the_optimum_of_scikit_learn():
    X, y = digits()
    l2 = 0.01
    cohort = of_classes(X, y, [{"lr": 1.0}], "nesterov", model=softmax_network(), batch_size=400, init="zeros", l2=l2)
    cohort.advance(4000)
    theirs = LogisticRegression(C=1 / (l2 * len(X)), tol=1e-10, max_iter=10_000).fit(X, y)
    W, b = reference_networks.layers_of(cohort.parameters()[0], (64, 10))[0]
    assert relative_error(W.T, theirs.coef_) < 1e-5
    assert relative_error(b - b.mean(), theirs.intercept_ - theirs.intercept_.mean()) < 1e-4


@TYPES
def test_measures_of_classes(dtype):
    (X, y), model = digits(), softmax_network((12,))
    cohort = of_classes(
        X, y, [{"lr": 0.3}, {"lr": 1e300 if dtype == "float64" else 1e37}], model=model, batch_size=40, dtype=dtype
    )
    cohort.advance(30)
    loss = cohort.spec.loss
    measures = [loss, *(with_outputs(MISSES[most], 10) for most in (1, 5))]
    found = cohort.measure([(X.astype(dtype), y.astype(dtype), measures)]).sums[0]
    layers = reference_networks.layers_of(cohort.parameters()[0], model.widths(64))
    z = reference_networks.forward(layers, X, "relu")[1][-1]
    ranks = np.sum(z > np.take_along_axis(z, y.astype(int)[:, None], axis=1), axis=1)
    assert found[0, 0] == pytest.approx(loss.value(z, y).sum(), rel=1e-10 if dtype == "float64" else 1e-4)
    assert found[1:, 0] == pytest.approx([np.sum(ranks >= 1), np.sum(ranks >= 5)], abs=0 if dtype == "float64" else 1)
    assert not np.isfinite(found[:, 1]).any(), "of numbers that are none, nothing is predicted"


def test_of_equal_margins_the_first_class_is_the_larger_one():
    (X, y), model = digits(), softmax_network()
    cohort = of_classes(X, y, [{"lr": 0.3}], model=model, batch_size=40, init="zeros")
    measures = [with_outputs(MISSES[most], 10) for most in (1, 5)]
    found = cohort.measure([(X, y, measures)]).sums[0][:, 0]
    assert found.tolist() == [np.sum(y >= 1), np.sum(y >= 5)]
    assert found.tolist() == [measure.value(np.zeros((len(y), 10)), y).sum() for measure in measures]


# --- measures ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 9), max_size=3),
    activation=st.sampled_from(list(ACTIVATIONS)),
    loss=st.sampled_from(["squared", "logistic", "poisson"]),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_gradients_are_differences_of_the_objective(hidden, activation, loss, bias, seed):
    X, y = problem(30, 4, loss, seed)
    model = network(hidden, activation, bias=bias)
    one = {"model": model, "loss": loss, "batch_size": 30, "l2": 0.1, "seed": seed}
    cohort = make(X, y, [{"lr": 1.0}], **one)
    start = cohort.parameters()[0]
    cohort.advance(1)
    direction = start - cohort.parameters()[0]  # the gradient

    def objective(w):
        widths = model.widths(4)
        return reference_networks.objective(w, X, y, widths, activation, loss=loss, l2=0.1, bias=bias)

    along, h = np.random.default_rng(seed).standard_normal(len(start)), 1e-4
    steps = np.array([-2, -1, 1, 2])
    slope = np.array([objective(start + h * step * along) for step in steps]) @ [1, -8, 8, -1] / (12 * h)
    kinked = activation in ("relu", "leaky_relu")  # differences may step over a kink
    assert slope == pytest.approx(direction @ along, rel=2e-2 if kinked else 1e-6, abs=1e-2 if kinked else 1e-7)


def test_measures_are_those_of_the_reference():
    X, y = problem(ROWS, FEATURES, "squared")
    model = network((6, 3), "gelu")
    cohort = make(X, y, [{"lr": 0.1}, {"lr": 0.2}], model=model, loss="squared", l2=[0.0, 0.2])
    cohort.advance(10)
    measured, norms = cohort.measure([(X, y, [cohort.spec.loss])]), cohort.gradient_norms()[0]
    for lane, (w, l2) in enumerate(zip(cohort.parameters(), (0.0, 0.2), strict=True)):
        how = (w, X, y, model.widths(FEATURES), "gelu")
        assert measured.sums[0][0, lane] / ROWS == pytest.approx(reference_networks.objective(*how, loss="squared"))
        gradient = reference_networks.gradient(*how, loss="squared", l2=l2)
        assert norms[lane] == pytest.approx(np.linalg.norm(gradient), rel=1e-12)
        weights = np.concatenate([W.ravel() for W, _ in reference_networks.layers_of(w, how[3])])
        assert measured.penalised[lane] == pytest.approx(weights @ weights)


# --- bits -------------------------------------------------------------------------------------------------------------

CASES = pytest.mark.parametrize(
    ("optimizer", "batch_size", "kernel"),
    [
        ("momentum", 16, TILE),
        ("adam", 100, TILE),
        ("polyak", 32, TILE),
        ("novograd", 32, TILE),
        ("momentum", ROWS, PARTS),
        ("adam", 100, ONE),
        ("nesterov", 7, ONE),
    ],
)


@CASES
def test_threads_and_neighbours_change_no_bits(optimizer, batch_size, kernel):
    X, y = problem(ROWS, FEATURES)
    lanes = [{"lr": 0.01 * (1 + lane)} for lane in range(9)]
    how = {"batch_size": batch_size, "kernel": kernel, "l2": 0.01}
    one, two, alone = (
        make(X, y, lanes, optimizer, threads=1, **how),
        make(X, y, lanes, optimizer, threads=2, **how),
        make(X, y, lanes[5:6], optimizer, **how),
    )
    for cohort in (one, two, alone):
        cohort.advance(30)
    assert np.array_equal(one.parameters(), two.parameters())
    assert np.array_equal(one.parameters()[5:6], alone.parameters())
    assert np.array_equal(one.gradient_norms()[0], two.gradient_norms()[0])


@pytest.mark.full
@pytest.mark.parametrize(("dtype", "widths"), [("float64", (4, 8)), ("float32", (8, 16))])
@pytest.mark.parametrize(("batch_size", "kernel"), [(16, TILE), (100, TILE), (ROWS, PARTS)])
def test_tiles_of_any_width_have_the_same_bits(batch_size, kernel, dtype, widths):
    X, y = problem(ROWS, FEATURES)
    how = {"batch_size": batch_size, "l2": 0.01, "dtype": dtype, "model": network((300, 200))}
    rates = [{"lr": 0.001 * (1 + lane)} for lane in range(9)]
    first, *others = [make(X, y, rates, "momentum", kernel=replace(kernel, lanes=width), **how) for width in widths]
    first.advance(10)
    for other in others:
        other.advance(10)
        assert np.array_equal(other.parameters(), first.parameters())


@CASES
def test_going_on_from_a_snapshot_changes_no_bits(optimizer, batch_size, kernel):
    X, y = problem(ROWS, FEATURES)
    lanes, how = [{"lr": 0.01}, {"lr": 0.02}, {"lr": 0.03}], {"batch_size": batch_size, "kernel": kernel}
    whole, first, second = (make(X, y, lanes, optimizer, **how) for _ in range(3))
    whole.advance(25)
    first.advance(11)
    second.restore(first.capture())
    second.advance(14)
    assert np.array_equal(whole.parameters(), second.parameters())


def test_lanes_that_diverge_harm_nobody():
    X, y = problem(ROWS, FEATURES, "squared")
    lanes = [{"lr": 0.01}, {"lr": 1e6}, {"lr": 0.02}]
    cohort = make(X, y, lanes, model=network((6, 3), "relu"), loss="squared", batch_size=16)
    alone = make(X, y, lanes[::2], model=network((6, 3), "relu"), loss="squared", batch_size=16)
    for each in (cohort, alone):
        each.advance(60)
    assert cohort.first_bad_step()[1] > 0
    assert not cohort.first_bad_step()[[0, 2]].any()
    cohort.retire(np.array([True, False, True]))
    for each in (cohort, alone):
        each.advance(10)
    assert np.array_equal(cohort.parameters(), alone.parameters())


# --- starts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STARTS)
def test_starts_have_their_distribution(name):
    record = STARTS[name]
    weights, biases = start_of_layer(name, 7, 1, 400, 300, bias=True)
    scale = record.scale(400, 300)
    if record.distribution == "normal":
        assert np.std(weights) == pytest.approx(scale, rel=0.01)
    else:
        assert scale * 0.999 < np.abs(weights).max() <= scale
        assert np.std(weights) == pytest.approx(scale / 3**0.5, rel=0.01)
    assert np.mean(weights) == pytest.approx(0, abs=0.01 * scale)
    assert biases.any() == record.biases


def test_starts_depend_on_seed_layer_and_place_alone():
    def weights(name, seed=3, layer=1, shape=(10, 20), **bias):
        return start_of_layer(name, seed, layer, *shape, **{"bias": True} | bias)[0]

    assert np.array_equal(weights("glorot"), weights("glorot", shape=(20, 10), bias=False))
    assert np.array_equal(weights("he")[:30], weights("he", shape=(10, 3)))
    assert not np.isclose(weights("he"), weights("he", seed=4)).any()
    assert not np.isclose(weights("he"), weights("he", layer=2)).any()
    # No version of anything may change these, and another processor only the last digit of normal numbers.
    expected = [-0.14539063982420594, 0.11107597230584772, -0.30157691155683486]
    np.testing.assert_array_max_ulp(weights("he")[:3], np.array(expected), 2)
    assert weights("pytorch")[:3].tolist() == [0.22039831932875087, 0.269825937759497, -0.05762498631687514]


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def torch_network(torch, model, d, w):
    """The same network in PyTorch, with the same parameters."""
    kinds = {
        "relu": torch.nn.ReLU, "leaky_relu": torch.nn.LeakyReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid,
        "gelu": torch.nn.GELU, "silu": torch.nn.SiLU, "identity": torch.nn.Identity,
    }  # fmt: skip
    modules = []
    for W, b in reference_networks.layers_of(w, model.widths(d)):
        layer = torch.nn.Linear(*W.shape, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(W.T.copy()))
            layer.bias.copy_(torch.from_numpy(b.copy()))
        modules += [layer, kinds[model.activation.name]()]
    return torch.nn.Sequential(*modules[:-1])


TORCH_LOSSES = {
    "squared": lambda F, z, y: F.mse_loss(z, y) / 2,
    "logistic": lambda F, z, y: F.binary_cross_entropy_with_logits(z, y),
    "huber": lambda F, z, y: F.huber_loss(z, y),
    "poisson": lambda F, z, y: F.poisson_nll_loss(z, y),
}
TORCH_RULES = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "adam": ("Adam", {"eps": 1e-8}),
    "adamw": ("AdamW", {"weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {"alpha": 0.99}),
}
TORCH_CASES = [
    *((rule, "tanh", (7, 5), "squared") for rule in TORCH_RULES),
    *(("momentum", activation, (8, 8, 8), "logistic") for activation in ACTIVATIONS),
    *(("adam", "silu", (6,) * depth, loss) for depth, loss in enumerate(TORCH_LOSSES)),
]


@pytest.mark.parametrize(("optimizer", "activation", "hidden", "loss"), TORCH_CASES)
def test_train_as_pytorch(optimizer, activation, hidden, loss):
    torch = pytest.importorskip("torch", reason="PyTorch is an outside witness")
    X, y = problem(ROWS, FEATURES, loss)
    model, (kind, values) = network(hidden, activation), TORCH_RULES[optimizer]
    cohort = make(
        X, y, [{"lr": 0.01, **values}], optimizer, model=model, loss=loss, batch_size=25, shuffled=False, init="pytorch"
    )
    theirs = torch_network(torch, model, FEATURES, cohort.parameters()[0])
    parameters = list(theirs.parameters())
    if optimizer == "adamw":  # biases do not decay here
        weights, biases = parameters[::2], parameters[1::2]
        parameters = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
    stepper = getattr(torch.optim, kind)(parameters, lr=0.01, **values)
    rows, targets = torch.from_numpy(X), torch.from_numpy(y)
    for step in range(200):
        batch = slice(25 * (step % (ROWS // 25)), 25 * (step % (ROWS // 25)) + 25)
        stepper.zero_grad()
        TORCH_LOSSES[loss](torch.nn.functional, theirs(rows[batch])[:, 0], targets[batch]).backward()
        stepper.step()
    cohort.advance(200)
    layers = reference_networks.layers_of(cohort.parameters()[0], model.widths(FEATURES))
    for layer, (W, b) in zip(theirs[::2], layers, strict=True):
        assert relative_error(W.T, layer.weight.detach().numpy()) < 1e-9
        assert relative_error(b, layer.bias.detach().numpy()) < 1e-9


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_clipping_of_each_layer_is_pytorchs(optimizer):
    torch = pytest.importorskip("torch", reason="PyTorch is an outside witness")
    X, y = problem(ROWS, FEATURES, "squared")
    model, (kind, values) = network((7, 5)), TORCH_RULES[optimizer]
    how = {"loss": "squared", "batch_size": 25, "shuffled": False, "init": "pytorch", "around": {"clip": "layer_norm"}}
    cohort = make(X, y, [{"lr": 0.01, "clip.layer_norm": 0.1, **values}], optimizer, model=model, **how)
    theirs = torch_network(torch, model, FEATURES, cohort.parameters()[0])
    stepper = getattr(torch.optim, kind)(theirs.parameters(), lr=0.01, **values)
    rows, targets = torch.from_numpy(X), torch.from_numpy(y)
    for step in range(200):
        batch = slice(25 * (step % (ROWS // 25)), 25 * (step % (ROWS // 25)) + 25)
        stepper.zero_grad()
        TORCH_LOSSES["squared"](torch.nn.functional, theirs(rows[batch])[:, 0], targets[batch]).backward()
        for layer in theirs[::2]:
            torch.nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
        stepper.step()
    cohort.advance(200)
    for layer, (W, b) in zip(
        theirs[::2], reference_networks.layers_of(cohort.parameters()[0], model.widths(FEATURES)), strict=True
    ):
        assert relative_error(W.T, layer.weight.detach().numpy()) < 1e-9
        assert relative_error(b, layer.bias.detach().numpy()) < 1e-9
