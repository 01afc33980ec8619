"""Update rules, written once: one family a file, one NamedTuple an optimizer, one record each in `OPTIMIZERS`.

A name, choices and options come in; a `Rule` goes out, whose functions kernels and arrays call, with what is proven of
them. Nothing here sees data, lanes' places in memory, or studies.

On an array of one's own, each is a function of its name: `fastgd.optimizers.adam(w, lr=1e-3).step(g)`.
"""

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastgd.optimizers import (  # noqa: F401 (registers)
    baselines,
    families,
)
from fastgd.optimizers.record import (
    BASELINES,
    OPTIMIZERS,
    Decay,
    NonNegative,
    Optimizer,
    Rate,
    Slots,
    Step,
    Value,
    find,
    optimizer,
)

if TYPE_CHECKING:
    from fastgd.optimizers.arrays import ArrayOptimizer

__all__ = [
    "BASELINES",
    "OPTIMIZERS",
    "Decay",
    "NonNegative",
    "Optimizer",
    "Rate",
    "Slots",
    "Step",
    "Value",
    "find",
    "optimizer",
]


def __getattr__(name: str) -> Any:
    if name not in OPTIMIZERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    record = OPTIMIZERS[name]

    def on_array(w: Any, *, threads: int | None = None, **values: Any) -> "ArrayOptimizer":
        made: ArrayOptimizer = import_module("fastgd.optimizers.arrays").ArrayOptimizer(
            record, w, threads=threads, **values
        )
        return made

    on_array.__name__ = on_array.__qualname__ = name
    on_array.__doc__ = f"{inspect.getdoc(record.cls)}\n\nReturns a `fastgd.optimizers.arrays.ArrayOptimizer`."
    return on_array


def __dir__() -> list[str]:
    return sorted({*globals(), *OPTIMIZERS})
