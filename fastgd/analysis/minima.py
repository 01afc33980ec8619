"""The least value that is known of each objective of a study: where gaps are measured from."""

import pandas as pd
import pyarrow.compute as pc

from fastgd.analysis.stored_study import StoredStudy

BEST_SEEN = "best seen"


def minima(study: StoredStudy) -> pd.DataFrame:
    """Return the least known value of each objective: see `Results.minima`."""
    by = objective_of(study)
    trials = study.table("trials", columns=[*by, "best_loss"], filter=pc.field("in_study")).to_pandas()
    texts = dict.fromkeys(trials.select_dtypes("category"), str)
    least = trials.astype(texts).groupby(by, sort=False, dropna=False)["best_loss"].min()
    table: pd.DataFrame = least.rename("minimum").reset_index()
    return table.assign(error=float("nan"), source=BEST_SEEN)


def objective_of(study: StoredStudy) -> list[str]:
    """Return the columns of trials that say which objective a trial minimises."""
    return ["problem"] if study.on_landscapes else ["problem", "l2"]
