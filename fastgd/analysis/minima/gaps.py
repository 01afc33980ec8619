"""Curves with their gaps: how far each checkpoint's loss is above the certified minimum of its objective."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis.minima.certified import dictionary_of, is_sampled
from fastgd.analysis.minima.least_known import CERTIFIED, minima
from fastgd.analysis.stored_study import StoredStudy


def with_gaps(study: StoredStudy) -> pd.DataFrame:
    """Return the curves, with a column `gap` where certified minima are stored: see `Results.curves`."""
    curves = study.table("curves")
    frame: pd.DataFrame = curves.to_pandas()
    if not study.on_landscapes and any(info.bound is not None for info in study.stored_optima):
        frame["gap"] = _gaps(study, curves)
    return frame


def _gaps(study: StoredStudy, curves: pa.Table) -> NDArray[np.float64]:
    names, codes = dictionary_of(curves["trial_id"])
    by = study.objective
    trials = study.table("trials", columns=["trial_id", *by, "steps"], filter=pc.field("in_study"))
    table = minima(study)
    table = table[table["source"] == CERTIFIED]
    own = trials.to_pandas().merge(table, on=by, how="left").set_index("trial_id").reindex(names)
    gaps = curves["loss"].to_numpy() - own["minimum"].to_numpy(dtype=np.float64)[codes]
    if is_sampled(study):
        steps = curves["step"].to_numpy()
        ends = own["steps"].to_numpy(dtype=np.float64)[codes]
        gaps = np.where((steps == 0) | (steps == ends), gaps, np.nan)
    return np.asarray(gaps)
