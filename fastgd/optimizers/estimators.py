"""Gradient estimators: how the gradient of all rows is estimated from those of a batch, for any rule."""

from dataclasses import dataclass

from fastgd.common.pickling import PickledByName
from fastgd.common.registry import Registry


@dataclass(frozen=True)
class Estimator(PickledByName, registry="ESTIMATORS"):
    """The record of an estimator.

    Attributes
    ----------
    name : str
        The value of the key `estimator`.
    summary, text : str
        Its equation, and when to use it.
    witness, reference : str
        As for an optimizer.
    """

    name: str
    summary: str
    text: str = ""
    witness: str = "the paper"
    reference: str = ""


ESTIMATORS: Registry[Estimator] = Registry("estimator")


ESTIMATORS.add(Estimator("none", "The batch alone: `g = mean_B loss'(z_i) x_i`.", witness="", reference=""))
ESTIMATORS.add(
    Estimator(
        "svrg",
        "Variance reduction by snapshots: `g = mean_B (r_i - r~_i) x_i + mean_all r~_i x_i`, `r = loss'(z)`.",
        "The `r~` are the residuals of all rows where the epoch began, which a linear model keeps as one number a row: "
        "a step costs what a step of the rule alone does, and an epoch one pass more. `samples_seen` counts it. With a "
        "constant rate on a strongly convex objective it converges linearly, where the batch alone circles around.",
        reference="Johnson & Zhang (2013)",
    )
)
ESTIMATORS.add(
    Estimator(
        "saga",
        "Variance reduction by a table: as svrg, but `r~_i` is the residual of the row's last visit.",
        "The table starts with the residuals of all rows at the start, one pass more in the whole run. The theory "
        "draws rows; here an epoch visits every row once, in an order of its own.",
        reference="Defazio, Bach & Lacoste-Julien (2014), https://arxiv.org/abs/1407.0202",
    )
)
