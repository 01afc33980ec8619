"""PyTorch: the lanes are rows of one matrix, no autograd, and nothing is allocated in the loop."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from os import cpu_count
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.job import Array, Data, Job
from benchmarks.peers.worker import Forms, Outcome

GATHERED_BATCHES = 16  # shuffled rows are copied that many batches at a time, into a buffer that stays in cache
Loop = Callable[..., None]


def epoch(
    X: Tensor, y: Tensor, order: Tensor, W: Tensor, minus_lr: Tensor, momentum: float, b: int, gather: int
) -> None:
    """Train W (G, d) in place; an empty order means sequential. TorchScript compiles this same text."""
    U, Z = torch.zeros_like(W), torch.empty((W.shape[0], b), dtype=W.dtype)
    n, shuffle = X.shape[0], order.numel() > 0
    rows = gather * b if shuffle else n
    buffer = torch.empty((rows if shuffle else 0, X.shape[1]), dtype=X.dtype)
    for first in range(0, n, rows):
        x_rows, y_rows = X, y
        if shuffle:
            chosen = order[first : first + rows]
            x_rows = torch.index_select(X, 0, chosen, out=buffer[: chosen.shape[0]])
            y_rows = torch.index_select(y, 0, chosen)
        for start in range(0, x_rows.shape[0], b):
            x = x_rows[start : start + b]
            z = Z if x.shape[0] == b else torch.empty((W.shape[0], x.shape[0]), dtype=W.dtype)
            torch.mm(W, x.t(), out=z)
            z.sigmoid_()
            z.sub_(y_rows[start : start + b])
            torch.addmm(U, z, x, beta=momentum, alpha=1.0 / x.shape[0], out=U)
            W.addcmul_(U, minus_lr)


def warm_seconds(run: Callable[[], Outcome]) -> float:
    """Return the seconds of a second run."""
    run()
    start = perf_counter()
    run()
    return perf_counter() - start


def forms(job: Job, data: Data) -> Forms:
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    order = torch.from_numpy(np.empty(0, np.int32) if data.order is None else data.order)
    minus_lr = torch.from_numpy(-job.rates.astype(job.dtype))[:, None]
    cores = cpu_count() or 1
    pool = ThreadPoolExecutor(cores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and still the fastest loop
        scripted = torch.jit.script(epoch)

    def part(loop: Loop, first: int, last: int, threads: int) -> Array:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            W = torch.zeros((last - first, job.d), dtype=X.dtype)
            lr = minus_lr[first:last].expand_as(W).contiguous()
            loop(X, y, order, W, lr, job.momentum, job.batch_size, GATHERED_BATCHES)
            return W.numpy().T.astype(float)

    def whole(loop: Loop, threads: int) -> Outcome:
        return Outcome(part(loop, 0, job.lanes, threads), np.arange(job.lanes))

    def split() -> Outcome:
        bounds = pairwise(np.linspace(0, job.lanes, cores + 1).astype(int))
        return Outcome(np.hstack(list(pool.map(lambda ends: part(scripted, *ends, 1), bounds))), np.arange(job.lanes))

    ways: dict[str, Callable[[], Outcome]] = {}
    for name, loop in {"eager": epoch, "TorchScript": scripted}.items():
        by_threads = {threads: partial(whole, loop, threads) for threads in sorted({1, cores})}
        threads = min(by_threads, key=lambda threads, ways=by_threads: warm_seconds(ways[threads]))
        ways[f"{name}, {threads} of {cores} threads"] = by_threads[threads]
    if job.lanes >= cores > 1:
        ways["TorchScript, lanes split over threads"] = split
    return ways
