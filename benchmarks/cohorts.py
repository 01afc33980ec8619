"""The dense cohort of the benchmarks: logistic regression with momentum at G learning rates, as a study plans it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd._threads import Threads
from fastgd.engine.cohort import Cohort
from fastgd.engine.shapes import choose_kernel
from fastgd.engine.spec import CohortSpec
from fastgd.optimizers import find
from fastgd.optimizers._rules import Rule
from fastgd.problems import LOSSES

SEED = 0


def make_cohort(
    X: NDArray[Any],
    y: NDArray[Any],
    rates: Sequence[float] | NDArray[np.float64],
    threads: Threads,
    *,
    batch_size: int,
    momentum: float = 0.9,
    shuffled: bool = False,
) -> Cohort:
    """Return a cohort at its start, a lane for each rate, with the kernel that the plan chooses for it."""
    optimizer = find("momentum")
    values = {**optimizer.hyper, "lr": np.asarray(rates), "momentum": momentum}
    spec = CohortSpec(
        rule=Rule.of(optimizer, {}),
        hyper=np.stack([np.broadcast_to(values[name], len(rates)) for name in optimizer.hyper], axis=1),
        l2=np.zeros(len(rates)),
        scheduled=(),
        loss=LOSSES["logistic"],
        batch_size=batch_size,
        shuffled=shuffled,
        intercept=False,
        init="zeros",
        seed=SEED,
        kernel=choose_kernel(len(rates), batch_size, X.dtype.itemsize),
    )
    return Cohort(spec, X, y, threads)
