"""What is minimised: losses of linear models and networks, with their activations, and landscapes.

Margins and targets, or points, come in; values and derivatives go out, for numbers, arrays and vectors of lanes alike.
Nothing here knows of optimizers, data or studies.
"""

from fastgd.problems.landscapes.landscape import LANDSCAPES, Landscape, landscape
from fastgd.problems.landscapes.user import find_landscape
from fastgd.problems.losses import (
    CLASS_LOSSES,
    LOSSES,
    MEASURES,
    MISSES,
    SQUARED_ERRORS,
    ZERO_ONE,
    Loss,
    of_each_target,
    of_weighted_rows,
    with_outputs,
)
from fastgd.problems.user_losses import find_loss, loss

__all__ = [
    "CLASS_LOSSES",
    "LANDSCAPES",
    "LOSSES",
    "MEASURES",
    "MISSES",
    "SQUARED_ERRORS",
    "ZERO_ONE",
    "Landscape",
    "Loss",
    "find_landscape",
    "find_loss",
    "landscape",
    "loss",
    "of_each_target",
    "of_weighted_rows",
    "with_outputs",
]
