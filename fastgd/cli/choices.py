"""The words that options of commands take."""

from enum import StrEnum
from typing import Self

from fastgd.common.errors import InputError, nearest


class Choice(StrEnum):
    """A set of words of which an option takes one."""

    @classmethod
    def of(cls, name: str, option: str) -> Self:
        """Return the choice of this name, or raise InputError: the option, what was found and what is near."""
        valid = [choice.value for choice in cls]
        if name not in valid:
            raise InputError(f"{option}: there is no {name!r}; {nearest(name, valid)}")
        return cls(name)


class Kind(Choice):
    """What `fastgd list` lists."""

    optimizers = "optimizers"
    options = "options"
    baselines = "baselines"
    schedules = "schedules"
    losses = "losses"
    landscapes = "landscapes"
    datasets = "datasets"
    metrics = "metrics"
    keys = "keys"


class By(Choice):
    """What `fastgd best` ranks by."""

    validation_loss = "validation_loss"
    loss = "loss"


class At(Choice):
    """Where on a curve `fastgd best` looks."""

    final = "final"
    best = "best"
