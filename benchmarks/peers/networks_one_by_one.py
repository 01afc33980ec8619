"""PyTorch as most use it: modules, autograd and its fused optimizers, for one learning rate after another."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.networks import MOMENTUM, Array, NetworkJob
from benchmarks.peers.job import Data
from benchmarks.peers.networks import layers_of
from benchmarks.peers.worker import Forms, Outcome

MEASURED_LANES = 4  # of many: the table says so, and the time is scaled
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
OPTIMIZERS = {
    "adam": (torch.optim.Adam, {}),
    "momentum": (torch.optim.SGD, {"momentum": MOMENTUM}),
    "sgd": (torch.optim.SGD, {}),
}


def mean_loss(job: NetworkJob, z: Tensor, y: Tensor) -> Tensor:
    if job.loss == "softmax":
        return functional.cross_entropy(z, y)
    z = z[:, 0]
    return functional.mse_loss(z, y) / 2 if job.loss == "squared" else functional.binary_cross_entropy_with_logits(z, y)


def network(job: NetworkJob) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(job.layers):
        parts += [nn.Linear(inputs, outputs, dtype=getattr(torch, job.dtype)), ACTIVATIONS[job.activation]()]
    with torch.no_grad():
        for layer, (W, b) in zip(parts[::2], layers_of(torch.from_numpy(job.start), job.layers), strict=True):
            layer.weight.copy_(W.t())
            layer.bias.copy_(b)
    return nn.Sequential(*parts[:-1])


def forms(job: NetworkJob, data: Data) -> Forms:
    torch.set_num_threads(1)
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    batches = list(
        zip(X.split(job.batch_size), (y.long() if job.loss == "softmax" else y).split(job.batch_size), strict=True)
    )
    which = np.unique(np.linspace(0, job.lanes - 1, min(job.lanes, MEASURED_LANES)).round().astype(int))
    rule, options = OPTIMIZERS[job.optimizer]

    def train(lr: float) -> Array:
        model = network(job)
        optimizer = rule(model.parameters(), lr=lr, fused=True, **options)
        for x, targets in batches * job.epochs:
            optimizer.zero_grad()
            mean_loss(job, model(x), targets).backward()
            optimizer.step()
        parts = [part for layer in model[::2] for part in (layer.weight.detach().t().reshape(-1), layer.bias.detach())]
        return torch.cat(parts).numpy().astype(float)

    return {"one by one": lambda: Outcome(np.stack([train(lr) for lr in job.rates[which]], axis=1), which)}
