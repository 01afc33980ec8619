"""The table of a problem's network, and where its weights start."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator

from fastgd.problems.activations import ACTIVATIONS
from fastgd.problems.starts import STARTS
from fastgd.study.fields import Block, Count, Written, described
from fastgd.study.values import failure, is_number

MOST_HIDDEN_LAYERS = 3
MOST_LAYERS = 1 + MOST_HIDDEN_LAYERS
VALID_STARTS = (*STARTS, "zeros")


def _start(value: Any) -> str | dict[str, float]:
    if isinstance(value, dict) and list(value) == ["normal"] and is_number(value["normal"]) and value["normal"] > 0:
        return {"normal": float(value["normal"])}
    if value in VALID_STARTS:
        return str(value)
    raise failure(f"must be one of {', '.join(map(repr, VALID_STARTS))}, or {{ normal = s }} with s > 0", found=value)


LayerStart = Annotated[
    str | dict[str, float],
    PlainValidator(_start),
    Written("one of " + ", ".join(map('`"{}"`'.format, VALID_STARTS)) + ", or `{ normal = s }` with s > 0"),
]
ActivationName = Annotated[
    str,
    AfterValidator(lambda name: ACTIVATIONS.find(name).name),
    Written("one of " + ", ".join(map('`"{}"`'.format, ACTIVATIONS))),
]


class NetworkBlock(Block):
    """The layers between features and outputs: `network = { hidden = [64, 32], activation = "relu" }`."""

    hidden: Annotated[list[Count], Field(max_length=MOST_HIDDEN_LAYERS)] = described(
        f"The units of each hidden layer, from none to {MOST_HIDDEN_LAYERS}."
    )
    activation: ActivationName = described("What the hidden units make of their sums.", "relu")
