"""The methods that a study compares: an optimizer block with one choice of its options, estimators, line searches."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.optimizers import find
from fastgd.optimizers.rule import Rule
from fastgd.study.config import OptimizerBlock, Study
from fastgd.study.draws import Drawn, draws_with
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
    draws : tuple of int, optional
        The draws of the study that have its choices, where these are drawn; None: all of them.
    """

    block: OptimizerBlock
    choices: dict[str, Any]
    rule: Rule
    estimator: str
    search: Search | None
    draws: tuple[int, ...] | None = None

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

    def grid(self, *axes: Any) -> Array:
        """Return every combination of its numbers, and of the values of further axes (G, axes): see `grid_of`."""
        return grid_of([*self.block.grids.values(), *axes], self.draws)


def methods_of(study: Study, *, masked: bool = False) -> Iterator[Method]:
    """Yield the methods of every block, in order; where rows are `masked`, in the form that masked steps have."""
    for block in study.optimizer:
        yield from methods_of_block(block, masked=masked)


def methods_of_block(block: OptimizerBlock, *, masked: bool = False) -> Iterator[Method]:
    """Yield the methods of a block: every combination of its options and estimators."""
    record = find(block.name)
    axes = [*block.options.values(), block.estimator]
    for *chosen, estimator in itertools.product(*map(dict.fromkeys, axes)):
        draws = draws_with(axes, (*chosen, estimator))
        if draws == ():
            continue
        choices = dict(zip(block.options, chosen, strict=True))
        if masked and "eps_hat" in choices:
            choices["eps_hat"] = True  # the form of the witness of masked steps, PyTorch's SparseAdam
        yield Method(block, choices, Rule.of(record, choices, block.kinds), estimator, block.line_search, draws)


def variant_of(rule: Rule, estimator: str = "none", search: Search | None = None) -> str:
    """Return what stands in the column `variant`."""
    parts = (rule.variant, "" if estimator == "none" else estimator, search.label if search else "")
    return ", ".join(filter(None, parts))


def numbers_of(rule: Rule, hyper: Array, search: Search | None) -> dict[str, Array]:
    """Return numeric hyper-parameters (G, hyper) by their columns, with those of a line search."""
    values = dict(zip(rule.fields, hyper.T, strict=True))
    fixed = search.numbers if search else {}
    return values | {name: np.full(len(hyper), value) for name, value in fixed.items()}


def grid_of(axes: list[Any], draws: Sequence[int] | None = None) -> Array:
    """Return every combination of the values of some axes (G, axes), the last axis running fastest.

    Random axes run together, in the place of the first of them: all of their draws, or those that are given.
    """
    random = [isinstance(axis, Drawn) for axis in axes]
    first = random.index(True) if any(random) else None
    places = [np.arange(1 if drawn else len(axis)) for axis, drawn in zip(axes, random, strict=True)]
    if first is not None:
        places[first] = np.arange(len(axes[first])) if draws is None else np.array(draws)
    mesh = np.meshgrid(*places, indexing="ij")
    which = [mesh[first if drawn and first is not None else place] for place, drawn in enumerate(random)]
    return np.stack([np.asarray(axis, np.float64)[at.ravel()] for axis, at in zip(axes, which, strict=True)], axis=1)
