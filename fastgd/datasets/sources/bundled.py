"""The datasets that come with scikit-learn, and California housing, which it downloads once.

Four of them are read from scikit-learn's files without importing it, which takes longer than a small study does. Where
they are not what they were, scikit-learn itself reads them.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgd.common.errors import InputError
from fastgd.datasets.arrays import build
from fastgd.datasets.record import DATASETS, Dataset, DatasetRecord

MEASURES = (
    *("radius", "texture", "perimeter", "area", "smoothness"),
    *("compactness", "concavity", "concave points", "symmetry", "fractal dimension"),
)
CONTENTS = (
    *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"),
    *("nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline"),
)


class _File(NamedTuple):
    """A table of scikit-learn's: its last column is the target, and a first line may tell its size."""

    name: str
    header: int
    features: tuple[str, ...]


FILES = {
    "breast_cancer": _File(
        "breast_cancer.csv",
        1,
        (
            *(f"mean {measure}" for measure in MEASURES),
            *(f"{measure} error" for measure in MEASURES),
            *(f"worst {measure}" for measure in MEASURES),
        ),
    ),
    "digits": _File("digits.csv.gz", 0, tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))),
    "iris": _File(
        "iris.csv", 1, tuple(f"{leaf} {size} (cm)" for leaf in ("sepal", "petal") for size in ("length", "width"))
    ),
    "wine": _File("wine_data.csv", 1, CONTENTS),
}


def _dataset(name: str, bunch: Any) -> Dataset:
    return build(name, bunch.data, bunch.target, tuple(str(feature) for feature in bunch.feature_names))


def _bundled(name: str) -> Dataset:
    with suppress(OSError, ValueError):
        if (table := _table(name)) is not None:
            X, y = np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(int)
            return build(name, X, y, FILES[name].features)
    from sklearn import datasets

    return _dataset(name, getattr(datasets, f"load_{name}")())


def _table(name: str) -> Any:
    """Return features and target (n, d + 1) as scikit-learn's file has them; None: it has another form, or none."""
    package = find_spec("sklearn")
    if name not in FILES or not (package and package.origin):
        return None
    file, record = FILES[name], DATASETS[name]
    path = Path(package.origin).parent / "datasets" / "data" / file.name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is empty
        table = np.loadtxt(path, delimiter=",", skiprows=file.header)
    return table if table.shape == (record.rows, len(file.features) + 1) else None


def _california_housing() -> Dataset:
    from sklearn.datasets import fetch_california_housing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about retries: the error below says it all
        try:
            bunch = fetch_california_housing(n_retries=1)
        except OSError as error:
            raise InputError(
                f"california_housing could not be downloaded ({error}); on a machine with a network, "
                "sklearn.datasets.fetch_california_housing() makes the file cal_housing_py3.pkz in scikit-learn's data "
                "folder (SCIKIT_LEARN_DATA, else ~/scikit_learn_data): copy it into the same folder here"
            ) from error
    return _dataset("california_housing", bunch)


def _add(
    name: str, task: str, rows: int, columns: int, summary: str, load: Callable[[], Dataset] | None = None
) -> None:
    source = "scikit-learn, bundled" if load is None else "scikit-learn, downloaded once"
    load = load or partial(_bundled, name)
    DATASETS.add(DatasetRecord(name, summary, task, rows, columns, source, "target", load))


_add("breast_cancer", "classification", 569, 30, "is a tumour benign (1) or malignant (0), of measures of its cells?")
_add("digits", "classification", 1797, 64, "which digit, 0 to 9, do 8 x 8 pixels show? (positive: one digit)")
_add("iris", "classification", 150, 4, "which of three species, 0 to 2, has this flower? (positive: one species)")
_add("wine", "classification", 178, 13, "which of three growers, 0 to 2, made this wine? (positive: one grower)")
_add("diabetes", "regression", 442, 10, "how far does diabetes proceed in a year, of ten measures of the patient?")
_add(
    "california_housing",
    "regression",
    20_640,
    8,
    "what is the median house of a district worth, in 100,000 dollars of 1990?",
    _california_housing,
)
