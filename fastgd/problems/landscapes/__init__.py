"""Landscapes: functions of a point with their gradient, domain and known minima.

Parameters and points come in, values and gradients go out; the same functions work on numbers, arrays and vectors of
lanes. A landscape never sees an optimizer or its state. Importing this package registers all of them.
"""

from fastgd.problems.landscapes import classic, lectures, rugged  # noqa: F401 (registers)
