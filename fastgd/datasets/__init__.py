"""Datasets: by name, from files, synthetic or in memory; and their preparation for the engine.

A name, a path, keys or arrays come in; rows of finite numbers and their targets go out, split and scaled as a study
says. No value is guessed, filled in or dropped without a note.
"""

from fastgd.datasets.arrays import from_arrays
from fastgd.datasets.data import Data
from fastgd.datasets.folds import FoldKeys, given_folds, make_folds, rare_classes
from fastgd.datasets.load import Source, load, misplaced_key
from fastgd.datasets.prepare import prepare, prepare_folds, training_rows
from fastgd.datasets.readers.csv_keys import Csv
from fastgd.datasets.readers.points import load_points
from fastgd.datasets.readers.reading import FORMATS
from fastgd.datasets.record import DATASETS, Dataset, DatasetRecord
from fastgd.datasets.sources import bundled, flights, flights_sparse  # noqa: F401 (they register their data)
from fastgd.datasets.sources.synthetic import Synthetic

__all__ = [
    "DATASETS",
    "FORMATS",
    "Csv",
    "Data",
    "Dataset",
    "DatasetRecord",
    "FoldKeys",
    "Source",
    "Synthetic",
    "from_arrays",
    "given_folds",
    "load",
    "load_points",
    "make_folds",
    "misplaced_key",
    "prepare",
    "prepare_folds",
    "rare_classes",
    "training_rows",
]
