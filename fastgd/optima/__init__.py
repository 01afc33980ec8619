"""Certified minima of convex problems: rows and a loss come in; the minimum, a bound on its error and constants go out.

Everything is float64, and none of it is needed to run a study: the solves are by other methods than those that a study
compares, and their results are what its gaps are measured from.
"""

from fastgd.optima.convex_losses import CONVEX, ConvexLoss
from fastgd.optima.optimum import Optimum, Problem, solve

__all__ = ["CONVEX", "ConvexLoss", "Optimum", "Problem", "solve"]
