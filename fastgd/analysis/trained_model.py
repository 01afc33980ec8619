"""The model that a trial trained: its layers and coefficients, its predictions, and itself as a file or for PyTorch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgd.analysis.model_files import FORMAT, Header, array_of, read_model, write_model
from fastgd.common.errors import InputError
from fastgd.datasets.record import Numbered, Scaling

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
    """The model that a trial trained, which `Results.model`, `Results.best_model`, `fit` and `load_model` return.

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
    study, fingerprint : str
        The study's name, and the fingerprint of the data as it was trained on them.
    rows : int
        How many rows it was trained on.
    zero_based : bool, optional
        Whether columns of svmlight files count from 0; None: the training rows came from no such file.
    csv : mapping
        The study's keys of text tables, by which files of new rows are read.
    """

    trial_id: str
    loss: str
    features: Sequence[str]
    classes: tuple[Any, ...]
    layers: list[Layer]
    scaling: Scaling | None
    sparse: bool
    targets: tuple[str, ...]
    target_scale: tuple[Any, Any]
    activate: Callable[[Any], Any] | None
    link: Callable[[Any], Any] | None
    study: str = ""
    fingerprint: str = ""
    rows: int = 0
    zero_based: bool | None = None
    csv: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        widths = " -> ".join(
            str(width) for width in (len(self.features), *(len(each.weights.T) for each in self.layers))
        )
        return f"<Model of trial {self.trial_id!r}: {self.loss}, {widths}>"

    @property
    def coef(self) -> Floats:
        """The weights of the columns in the data's own units: (d,), or (outputs, d) of several classes or targets.

        Standardisation of columns and targets is undone: `X @ coef.T + intercept` are the margins of a linear model.
        Of a network they are the weights of the first layer, (units, d).
        """
        weights = self._of_raw_rows()[0].weights.T
        return np.ascontiguousarray(weights[0] if self._single else weights)

    @property
    def intercept(self) -> Any:
        """What stands beside `coef`: a float, or (outputs,) or (units,); 0 where there is none."""
        first = self._of_raw_rows()[0]
        biases = np.zeros(first.weights.shape[1]) if first.biases is None else first.biases
        return float(biases[0]) if self._single else biases.copy()

    @property
    def _single(self) -> bool:
        return len(self.layers) == 1 and self.layers[0].weights.shape[1] == 1

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

    def save(self, path: str | Path) -> Path:
        """Write the model to an .npz file, which `load_model` reads without Numba and without pickle.

        Parameters
        ----------
        path : path
            Ends in .npz; its folder is made where there is none.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            The path does not end in .npz, or cannot be written to.
        """
        arrays = {"target.mean": self.target_scale[0], "target.deviation": self.target_scale[1]}
        for layer in self.layers:
            arrays[f"{layer.name}.weights"] = layer.weights
            if layer.biases is not None:
                arrays[f"{layer.name}.biases"] = layer.biases
        if self.scaling is not None:
            arrays |= {"columns.mean": self.scaling.mean, "columns.deviation": self.scaling.deviation}
        numbers = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
        return write_model(path, self._header(), numbers)

    def _header(self) -> Header:
        unnamed = isinstance(self.features, Numbered)
        return Header(
            format=FORMAT,
            fastgd=version("fastgd"),
            study=self.study,
            trial_id=self.trial_id,
            fingerprint=self.fingerprint,
            rows=self.rows,
            loss=self.loss,
            classes=list(self.classes),
            features=len(self.features) if unnamed else list(self.features),
            layers=[{"name": layer.name, "activation": layer.activation} for layer in self.layers],
            targets=list(self.targets),
            sparse=self.sparse,
            constant_columns=self.scaling.constant if self.scaling else 0,
            rounded_columns=self.scaling.rounded if self.scaling else 0,
            zero_based=self.zero_based,
            csv=dict(self.csv),
        )

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


def load_model(path: str | Path) -> TrainedModel:
    """Return the model that `TrainedModel.save` or `fastgd fit` wrote; nothing is unpickled, and Numba not imported.

    Parameters
    ----------
    path : path
        The .npz file.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or it holds no model that this fastgd reads.
    """
    header, arrays = read_model(path)
    features = tuple(header.features) if isinstance(header.features, list) else Numbered(header.features)
    layers, scaling, inputs = [], None, len(features)
    for each in header.layers:
        layers.append(_stored_layer(path, arrays, str(each.get("name")), each.get("activation"), inputs))
        inputs = layers[-1].weights.shape[1]
    if not layers:
        raise InputError(f"{path}: is damaged: the model has no layers")
    if "columns.mean" in arrays:
        mean, deviation = (
            array_of(path, arrays, f"columns.{name}", (len(features),)) for name in ("mean", "deviation")
        )
        scaling = Scaling(mean, deviation, header.constant_columns, header.rounded_columns)
    scale = [array_of(path, arrays, f"target.{name}", (), (inputs,)) for name in ("mean", "deviation")]
    return TrainedModel(
        trial_id=header.trial_id,
        loss=header.loss,
        features=features,
        classes=tuple(header.classes),
        layers=layers,
        scaling=scaling,
        sparse=header.sparse,
        targets=tuple(header.targets),
        target_scale=(_number(scale[0]), _number(scale[1])),
        **functions_of(header.loss, layers[0].activation),
        study=header.study,
        fingerprint=header.fingerprint,
        rows=header.rows,
        zero_based=header.zero_based,
        csv=header.csv,
    )


def functions_of(loss: str, activation: str | None) -> dict[str, Callable[[Any], Any] | None]:
    """Return the fields `activate` and `link` of a model with this loss and this activation of its hidden layers."""
    # by their names: imports point down, and results are read without losses and optimizers
    links = import_module("fastgd.problems.predictions").LINKS
    activations = import_module("fastgd.problems.activations").ACTIVATIONS
    return {"link": links.get(loss), "activate": activations.find(activation).value if activation else None}


def _stored_layer(path: str | Path, arrays: Mapping[str, Floats], name: str, activation: Any, inputs: int) -> Layer:
    """Return a layer of a file, of so many inputs."""
    weights = arrays.get(f"{name}.weights")
    outputs = weights.shape[-1] if weights is not None and weights.ndim else 0
    weights = array_of(path, arrays, f"{name}.weights", (inputs, outputs))
    biases = array_of(path, arrays, f"{name}.biases", (outputs,)) if f"{name}.biases" in arrays else None
    return Layer(name, weights, biases, activation)


def _number(array: Floats) -> Any:
    return float(array) if array.ndim == 0 else array
