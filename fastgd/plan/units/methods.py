"""The methods that a study compares: an optimizer block with one choice of its options, estimators, line searches."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.optimizers import find
from fastgd.optimizers.rule import Rule
from fastgd.study.config import OptimizerBlock, Study
from fastgd.study.sub_tables import Search

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Method:
    """An update rule with all that is no number: what has kernels of its own.

    Attributes
    ----------
    block : OptimizerBlock
        The block that asks for it.
    choices : dict of str to str, bool or number
        What it takes of the block's categorical keys and options.
    rule : Rule
    estimator : str
    search : Search, optional
        What chooses the rate of each step.
    """

    block: OptimizerBlock
    choices: dict[str, Any]
    rule: Rule
    estimator: str
    search: Search | None

    @property
    def key(self) -> str:
        """What is the same for blocks that ask for the same method."""
        return f"{self.rule!r} {self.estimator} {self.search!r}"

    @property
    def baseline(self) -> bool:
        """Whether it looks at points: it follows no gradient, and has no rate that a schedule could drive."""
        return self.rule.optimizer.baseline

    @property
    def variant(self) -> str:
        """How it differs from the optimizer's defaults, in words."""
        return variant_of(self.rule, self.estimator, self.search)


def methods_of(study: Study, *, masked: bool = False) -> Iterator[Method]:
    """Yield the methods of every block, in order; where rows are `masked`, in the form that masked steps have."""
    for block in study.optimizer:
        yield from methods_of_block(block, masked=masked)


def methods_of_block(block: OptimizerBlock, *, masked: bool = False) -> Iterator[Method]:
    """Yield the methods of a block: every combination of its options and estimators."""
    record = find(block.name)
    for *chosen, estimator in itertools.product(*block.options.values(), block.estimator):
        choices = dict(zip(block.options, chosen, strict=True))
        if masked and "eps_hat" in choices:
            choices["eps_hat"] = True  # the form of the witness of masked steps, PyTorch's SparseAdam
        yield Method(block, choices, Rule.of(record, choices, block.kinds), estimator, block.line_search)


def variant_of(rule: Rule, estimator: str = "none", search: Search | None = None) -> str:
    """Return what stands in the column `variant`."""
    parts = (rule.variant, "" if estimator == "none" else estimator, search.label if search else "")
    return ", ".join(filter(None, parts))


def numbers_of(rule: Rule, hyper: Array, search: Search | None) -> dict[str, Array]:
    """Return numeric hyper-parameters (G, hyper) by their columns, with those of a line search."""
    values = dict(zip(rule.fields, hyper.T, strict=True))
    fixed = search.numbers if search else {}
    return values | {name: np.full(len(hyper), value) for name, value in fixed.items()}


def grid_of(axes: list[Any]) -> Array:
    """Return every combination of the values of some axes (G, axes), the last axis running fastest."""
    values = [np.asarray(axis, np.float64) for axis in axes]
    return np.stack([axis.ravel() for axis in np.meshgrid(*values, indexing="ij")], axis=1)
