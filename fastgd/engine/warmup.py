"""Compiles kernels ahead of a run, so that other processes find them in the cache."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from fastgd.core.compile import require_compiler
from fastgd.core.threads import Threads
from fastgd.engine.linear.model import LinearModel
from fastgd.engine.rows.cohort import Cohort
from fastgd.engine.rows.spec import CohortSpec
from fastgd.engine.shapes import LARGE_BATCH, Kernel, choose_kernel
from fastgd.optimizers import OPTIMIZERS
from fastgd.optimizers.rule import Rule
from fastgd.problems import LOSSES, Loss


def compile_kernels(
    specs: Iterable[tuple[CohortSpec, str]],
    note: Callable[[str], None],
    *,
    gradient_norm: bool = False,
    measures: Callable[[Loss], Sequence[Loss]] = lambda loss: (),  # noqa: ARG005
) -> int:
    """Compile what cohorts of these specs and dtypes call; return how many distinct kernels there were.

    Parameters
    ----------
    specs : iterable of (CohortSpec, str)
    note : callable
        Receives the name of each before it is compiled.
    gradient_norm : bool
        Whether the gradient's norm is measured.
    measures : callable
        Returns what is measured beside a loss.
    """
    require_compiler()
    done: set[str] = set()
    with Threads(1) as threads:
        for spec, dtype in specs:
            name = f"{spec.rule.optimizer.name}, {spec.kernel.name}, {dtype}"
            X: Any = np.zeros((2, 2), dtype)
            drivers = spec.drivers(X.shape[1], X.itemsize)
            method = f"{spec.estimator} {type(spec.line_search).__name__} {drivers}"
            rows = f"{spec.untouched!r} {spec.batch_size == 1} {spec.adds_rows}" if spec.kernel.sparse else ""
            key = f"{spec.rule!r} {spec.kernel.name} {dtype} {bool(spec.kernel.parts)} {spec.loss!r} {method} {rows}"
            if key in done:
                continue
            done.add(key)
            note(name)
            if spec.kernel.sparse:
                from scipy.sparse import csr_array

                X = csr_array(X)
            Cohort(spec, X, np.zeros(2, dtype), threads).compile(gradient_norm, measures(spec.loss))
    return len(done)


def all_specs(dtypes: Iterable[str] = ("float64",), lanes: int = 64) -> Iterable[tuple[CohortSpec, str]]:
    """Yield a spec for every optimizer of the registry, with mini-batches and with large ones."""
    for dtype, record, batch_size in product(dtypes, OPTIMIZERS.values(), (64, LARGE_BATCH)):
        rule = Rule.of(record, {})
        values = [1e-3 if value is None else value for value in record.hyper.values()]
        kernel: Kernel = choose_kernel(lanes, batch_size, np.dtype(dtype).itemsize)
        yield (
            CohortSpec(
                rule=rule,
                hyper=np.tile(values, (lanes, 1)),
                l2=np.zeros(lanes),
                scheduled=(),
                loss=LOSSES["logistic"],
                batch_size=batch_size,
                order="shuffle",
                model=LinearModel(intercept=True),
                init="zeros",
                seed=0,
                kernel=kernel,
            ),
            dtype,
        )
