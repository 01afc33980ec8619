"""The table `[surface]`: the grid of two parameters over which a problem's error surface is computed."""

from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, PlainValidator, model_validator

from fastgd.study.fields import Block, Written, described
from fastgd.study.values import Each, failure, is_point

Array = npt.NDArray[Any]
MOST_POINTS = 1 << 26  # of a surface


def _at(value: Any) -> Any:
    if value == "zeros":
        return value
    if is_point(value):
        return [float(number) for number in value]
    raise failure("must be 'zeros' or a list of numbers, one for each parameter", found=value)


Pair = Annotated[Each[float], Written("a number, or one for each axis")]
Axes = Annotated[
    list[Annotated[int, Field(ge=0)]],
    Field(min_length=1, max_length=2),
    Written("a list of one or two whole numbers from 0"),
]
Points = Annotated[Each[Annotated[int, Field(ge=2)]], Written("a whole number from 2, or one for each axis")]


class SurfaceBlock(Block):
    """The grid of an error surface."""

    parameters: Axes | None = described(
        "The parameters that vary: two, or one for a line. Of data, the intercept is the last.",
        None,
        otherwise="the first two",
    )
    low: Pair | None = described(
        "Where the axes begin.", None, otherwise="of data required, of landscapes the domain's"
    )
    high: Pair | None = described("Where the axes end.", None, otherwise="of data required, of landscapes the domain's")
    num: Points | None = described("Points along the axes.", None, otherwise="240; along a line 1,000")
    at: Annotated[Any, PlainValidator(_at), Written('`"zeros"`, or a list of all parameters')] | None = described(
        "Where the other parameters stay.", None, otherwise="zeros; of landscapes the lowest known minimum"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.parameters and len(set(self.parameters)) < len(self.parameters):
            raise failure("must be two different parameters", "parameters", found=self.parameters)
        for key in ("low", "high", "num"):
            values = getattr(self, key)
            if values is not None and len(values) not in (1, 2):
                raise failure("must be a number, or one for each of the two axes", key, found=values)
        if self.num and np.prod(np.resize(self.num, 2).astype(float)) > MOST_POINTS:
            raise failure(f"makes more than {MOST_POINTS:,} points", "num", found=self.num)
        if self.low and self.high:
            check_ends(np.resize(self.low, 2), np.resize(self.high, 2))
        return self

    def axes(self, parameters: int) -> list[int]:
        """Return the one or two parameters that vary, for a problem with so many parameters."""
        return self.parameters if self.parameters is not None else list(range(min(2, parameters)))

    def fault(self, parameters: int) -> str:
        """Return what does not fit a problem with so many parameters; empty if everything does."""
        if max(self.axes(parameters)) >= parameters:
            return f"surface.parameters = {self.axes(parameters)}: valid are 0 to {parameters - 1:,}, the parameters"
        if isinstance(self.at, list) and len(self.at) != parameters:
            return f"surface.at has {len(self.at):,} numbers, and there are {parameters:,} parameters"
        return ""


def check_ends(low: Array, high: Array, *path: str) -> None:
    """Refuse an axis that does not go up, or is too long for a number."""
    if not np.all(low < high):
        raise failure(f"must be below high = {high.tolist()}", *path, "low", found=low.tolist())
    with np.errstate(over="ignore"):
        if not np.isfinite(high - low).all():
            raise failure(f"is too far below high = {high.tolist()} for a number", *path, "low", found=low.tolist())
