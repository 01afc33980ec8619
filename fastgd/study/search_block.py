"""The table `[search]`: how a study searches among its configurations."""

from typing import Annotated

from pydantic import Field

from fastgd.study.fields import Block, Count, Seed, described
from fastgd.study.values import MOST_VALUES


class Halving(Block):
    """The race of the configurations of each problem."""

    factor: Annotated[int, Field(ge=2, le=1000)] = described(
        "At each stage the best go on, one of so many, and have so many times the epochs until the next.", 3
    )
    start: Count = described("The epoch of the first stage.", 1)

    def stages(self, epochs: int) -> list[int]:
        """Return the epochs at which configurations are compared, of a budget of so many."""
        found, epoch = [], self.start
        while epoch < epochs:
            found.append(epoch)
            epoch *= self.factor
        return found


class SearchBlock(Block):
    """How a study searches among its configurations: by a random search, in a race, or by both."""

    draws: Annotated[int, Field(ge=1, le=MOST_VALUES)] | None = described(
        "How often all [random axes](study.md#random-search) are drawn together; more begin with the fewer ones.",
        None,
        goes_with="a random axis",
    )
    seed: Seed = described("Of what is drawn, also of keys with a `num` of their own.", 0)
    halving: Halving | None = described(
        "The configurations of a problem [race](stopping.md#halving) on their mean validation loss, and the losers end "
        "as `retired`.",
        None,
        goes_with='`epochs`, `validation`, `record.every = "epoch"`, all rows recorded',
    )
