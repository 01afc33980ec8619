"""Convergence studies of gradient-descent optimizers: every rate, schedule, batch size and seed in a few passes.

>>> import fastgd
>>> study = fastgd.Study.from_toml("studies/flights.toml")  # doctest: +SKIP
>>> results = fastgd.run(study)  # doctest: +SKIP
>>> results.best()  # doctest: +SKIP

Names and modules are imported when they are first used: `import fastgd` stays quick, and reading results never imports
Numba. `fastgd.optimizers.adam(w, lr=1e-3)` and `fastgd.plots.plot(results, "curves")` need no further import.
"""

import sys

if sys.argv[:1] == ["-m"] and " -m fastgd " in f"{' '.join(sys.orig_argv)} " and not sys.flags.safe_path:
    # `python -m` looks for modules in the current folder first: a typing.py or numpy.py there would be run
    del sys.path[0]

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgd import analysis, datasets, optimizers, plots, problems, schedules, sklearn
    from fastgd.analysis import Results, load, load_model
    from fastgd.analysis.regressions.comparison import compare
    from fastgd.common.errors import InputError
    from fastgd.optimizers import optimizer
    from fastgd.reports import report
    from fastgd.runs.dask.executor import DaskExecutor
    from fastgd.runs.runner import run
    from fastgd.runs.stored.fitting import fit
    from fastgd.runs.stored.merging import merge
    from fastgd.runs.stored.optimum import optimum
    from fastgd.runs.stored.trial_surfaces import surface
    from fastgd.search.range_test import range_test
    from fastgd.search.rate_search import tune
    from fastgd.store.verifying.verification import verify
    from fastgd.study.config import Study

__version__ = version("fastgd")

__all__ = [
    "DaskExecutor",
    "InputError",
    "Results",
    "Study",
    "__version__",
    "analysis",
    "compare",
    "datasets",
    "fit",
    "load",
    "load_model",
    "merge",
    "optimizer",
    "optimizers",
    "optimum",
    "plots",
    "problems",
    "range_test",
    "report",
    "run",
    "schedules",
    "sklearn",
    "surface",
    "tune",
    "verify",
]

_HOMES = {
    "DaskExecutor": "fastgd.runs.dask.executor",
    "InputError": "fastgd.common.errors",
    "Results": "fastgd.analysis",
    "Study": "fastgd.study.config",
    "compare": "fastgd.analysis.regressions.comparison",
    "fit": "fastgd.runs.stored.fitting",
    "load": "fastgd.analysis",
    "merge": "fastgd.runs.stored.merging",
    "load_model": "fastgd.analysis",
    "optimizer": "fastgd.optimizers",
    "optimum": "fastgd.runs.stored.optimum",
    "range_test": "fastgd.search.range_test",
    "report": "fastgd.reports",
    "run": "fastgd.runs.runner",
    "surface": "fastgd.runs.stored.trial_surfaces",
    "tune": "fastgd.search.rate_search",
    "verify": "fastgd.store.verifying.verification",
}
_MODULES = ("analysis", "datasets", "optimizers", "plots", "problems", "schedules", "sklearn")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"fastgd.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("run", "fit", "optimum", "surface", "tune", "range_test"):
        import_module("fastgd.common.system").make_room()
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
