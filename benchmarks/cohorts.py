"""The cohorts of the benchmarks: a model, mostly logistic regression, at G learning rates, as a study plans it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgd.core.threads import Threads
from fastgd.engine.linear.model import LinearModel
from fastgd.engine.network.model import Network
from fastgd.engine.rows.cohort import Cohort
from fastgd.engine.rows.spec import CohortSpec, coasting
from fastgd.engine.rows.visit import is_sparse
from fastgd.engine.shapes import choose_kernel
from fastgd.optimizers import find
from fastgd.optimizers.coasting import UNCHANGED, prove_coasting
from fastgd.optimizers.rule import Rule
from fastgd.problems import find_loss, with_outputs

SEED = 0
LINEAR = LinearModel(intercept=False)


def make_cohort(
    X: Any,
    y: NDArray[Any],
    rates: Sequence[float] | NDArray[np.float64],
    threads: Threads,
    *,
    batch_size: int,
    model: LinearModel | Network = LINEAR,
    init: str = "zeros",
    loss: str = "logistic",
    optimizer: str = "momentum",
    around: Mapping[str, str] | None = None,
    estimator: str = "none",
    line_search: Any = None,
    order: str = "sequential",
    sparse: str = "exact",
    **values: float,
) -> Cohort:
    """Return a cohort at its start, a lane for each rate, with the kernel that the plan chooses for it.

    X is dense or a csr_array, for which `sparse` is "exact" or "masked". `around` are the kinds of options by their
    tables, and `values` hyper-parameters that have no default.
    """
    rule = Rule.of(find(optimizer), {}, around)
    hyper = {**rule.fields, **values, "lr": np.asarray(rates)}
    csr = is_sparse(X)
    needs = {"tiles": estimator != "none", "parts": line_search is not None, "sparse": csr}
    sizes = (len(rates), batch_size, X.dtype.itemsize)
    if isinstance(model, Network):
        kernel = model.kernel(X.shape[1], *sizes, tiles=bool(rule.functions.rounds))
    else:
        kernel = choose_kernel(*sizes, **needs, shuffled=order != "sequential", parameters=X.shape[1], slots=rule.slots)
    spec = CohortSpec(
        rule=rule,
        hyper=np.stack([np.broadcast_to(hyper[name], len(rates)) for name in rule.fields], axis=1),
        l2=np.zeros(len(rates)),
        scheduled=("lr",) if line_search is not None else (),
        loss=with_outputs(find_loss(loss), model.outputs if isinstance(model, Network) else 1),
        batch_size=batch_size,
        order=order,
        model=model,
        init=init,
        seed=SEED,
        kernel=kernel,
        estimator=estimator,
        line_search=line_search,
    )
    if csr and sparse == "masked":
        spec = replace(spec, untouched=UNCHANGED)
    elif csr:
        untouched = prove_coasting(rule, spec.hyper, spec.l2, drift=estimator != "none", same=True)
        spec = coasting(spec, untouched, X.shape[1], X.nnz / X.shape[0], X.dtype.itemsize)
    return Cohort(spec, X, y, threads)
