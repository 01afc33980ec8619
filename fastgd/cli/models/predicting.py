"""`fastgd predict`: the predictions of a model for the rows of a file, as a table."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgd.analysis import TrainedModel, load_model
from fastgd.cli.choices import chosen
from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.common.numbers import count
from fastgd.common.parsing import from_toml
from fastgd.datasets import FORMATS, Csv
from fastgd.datasets.new_rows import RowKeys, load_rows
from fastgd.runs.reporting.display import errors
from fastgd.store.disk.files import replacing

if TYPE_CHECKING:
    import pandas as pd

MOST_NAMED = 5  # columns that are left out


def keys_of(form: str | None, csv: str | None, zero_based: bool | None) -> RowKeys:
    """Return what the command line says of a file."""
    format: Any = form and chosen(form, FORMATS, "--format")
    try:
        table = None if csv is None else from_toml(f"csv = {{ {csv.strip().strip('{}')} }}")["csv"]
    except ValueError as error:
        raise InputError(f"--csv {csv}: is no table as 'sep = \";\"' is: {error}") from None
    return RowKeys(zero_based, None if table is None else Csv.of(table).given(), format)


def predict(model: Path, data: Path, output: Path | None, keys: RowKeys, *, probabilities: bool) -> None:
    """Write the predictions of a model for the rows of a file."""
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise InputError(f"{output}: predictions are written to a .csv or .parquet file")
    known = load_model(model)
    zero_based = known.zero_based if keys.zero_based is None else keys.zero_based
    csv = known.csv if keys.csv is None else keys.csv
    rows, others = load_rows(data, known.features, keys._replace(zero_based=zero_based, csv=csv))
    if others:
        more = ", ..." if len(others) > MOST_NAMED else ""
        named = ", ".join(map(repr, others[:MOST_NAMED])) + more
        errors().print(f"note: {expanded(data)}: {count(len(others), 'column')} left out: {named}", soft_wrap=True)
    _write(table_of(known, rows, probabilities=probabilities), output)


def table_of(model: TrainedModel, rows: Any, *, probabilities: bool = False) -> "pd.DataFrame":
    """Return a row for each row, with its number, its prediction, and the probabilities of classes."""
    import pandas as pd

    found = model.predict(rows)
    columns: dict[str, Any] = {"row": np.arange(1, len(found) + 1)}
    if model.targets:
        columns |= dict(zip(model.targets, found.T, strict=True))
    else:
        columns["prediction"] = _labels(found) if model.classes else found
    if probabilities:
        names = _labels(np.array(model.classes)).tolist()
        columns |= {f"probability_{name}": p for name, p in zip(names, model.predict_proba(rows).T, strict=True)}
    return pd.DataFrame(columns)


def _labels(labels: Any) -> Any:
    """Return labels that are whole numbers without a fraction, as files of data have them."""
    whole = labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
    return labels.astype(np.int64) if whole else labels


def _write(table: "pd.DataFrame", output: Path | None) -> None:
    if output is None:
        sys.stdout.write(table.to_csv(index=False))
        return
    buffer = io.BytesIO()
    if output.suffix == ".csv":
        buffer.write(table.to_csv(index=False).encode())
    else:
        table.to_parquet(buffer, index=False)
    with replacing(output) as file:
        file.write(buffer.getvalue())
