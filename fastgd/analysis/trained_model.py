"""The model that a trial trained: its layers, what it predicts of new rows, and the same as a module of PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError

if TYPE_CHECKING:
    from fastgd.datasets.record import Scaling

Floats = NDArray[np.float64]
WITH_PROBABILITIES = ("logistic", "softmax")
TORCH_MODULES = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "gelu": "GELU",
    "silu": "SiLU",
    "identity": "Identity",
}


class Layer(NamedTuple):
    """A layer: weights (inputs, outputs), biases (outputs,) or None, and the activation, None of the last layer."""

    name: str
    weights: Floats
    biases: Floats | None
    activation: str | None


@dataclass(frozen=True, eq=False, repr=False)
class TrainedModel:
    """The model that a trial trained, which `Results.model` returns.

    Rows X are given as the data have them, (n, d): arrays, tables with the names of the training rows' columns in any
    order, or scipy matrices. Where the study standardises, the model does so with the training rows' means and
    deviations. It computes in float64.

    Attributes
    ----------
    trial_id, loss : str
    features : sequence of str
        The names of the d columns.
    classes : tuple
        The labels as the data have them, in the order of probabilities; 0 and 1 where `positive` is one label against
        several. Empty: the loss is of numbers.
    layers : list of Layer
        Their weights are of standardised rows, if the study standardises. A linear model is one layer.
    scaling : Scaling or None
        The means and deviations that standardise.
    sparse : bool
        Whether the training rows were sparse, of which nothing is subtracted.
    targets : tuple of str
        The names of several targets, in the order of predictions; empty: there is one.
    target_scale : tuple of float, or of ndarray (targets,)
        The mean and the deviation of the targets, if the study standardises these; else 0 and 1.
    activate, link : callable or None
        The activation of the hidden layers, and what makes predictions or probabilities of margins.
    """

    trial_id: str
    loss: str
    features: Sequence[str]
    classes: tuple[Any, ...]
    layers: list[Layer]
    scaling: "Scaling | None"
    sparse: bool
    targets: tuple[str, ...]
    target_scale: tuple[Any, Any]
    activate: Callable[[Any], Any] | None
    link: Callable[[Any], Any] | None

    def __repr__(self) -> str:
        widths = " -> ".join(
            str(width) for width in (len(self.features), *(len(each.weights.T) for each in self.layers))
        )
        return f"<Model of trial {self.trial_id!r}: {self.loss}, {widths}>"

    def margins(self, X: Any) -> Floats:
        """Return what the last layer gives, (n,), or (n, classes) of softmax, or (n, targets) of several, in their own
        units.

        Raises
        ------
        InputError
            X has other columns than the training rows, or values that are no finite numbers.
        """
        from fastgd.datasets.prepare import new_rows

        units: Any = new_rows(X, self.features, self.scaling, sparse=self.sparse)
        for layer in self.layers:
            units = units @ layer.weights
            if layer.biases is not None:
                units += layer.biases
            if layer.activation and self.activate:
                units = self.activate(units)
        mean, deviation = self.target_scale
        units = units * deviation + mean
        return np.asarray(units[:, 0] if units.shape[1] == 1 else units)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the prediction of each row, (n,), or (n, targets) of several targets.

        Of `classes`, it is the label: the second of two where the margin is above 0, or the one with the largest
        margin. Of numbers, it is what the targets are compared with: `e^z` of poisson, `sigmoid(z)` of sigmoid_squared,
        and the margin z of other losses.

        Raises
        ------
        InputError
            See `margins`.
        """
        z = self.margins(X)
        if self.classes:
            labels: NDArray[Any] = np.array(self.classes)[z.argmax(axis=1) if z.ndim == 2 else (z > 0).astype(np.intp)]
            return labels
        return np.asarray(self.link(z) if self.link else z)

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of each class, (n, classes), in the order of `classes`.

        Raises
        ------
        InputError
            The loss is neither logistic nor softmax; see also `margins`.
        """
        if self.loss not in WITH_PROBABILITIES or self.link is None:
            raise InputError(
                f"the loss {self.loss!r} gives no probabilities, as {' and '.join(WITH_PROBABILITIES)} do: "
                "see predict and margins"
            )
        z = self.margins(X)
        return np.asarray(self.link(z) if z.ndim == 2 else np.column_stack([self.link(-z), self.link(z)]))

    def to_torch(self) -> Any:
        """Return the model as a `torch.nn.Sequential` in float64, from raw rows (n, d) to margins (n, outputs).

        Standardisation is in the weights of its first and its last layer.

        Raises
        ------
        InputError
            PyTorch is not installed.
        """
        try:
            torch: Any = import_module("torch")
        except ImportError:
            raise InputError('to_torch needs PyTorch: pip install torch, or pip install "fastgd[witnesses]"') from None
        modules = []
        for layer in self._of_raw_rows():
            inputs, outputs = layer.weights.shape
            linear = torch.nn.Linear(inputs, outputs, bias=layer.biases is not None, device="meta")  # nothing is drawn
            linear.weight = torch.nn.Parameter(torch.tensor(layer.weights.T))
            if layer.biases is not None:
                linear.bias = torch.nn.Parameter(torch.tensor(layer.biases))
            modules.append(linear)
            if layer.activation:
                modules.append(getattr(torch.nn, TORCH_MODULES[layer.activation])())
        return torch.nn.Sequential(*modules)

    def _of_raw_rows(self) -> list[Layer]:
        """Return the layers with the standardisation of rows in the first one, and that of targets in the last."""
        layers = list(self.layers)
        if self.scaling is not None:
            weights = layers[0].weights / self.scaling.deviation[:, None]
            moved = None if self.sparse else -self.scaling.mean @ weights
            layers[0] = layers[0]._replace(weights=weights, biases=_sum(layers[0].biases, moved))
        mean, deviation = self.target_scale
        if np.any(mean != 0.0) or np.any(deviation != 1.0):
            last, moved = layers[-1], np.full(layers[-1].weights.shape[1], mean)
            biases = None if last.biases is None else last.biases * deviation
            layers[-1] = last._replace(weights=last.weights * deviation, biases=_sum(biases, moved))
        return layers


def _sum(biases: Floats | None, moved: Floats | None) -> Floats | None:
    """Return biases with what is added to them; None is nothing."""
    given = [each for each in (biases, moved) if each is not None]
    return np.asarray(np.sum(given, axis=0)) if given else None
