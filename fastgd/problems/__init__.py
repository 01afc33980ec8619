"""What is minimised: losses of linear models, and landscapes."""

from fastgd.problems import classic_landscapes, lecture_landscapes, rugged_landscapes  # noqa: F401 (registers)
from fastgd.problems._landscape import LANDSCAPES, Landscape, landscape
from fastgd.problems._user_landscapes import find_landscape
from fastgd.problems._user_losses import find_loss, loss
from fastgd.problems.losses import LOSSES, MEASURES, SQUARED_ERRORS, ZERO_ONE, Loss

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
