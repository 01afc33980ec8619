"""The dense cohorts of the benchmarks: logistic regression at G learning rates, as a study plans it."""

from collections.abc import Mapping, Sequence
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
    optimizer: str = "momentum",
    around: Mapping[str, str] | None = None,
    estimator: str = "none",
    line_search: Any = None,
    shuffled: bool = False,
    **values: float,
) -> Cohort:
    """Return a cohort at its start, a lane for each rate, with the kernel that the plan chooses for it.

    `around` are the kinds of options by their tables, and `values` hyper-parameters that have no default.
    """
    rule = Rule.of(find(optimizer), {}, around)
    hyper = {**rule.fields, **values, "lr": np.asarray(rates)}
    needs = {"tiles": estimator != "none", "parts": line_search is not None}
    spec = CohortSpec(
        rule=rule,
        hyper=np.stack([np.broadcast_to(hyper[name], len(rates)) for name in rule.fields], axis=1),
        l2=np.zeros(len(rates)),
        scheduled=("lr",) if line_search is not None else (),
        loss=LOSSES["logistic"],
        batch_size=batch_size,
        shuffled=shuffled,
        intercept=False,
        init="zeros",
        seed=SEED,
        kernel=choose_kernel(len(rates), batch_size, X.dtype.itemsize, **needs),
        estimator=estimator,
        line_search=line_search,
    )
    return Cohort(spec, X, y, threads)
