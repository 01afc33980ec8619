"""The values that options take."""

from enum import StrEnum


class Kind(StrEnum):
    """What `fastgd list` lists."""

    optimizers = "optimizers"
    options = "options"
    baselines = "baselines"
    schedules = "schedules"
    losses = "losses"
    landscapes = "landscapes"
    datasets = "datasets"


class By(StrEnum):
    """What `fastgd best` ranks by."""

    validation_loss = "validation_loss"
    loss = "loss"


class At(StrEnum):
    """Where on a curve `fastgd best` looks."""

    final = "final"
    best = "best"
