"""Where the weights of a layer start, as records: a distribution, and its scale for a layer's inputs and outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fastgd.common.registry import Registry


@dataclass(frozen=True)
class LayerStart:
    """The record of a start.

    Attributes
    ----------
    name : str
        As in a study file.
    summary : str
    distribution : {"normal", "uniform"}
        Of the weights.
    scale : callable
        `scale(inputs, outputs)`: the deviation of normal weights, or the bound of uniform ones.
    biases : bool
        Whether biases are drawn as the weights are; others are zero.

    References
    ----------
    he: K. He et al., "Delving deep into rectifiers", ICCV 2015.
    glorot: X. Glorot & Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    2010.
    lecun: Y. LeCun et al., "Efficient BackProp", Neural Networks: Tricks of the Trade, 1998.
    """

    name: str
    summary: str
    distribution: Literal["normal", "uniform"]
    scale: Callable[[int, int], float]
    biases: bool = False


STARTS: Registry[LayerStart] = Registry("start")

for _start in (
    LayerStart("he", "normal with deviation sqrt(2 / inputs)", "normal", lambda inputs, _: (2.0 / inputs) ** 0.5),
    LayerStart(
        "glorot",
        "uniform within sqrt(6 / (inputs + outputs))",
        "uniform",
        lambda inputs, outputs: (6.0 / (inputs + outputs)) ** 0.5,
    ),
    LayerStart("lecun", "normal with deviation sqrt(1 / inputs)", "normal", lambda inputs, _: (1.0 / inputs) ** 0.5),
    LayerStart(
        "pytorch",
        "uniform within sqrt(1 / inputs), biases too, as PyTorch's `Linear` starts",
        "uniform",
        lambda inputs, _: (1.0 / inputs) ** 0.5,
        biases=True,
    ),
):
    STARTS.add(_start)
