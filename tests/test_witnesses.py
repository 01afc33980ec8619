"""Every rule against the outside implementation that it names as its witness."""

from functools import cache
from itertools import cycle, islice

import numpy as np
import pytest
from cohorts import grid, make_cohort, on_kernels, problem, relative_error

from fastgd.optimizers import OPTIMIZERS

torch = pytest.importorskip("torch", reason="the witnesses of the rules are PyTorch's optimizers")

binary_cross_entropy_with_logits = torch.nn.functional.binary_cross_entropy_with_logits
torch.set_num_threads(1)  # the tensors are tiny

STEPS = 1000
L2 = (0.0, 1e-3, 0.0, 1e-2)


def renamed(lane):
    """A lane's hyper-parameters as PyTorch's arguments: some of them stand in pairs."""
    pairs = {"betas": ("beta1", "beta2"), "etas": ("eta_minus", "eta_plus"), "step_sizes": ("step_min", "step_max")}
    pairs = {name: pair for name, pair in pairs.items() if pair[0] in lane}
    paired = [name for pair in pairs.values() for name in pair]
    values = {name: value for name, value in lane.items() if name not in paired}
    return values | {name: tuple(lane[member] for member in pair) for name, pair in pairs.items()}


# The class of each optimizer's witness, and what is to be said to it beside the hyper-parameters.
WITNESSES = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {}),
    "nesterov": (torch.optim.SGD, {"nesterov": True}),
    "asgd": (torch.optim.ASGD, {}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "rmsprop_momentum": (torch.optim.RMSprop, {}),
    "rmsprop_centered": (torch.optim.RMSprop, {"centered": True}),
    "adadelta": (torch.optim.Adadelta, {}),
    "rprop": (torch.optim.Rprop, {}),
    "adam": (torch.optim.Adam, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "adamw": (torch.optim.AdamW, {}),
    "adamax": (torch.optim.Adamax, {}),
    "nadam": (torch.optim.NAdam, {"decoupled_weight_decay": True}),
    "radam": (torch.optim.RAdam, {"decoupled_weight_decay": True}),
}
# PyTorch's decay is part of the gradient, and so of the velocity: here the test lets PyTorch's weights decay.
DECAY_IN_THE_VELOCITY = ("momentum", "nesterov")


def test_every_optimizer_of_pytorch_has_its_witness():
    assert {name for name, record in OPTIMIZERS.items() if record.witness.startswith("torch")} == set(WITNESSES)


def test_defaults_are_those_of_the_witness():
    for name, (kind, more) in WITNESSES.items():
        record = OPTIMIZERS[name]
        # momentum is 0 in PyTorch: it would be plain descent
        defaults = {key: value for key, value in record.hyper.items() if key != "momentum" and value is not None}
        bare = kind([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
        assert defaults
        assert {key: bare[key] for key in renamed(defaults)} == renamed(defaults)
        assert more.keys() <= bare.keys()


@pytest.fixture
def in_float64():
    """What PyTorch keeps for a whole tensor, like NAdam's product, it keeps in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@cache
def trained(name, batch_size):
    """The iterates (lanes, parameters) of PyTorch after STEPS steps, the intercepts last."""
    X, y = map(torch.tensor, problem())
    lanes, (kind, more) = grid(name), WITNESSES[name]
    weights, intercepts = ([torch.nn.Parameter(torch.zeros(d)) for _ in lanes] for d in (X.shape[1], 1))
    groups = []
    for w, c, lane in zip(weights, intercepts, lanes, strict=True):
        arguments = renamed(lane) | more
        if name in DECAY_IN_THE_VELOCITY:
            arguments["weight_decay"] = 0.0
        undecayed = {"weight_decay": 0.0} if "weight_decay" in lane else {}
        groups += [{"params": [w], **arguments}, {"params": [c], **arguments, **undecayed}]
    optimizer = kind(groups)
    if name == "adagrad":  # it takes the start of its sums from its own argument only, whatever the groups say
        for group in optimizer.param_groups:
            optimizer.state[group["params"][0]]["sum"].fill_(group["initial_accumulator_value"])
    penalty = torch.tensor(L2)[:, None] / 2
    starts = cycle(range(0, len(y), batch_size))
    for start in islice(starts, STEPS):
        rows = slice(start, start + batch_size)
        W = torch.stack(weights)
        margins = W @ X[rows].T + torch.stack(intercepts)
        losses = binary_cross_entropy_with_logits(margins, y[rows].expand_as(margins), reduction="none")
        optimizer.zero_grad()
        (losses.mean(dim=1).sum() + (penalty * W**2).sum()).backward()
        if name in DECAY_IN_THE_VELOCITY:
            with torch.no_grad():
                for w, lane in zip(weights, lanes, strict=True):
                    w *= 1 - lane["lr"] * lane["weight_decay"]
        optimizer.step()
    found = [
        np.concatenate([reported(name, p.detach(), optimizer.state[p], lane) for p in parameters])
        for *parameters, lane in zip(weights, intercepts, lanes, strict=True)
    ]
    return np.array(found)


def reported(name, parameter, state, lane):
    """The iterate that fastgd reports."""
    match name:
        case "asgd":
            return state["ax"].numpy()
        case "nesterov":  # PyTorch's parameter is the look-ahead point
            return (parameter + lane["lr"] * lane["momentum"] * state["momentum_buffer"]).numpy()
    return parameter.numpy()


@pytest.mark.parametrize(("name", "kernel", "batch_size"), on_kernels([(name,) for name in WITNESSES]))
def test_agrees_with_its_witness_after_1000_steps(in_float64, name, kernel, batch_size):
    X, y = problem()
    cohort = make_cohort(X, y, grid(name), name, l2=L2, shuffled=False, batch_size=batch_size, kernel=kernel)
    cohort.advance(STEPS)
    assert relative_error(cohort.parameters(), trained(name, batch_size)) < 1e-10


# --- MADGRAD: in optax, not in PyTorch --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kernel", "batch_size"), on_kernels([("madgrad",)]))
def test_madgrad_agrees_with_optax_after_1000_steps(name, kernel, batch_size):
    jax = pytest.importorskip("jax", reason="the witness is optax's optimizer, which runs on jax")
    madgrad = pytest.importorskip("optax").contrib.madgrad
    assert OPTIMIZERS[name].hyper == {"lr": None, "momentum": 0.9, "eps": 1e-6}
    X, y = problem()
    cohort = make_cohort(X, y, grid(name), name, l2=L2, shuffled=False, batch_size=batch_size, kernel=kernel)
    cohort.advance(STEPS)
    with jax.enable_x64(True):
        for found, lane, l2 in zip(cohort.parameters(), grid(name), L2, strict=True):
            optimizer = madgrad(lane["lr"], lane["momentum"], eps=lane["eps"])
            assert relative_error(found, with_optax(jax, optimizer, X, y, batch_size, l2)) < 1e-10


def with_optax(jax, optimizer, X, y, batch_size, l2):
    """The iterate of an optimizer of optax after STEPS steps, the intercept last."""
    batches = -(-len(y) // batch_size)
    padded = np.zeros((batches * batch_size, X.shape[1] + 2))
    padded[: len(y)] = np.column_stack([X, np.ones(len(y)), y])
    padded = jax.numpy.array(padded.reshape(batches, batch_size, -1))
    sizes = jax.numpy.array([min(batch_size, len(y) - start) for start in range(0, len(y), batch_size)])
    decayed = jax.numpy.array([1.0] * X.shape[1] + [0.0])

    def step(state, t):
        w, memory = state
        A, labels = padded[t % batches, :, :-1], padded[t % batches, :, -1]
        g = A.T @ (jax.nn.sigmoid(A @ w) - labels) / sizes[t % batches] + l2 * decayed * w
        change, memory = optimizer.update(g, memory, w)
        return (w + change, memory), None

    w = jax.numpy.zeros(X.shape[1] + 1)
    # The count as a number of 64 bits: the root of one of 32 would be rounded to float32.
    memory = jax.tree.map(lambda x: x.astype("int64") if x.dtype == "int32" else x, optimizer.init(w))
    (w, _), _ = jax.lax.scan(step, (w, memory), jax.numpy.arange(STEPS))
    return np.asarray(w)
