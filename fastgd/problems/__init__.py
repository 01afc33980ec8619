"""What is minimised: losses of linear models."""

from fastgd.problems.losses import LOSSES, Loss

__all__ = ["LOSSES", "Loss"]
