"""What is minimised: losses of linear models."""

from fastgd.problems.losses import LOSSES, MEASURES, ZERO_ONE, Loss

__all__ = ["LOSSES", "MEASURES", "ZERO_ONE", "Loss"]
