"""The datasets that come with scikit-learn, and California housing, which it downloads once."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from fastgd.common.errors import InputError
from fastgd.datasets.arrays import build
from fastgd.datasets.record import DATASETS, Dataset, DatasetRecord


def _dataset(name: str, bunch: Any) -> Dataset:
    return build(name, bunch.data, bunch.target, tuple(str(feature) for feature in bunch.feature_names))


def _bundled(name: str) -> Dataset:
    from sklearn import datasets

    return _dataset(name, getattr(datasets, f"load_{name}")())


def _california_housing() -> Dataset:
    from sklearn.datasets import fetch_california_housing

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about retries: the error below says it all
        try:
            bunch = fetch_california_housing(n_retries=1)
        except OSError as error:
            raise InputError(
                f"california_housing could not be downloaded ({error}); scikit-learn keeps it in its data folder "
                "(SCIKIT_LEARN_DATA, else ~/scikit_learn_data) once a machine with a network has loaded it"
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
