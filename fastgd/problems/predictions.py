"""What margins predict: the mean of counts, a share, or the probabilities of classes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgd.core.math import exp, sigmoid


def softmax(z: Any) -> Any:
    """Return the probabilities of classes by their margins, (n, classes) each."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# By the names of losses; of the others, the margin itself is the prediction, or its sign is.
LINKS: dict[str, Callable[[Any], Any]] = {
    "logistic": sigmoid,
    "softmax": softmax,
    "poisson": exp,
    "sigmoid_squared": sigmoid,
}
