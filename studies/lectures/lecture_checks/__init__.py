"""What each study of `studies/lectures` must show: the tests assert it, and the gallery prints the numbers.

`CHECKS` maps a study's name to a function of its results. What it returns says in words what was checked and whether
it holds, and has the measured numbers as the rows of a table.
"""

from lecture_checks import landscapes, networks, samples, toy_neuron
from lecture_checks.measures import CHECKS, Found

__all__ = ["CHECKS", "Found", "landscapes", "networks", "samples", "toy_neuron"]
