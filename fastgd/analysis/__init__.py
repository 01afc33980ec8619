"""Results read back: trials, curves, rankings and parameters as pandas and NumPy, and trained models.

A folder of results comes in, tables go out. Nothing is trained anew, and Numba and the engine are not imported, but
for `Results.model` and `best_model`, which load a study's data as a run does.
"""

from fastgd.analysis.criteria import LOST
from fastgd.analysis.questions.ranking import OF_PROBLEM, REPEATS, best_of_each, spread_of, value_of
from fastgd.analysis.results import Results, load
from fastgd.analysis.stored_study import METRICS, with_methods
from fastgd.analysis.trained_model import Layer, TrainedModel, load_model

__all__ = [
    "LOST",
    "METRICS",
    "OF_PROBLEM",
    "REPEATS",
    "Layer",
    "Results",
    "TrainedModel",
    "best_of_each",
    "load",
    "load_model",
    "spread_of",
    "value_of",
    "with_methods",
]
