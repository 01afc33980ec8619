"""Update rules, written once: one family a file, one NamedTuple an optimizer, one record each in `OPTIMIZERS`."""

from fastgd.optimizers import adagrad, adam, sgd
from fastgd.optimizers._record import OPTIMIZERS, Optimizer, find, optimizer

__all__ = ["OPTIMIZERS", "Optimizer", "adagrad", "adam", "find", "optimizer", "sgd"]
