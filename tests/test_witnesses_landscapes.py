"""Swarms against PyTorch: its own autograd of the formula, its own optimizers."""

import numpy as np
import pytest
from swarms import make_swarm

torch = pytest.importorskip("torch", reason="a witness of landscapes is PyTorch")

torch.set_num_threads(1)  # the tensors are tiny


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def ackley(x):
    d = len(x)
    near = -20 * torch.exp(-0.2 * torch.sqrt((x**2).sum() / d))
    return near - torch.exp(torch.cos(2 * torch.pi * x).sum() / d) + 20 + torch.e


def toy_neuron(x):
    points, values = torch.tensor([0.5, 2.5], dtype=x.dtype), torch.tensor([0.2, 0.9], dtype=x.dtype)
    return ((torch.sigmoid(x[0] * points + x[1]) - values) ** 2).sum() / 2


CASES = [
    (rosenbrock, "sgd", 1e-4, lambda w: torch.optim.SGD([w], lr=1e-4)),
    (himmelblau, "momentum", 2e-3, lambda w: torch.optim.SGD([w], lr=2e-3, momentum=0.9)),
    (ackley, "adam", 0.05, lambda w: torch.optim.Adam([w], lr=0.05)),
    (toy_neuron, "rmsprop", 0.05, lambda w: torch.optim.RMSprop([w], lr=0.05)),
]


@pytest.mark.parametrize(("function", "name", "lr", "optimizer"), CASES, ids=[case[1] for case in CASES])
def test_two_hundred_steps(function, name, lr, optimizer):
    starts = np.random.default_rng(5).uniform(-2, 2, (6, 2))
    swarm = make_swarm(function.__name__, name, starts=starts, hyper=[{"lr": lr}])
    swarm.advance(200)
    ends, losses = [], []
    for start in starts:
        w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        stepper = optimizer(w)
        for _ in range(200):
            stepper.zero_grad()
            function(w).backward()
            stepper.step()
        ends.append(w.detach().numpy())
        losses.append(function(w.detach()).item())
    reading = swarm.read()
    np.testing.assert_allclose(reading.positions.T, ends, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(reading.loss, losses, rtol=1e-8, atol=1e-12)
