"""PyTorch, all lanes batched by hand: `bmm` over the lanes, the way back without autograd, and nothing is allocated.

Lanes come first, and the rows of a batch last: so the first layer, whose rows all lanes share, is one product of
matrices, and every product finds its numbers one after another.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.networks import BETA1, BETA2, EPS, MOMENTUM, Array, NetworkJob
from benchmarks.peers.job import Data
from benchmarks.peers.networks import layers_of, split_over_threads
from benchmarks.peers.worker import Forms, Outcome
from benchmarks.timing import fastest
from fastgd.core.threads import available_threads

FEW_BATCHES = 20  # by which it is measured whether one thread is faster


class Networks:
    """The networks of some rates: of each layer weights (G, outputs, inputs) and biases (G, outputs, 1)."""

    def __init__(self, job: NetworkJob, rates: Array) -> None:
        self.job, self.G, self.t = job, len(rates), 0
        self.w = [
            torch.from_numpy(np.tile(np.atleast_2d(A).T, (self.G, 1, 1)))
            for layer in layers_of(job.start, job.layers)
            for A in layer
        ]
        lr = torch.from_numpy(-rates.astype(job.dtype))[:, None, None]
        self.minus_lr = [lr.expand_as(A).contiguous() for A in self.w]
        self.g, self.m, self.v, self.step, self.down = ([torch.zeros_like(A) for A in self.w] for _ in range(5))
        self.activate = getattr(torch, f"{job.activation}_")
        self.room: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def room_for(self, b: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return memory for the layers' units (G, width, b) and for their deltas: fresh memory costs like a product."""
        if b not in self.room:
            shapes = [(self.G, width, b) for width in self.job.layers[1:]]
            units, deltas = ([torch.empty(shape, dtype=self.w[0].dtype) for shape in shapes] for _ in range(2))
            self.room[b] = units, deltas
        return self.room[b]

    def forward(self, x: Tensor, units: list[Tensor]) -> None:
        """Fill the layers' units, the last one's without an activation."""
        for k, out in enumerate(units):
            W, c = self.w[2 * k : 2 * k + 2]
            if k == 0:
                torch.addmm(c.view(-1, 1), W.view(-1, self.job.d), x.t(), out=out.view(-1, len(x)))
            else:
                torch.baddbmm(c, W, units[k - 1], out=out)
            if k < len(units) - 1:
                self.activate(out)

    def differentiate_loss(self, z: Tensor, y: Tensor, out: Tensor) -> None:
        """Fill `out` with the derivatives of the mean loss by the outputs z (G, outputs, b)."""
        if self.job.loss == "softmax":
            torch.softmax(z, 1, out=out)
            out[:, y.long(), torch.arange(len(y))] -= 1
        else:
            torch.sub(z if self.job.loss == "squared" else z.sigmoid_(), y, out=out)
        out.div_(len(y))

    def differentiate_activation(self, delta: Tensor, units: Tensor) -> None:
        """Multiply deltas of units by the slopes there."""
        if self.job.activation == "tanh":
            torch.ops.aten.tanh_backward.grad_input(delta, units, grad_input=delta)
        else:
            torch.ops.aten.threshold_backward.grad_input(delta, units, 0, grad_input=delta)

    def fill_gradients(self, x: Tensor, y: Tensor) -> None:
        units, deltas = self.room_for(len(x))
        self.forward(x, units)
        self.differentiate_loss(units[-1], y, deltas[-1])
        for k in range(len(units) - 1, -1, -1):
            delta, W, to_W, to_b = deltas[k], self.w[2 * k], self.g[2 * k], self.g[2 * k + 1]
            torch.sum(delta, 2, keepdim=True, out=to_b)
            if k == 0:
                torch.mm(delta.view(-1, len(x)), x, out=to_W.view(-1, self.job.d))
                return
            torch.bmm(delta, units[k - 1].mT, out=to_W)
            (torch.mul if W.shape[1] == 1 else torch.bmm)(W.mT, delta, out=deltas[k - 1])
            self.differentiate_activation(deltas[k - 1], units[k - 1])

    def update(self) -> None:
        self.t += 1
        if self.job.optimizer == "adam":
            root = (1 - BETA2**self.t) ** 0.5
            torch._foreach_lerp_(self.m, self.g, 1 - BETA1)
            torch._foreach_mul_(self.v, BETA2)
            torch._foreach_addcmul_(self.v, self.g, self.g, 1 - BETA2)
            for w, m, v, minus_lr, step, down in zip(
                self.w, self.m, self.v, self.minus_lr, self.step, self.down, strict=True
            ):
                torch.mul(m, minus_lr, out=step)
                w.addcdiv_(step, torch.sqrt(v, out=down).add_(EPS * root), value=root / (1 - BETA1**self.t))
            return
        if self.job.optimizer == "momentum":
            torch._foreach_mul_(self.m, MOMENTUM)
            torch._foreach_add_(self.m, self.g)
        torch._foreach_addcmul_(self.w, self.m if self.job.optimizer == "momentum" else self.g, self.minus_lr)

    def parameters(self) -> Array:
        """Return the parameters (P, G)."""
        return np.hstack([A.mT.reshape(self.G, -1).numpy() for A in self.w]).T.astype(float)


def forms(job: NetworkJob, data: Data) -> Forms:
    batches = list(zip(*(torch.from_numpy(A).split(job.batch_size) for A in (data.X, data.y)), strict=True))
    cores = available_threads()

    def run(threads: int, rates: Array, some: int | None = None) -> Array:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            networks = Networks(job, rates)
            for batch in (batches * job.epochs)[:some]:
                networks.fill_gradients(*batch)
                networks.update()
            return networks.parameters()

    threads = min({1, cores}, key=lambda threads: fastest(partial(run, threads, job.rates, FEW_BATCHES)))
    whole = {
        f"batched by hand, {threads} of {cores} threads": lambda: Outcome(run(threads, job.rates), np.arange(job.lanes))
    }
    return {**whole, **split_over_threads(job, partial(run, 1), "batched by hand")}
