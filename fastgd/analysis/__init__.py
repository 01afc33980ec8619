"""Results read back: trials, curves, rankings and parameters as pandas and NumPy.

A folder of results comes in, tables go out. Nothing is computed anew, and Numba and the engine are never imported.
"""

from fastgd.analysis.results import LOST, METRICS, Results, load, value_of, with_methods

__all__ = ["LOST", "METRICS", "Results", "load", "value_of", "with_methods"]
