"""`python -m benchmarks.peers.arrays`: a step over one large vector of parameters, against PyTorch's fused ones."""

import time
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fastgd import optimizers
from fastgd.core.threads import available_threads

RULES = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "adagrad": "Adagrad"}
LR = 1e-3
PAUSE = 0.3  # seconds: idle library threads have stopped spinning by then


def pairs(rule: str, g: np.ndarray, rounds: int) -> tuple[list[float], list[float], int]:
    """Return the seconds of alternated steps of fastgd and of PyTorch, which must agree, and the bytes that move."""
    import torch

    torch.set_num_threads(available_threads())
    w, parameter = np.zeros_like(g), torch.nn.Parameter(torch.zeros(g.size))
    parameter.grad = torch.from_numpy(g)
    ours = getattr(optimizers, rule)(w, lr=LR)
    theirs = getattr(torch.optim, RULES[rule])([parameter], lr=LR, fused=True)
    steps = (lambda: ours.step(g), theirs.step)
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            time.sleep(PAUSE)
            since = time.perf_counter()
            steps[which]()
            seconds[which].append(time.perf_counter() - since)
    np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-4, atol=1e-6)
    return seconds[0][1:], seconds[1][1:], (3 + 2 * len(ours.slots)) * g.nbytes


def main(
    parameters: Annotated[int, typer.Option("--parameters", "-n", min=1)] = 50_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Alternated pairs, after one that does not count.")] = 11,
) -> None:
    """Time steps in float32, in alternated pairs; both must arrive at the same parameters."""
    g = np.random.default_rng(0).standard_normal(parameters, dtype=np.float32)
    table = Table(title=f"a step over {parameters:,} float32 parameters", caption="ratio: median of the pairs")
    for column in ("rule", "fastgd, ms", "PyTorch fused, ms", "fastgd, GB/s", "PyTorch / fastgd"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for rule in RULES:
        ours, theirs, moved = pairs(rule, g, rounds)
        ratio = median(b / a for a, b in zip(ours, theirs, strict=True))
        numbers = (median(ours) * 1e3, median(theirs) * 1e3, moved / median(ours) / 1e9)
        table.add_row(rule, *(f"{number:.1f}" for number in numbers), f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
