"""Every rule against the outside implementation that it names as its witness."""

from functools import cache
from itertools import cycle, islice

import numpy as np
import pytest
from cohorts import PARTS, SINGLE, SMALL, grid, make_cohort, problem, relative_error

from fastgd.optimizers import OPTIMIZERS

torch = pytest.importorskip("torch", reason="the witnesses of the rules are PyTorch's optimizers")

binary_cross_entropy_with_logits = torch.nn.functional.binary_cross_entropy_with_logits
torch.set_num_threads(1)  # the tensors are tiny

STEPS = 1000
L2 = (0.0, 1e-3, 0.0, 1e-2)


def betas(lane):
    return {"lr": lane["lr"], "betas": (lane["beta1"], lane["beta2"]), "eps": lane["eps"]}


# Each optimizer's witness, from the hyper-parameters of a lane to PyTorch's class and its arguments.
WITNESSES = {
    "sgd": lambda lane: (torch.optim.SGD, lane),
    "momentum": lambda lane: (torch.optim.SGD, lane),
    "nesterov": lambda lane: (torch.optim.SGD, lane | {"nesterov": True}),
    "adagrad": lambda lane: (torch.optim.Adagrad, lane),
    "rmsprop": lambda lane: (torch.optim.RMSprop, lane),
    "adadelta": lambda lane: (torch.optim.Adadelta, lane),
    "adam": lambda lane: (torch.optim.Adam, betas(lane)),
    "amsgrad": lambda lane: (torch.optim.Adam, betas(lane) | {"amsgrad": True}),
    "adamw": lambda lane: (torch.optim.AdamW, betas(lane) | {"weight_decay": lane["weight_decay"]}),
}


def test_every_optimizer_of_pytorch_has_its_witness():
    assert {name for name, record in OPTIMIZERS.items() if record.witness.startswith("torch")} == set(WITNESSES)


def test_defaults_are_those_of_the_witness():
    for name, make in WITNESSES.items():
        record = OPTIMIZERS[name]
        # momentum is 0 in PyTorch: it would be plain descent
        defaults = {key: value for key, value in record.hyper.items() if key != "momentum" and value is not None}
        missing = {"lr": 0.1, "momentum": 0.9, **dict.fromkeys(record.hyper, 0.5)}
        kind, arguments = make({**missing, **defaults})
        given = {key: value for key, value in arguments.items() if key not in ("momentum", "nesterov", "amsgrad")}
        bare = kind([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]
        if "lr" not in defaults:
            given.pop("lr")
        assert {key: bare[key] for key in given} == given


@cache
def trained(name, batch_size):
    """The iterates (lanes, parameters) of PyTorch after STEPS steps; with a last column of ones, an intercept."""
    X, y = problem()
    A = torch.tensor(np.column_stack([X, np.ones(len(X))]) if with_intercept(name) else X)
    labels = torch.tensor(y)
    lanes = grid(name)
    weights = [torch.nn.Parameter(torch.zeros(A.shape[1], dtype=torch.float64)) for _ in lanes]
    kind, _ = WITNESSES[name](lanes[0])
    optimizer = kind([{"params": [w], **WITNESSES[name](lane)[1]} for w, lane in zip(weights, lanes, strict=True)])
    penalty = torch.tensor(L2, dtype=torch.float64)[:, None] / 2
    starts = cycle(range(0, len(y), batch_size))
    for start in islice(starts, STEPS):
        rows = slice(start, start + batch_size)
        W = torch.stack(weights)
        margins = W @ A[rows].T
        losses = binary_cross_entropy_with_logits(margins, labels[rows].expand_as(margins), reduction="none")
        optimizer.zero_grad()
        (losses.mean(dim=1).sum() + (penalty * W[:, : X.shape[1]] ** 2).sum()).backward()
        optimizer.step()
    x = torch.stack(weights).detach().numpy()
    if name != "nesterov":
        return x
    # PyTorch's parameter is the look-ahead point; fastgd reports w = x + lr momentum u
    u = np.array([optimizer.state[w]["momentum_buffer"].numpy() for w in weights])
    return x + np.array([[lane["lr"] * lane["momentum"]] for lane in lanes]) * u


def with_intercept(name):
    """PyTorch's AdamW decays every parameter, and in fastgd an intercept does not decay."""
    return name != "adamw"


@pytest.mark.parametrize(
    ("kernel", "batch_size"),
    [(SMALL, 64), (SINGLE, 64), (PARTS, 600)],
    ids=["tile, mini-batch", "single, mini-batch", "parts, full batch"],
)
@pytest.mark.parametrize("name", WITNESSES)
def test_agrees_with_its_witness_after_1000_steps(name, kernel, batch_size):
    X, y = problem()
    intercept = with_intercept(name)
    cohort = make_cohort(
        X, y, grid(name), name, l2=L2, shuffled=False, batch_size=batch_size, kernel=kernel, intercept=intercept
    )
    cohort.advance(STEPS)
    assert relative_error(cohort.parameters(), trained(name, batch_size)) < 1e-10
