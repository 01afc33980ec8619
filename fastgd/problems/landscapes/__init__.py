"""Landscapes: a value and a gradient of a point, with the domain and the minima that are known.

Parameters and points come in, values and gradients go out; the same text runs on numbers, arrays and vectors of lanes.
Importing this package registers all of them.
"""

from fastgd.problems.landscapes import classic, lectures, rugged  # noqa: F401 (registers)
