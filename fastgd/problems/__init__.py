"""What is minimised: losses of linear models, and landscapes.

Margins and targets, or points, come in; values and derivatives go out, for numbers, arrays and vectors of lanes alike.
Nothing here knows of optimizers, data or studies.
"""

from fastgd.problems.landscapes.landscape import LANDSCAPES, Landscape, landscape
from fastgd.problems.landscapes.user import find_landscape
from fastgd.problems.losses import LOSSES, MEASURES, SQUARED_ERRORS, ZERO_ONE, Loss
from fastgd.problems.user_losses import find_loss, loss

__all__ = [
    "LANDSCAPES",
    "LOSSES",
    "MEASURES",
    "SQUARED_ERRORS",
    "ZERO_ONE",
    "Landscape",
    "Loss",
    "find_landscape",
    "find_loss",
    "landscape",
    "loss",
]
