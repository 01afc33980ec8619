"""The table `[search]`: how a study searches among its configurations."""

from typing import Annotated

from pydantic import Field

from fastgd.study.fields import Block, Seed, described
from fastgd.study.values import MOST_VALUES


class SearchBlock(Block):
    """How a study searches among its configurations: a random search over all keys that are drawn together."""

    draws: Annotated[int, Field(ge=1, le=MOST_VALUES)] | None = described(
        "How often all [random axes](study.md#random-search) are drawn together; more begin with the fewer ones.",
        None,
        goes_with="a random axis",
    )
    seed: Seed = described("Of what is drawn, also of keys with a `num` of their own.", 0)
