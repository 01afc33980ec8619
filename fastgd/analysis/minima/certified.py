"""The stored minima of convex objectives beside what a study's trials saw, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis.stored_study import StoredStudy
from fastgd.common.errors import InputError, nearest
from fastgd.store.optima import OptimumInfo, read_optimum_parameters

CONSTANTS = ("smoothness", "strong_convexity")
COLUMNS = (
    *("problem", "l2", "loss", "minimum", "error", "certificate", "best_seen", "contradicted"),
    *("method", "steps", "seconds", "smoothness", "smoothness_error", "strong_convexity", "condition"),
    *("local_smoothness", "local_strong_convexity", "local_condition", "row_norm", "noise", "constants"),
)
EPSILONS = {dtype: float(np.finfo(dtype).eps) for dtype in ("float64", "float32")}


def optima(study: StoredStudy) -> pd.DataFrame:
    """Return what is stored of minima: see `Results.optima`."""
    if study.on_landscapes or not study.stored_optima:
        return pd.DataFrame(columns=list(COLUMNS))
    by = study.objective
    seen = least_seen(study).set_index(by)["minimum"]
    dtype = str(study.study.get("dtype", "float64"))
    order = {objective: place for place, objective in enumerate(seen.index)}
    stored = sorted(study.stored_optima, key=lambda info: order.get(key_of(info, by), len(order)))
    rows = [_row(info, float(seen.get(key_of(info, by), np.nan)), dtype) for info in stored]
    return pd.DataFrame(rows, columns=[*by, *(name for name in COLUMNS if name not in by)])


def key_of(info: OptimumInfo, by: Sequence[str]) -> tuple[Any, ...]:
    """Return an objective's values of columns."""
    return tuple(getattr(info, name) for name in by)


def _row(info: OptimumInfo, best_seen: float, dtype: str) -> dict[str, Any]:
    own = {name: np.nan if value is None else value for name, value in asdict(info).items()}
    lowest = info.minimum - np.nan_to_num(own["bound"], nan=np.inf) - rounding_of_trials(info, dtype)
    return {
        **own,
        "error": np.nan if info.error is None else info.error,
        "best_seen": best_seen,
        "contradicted": bool(best_seen < lowest),
        "condition": _ratio(own, ""),
        "local_condition": _ratio(own, "local_"),
        "constants": info.how,
    }


def _ratio(own: Mapping[str, Any], prefix: str) -> float:
    largest, least = (own[prefix + name] for name in CONSTANTS)
    return float(largest / least) if least and least > 0 else np.nan


def rounding_of_trials(info: OptimumInfo, dtype: str) -> float:
    """Return how far the loss of a trial near the minimum may be from the objective: it is computed in `dtype`."""
    return 2 * info.rounding * max(1.0, EPSILONS.get(dtype, EPSILONS["float32"]) / EPSILONS["float64"])


def least_seen(study: StoredStudy) -> pd.DataFrame:
    """Return the least exact loss of each objective in the study: its columns (`StoredStudy.objective`), and `minimum`.

    Where checkpoints take the loss of a subsample (`record.rows`), only the ends of trials are exact.
    """
    by = study.objective
    value = "final_loss" if is_sampled(study) else "best_loss"
    trials = study.table("trials", columns=[*by, value], filter=pc.field("in_study")).to_pandas()
    texts = dict.fromkeys(trials.select_dtypes("category"), str)
    least = trials.astype(texts).groupby(by, sort=False, dropna=False)[value].min()
    table: pd.DataFrame = least.rename("minimum").reset_index()
    return table


def is_sampled(study: StoredStudy) -> bool:
    """Whether the losses between a trial's first and last checkpoint are those of a part of the rows."""
    record = study.study.get("record")
    rows = record.get("rows") if isinstance(record, dict) else None
    if not isinstance(rows, int) or study.on_landscapes:
        return False
    most = pc.max(study.table("trials", columns=["n"], filter=pc.field("in_study"))["n"]).as_py()
    return most is not None and rows < most


def optimal_parameters(
    study: StoredStudy, problem: str | None, l2: float | None, split_seed: int | None
) -> NDArray[np.float64]:
    """Return where a stored minimum is: see `Results.optimal_parameters`."""
    stored = [(info.problem, info.l2, info.split_seed) for info in study.stored_optima]
    if not stored:
        raise InputError(f"{study.path} holds no minima: `fastgd optimum {study.path}` finds those of convex problems")
    names = list(dict.fromkeys(name for name, *_ in stored))
    if problem is not None and problem not in names:
        raise InputError(f"no minimum of a problem {problem!r} is stored; {nearest(problem, names)}")
    asked = (problem, l2, split_seed)
    found = [own for own in stored if all(value in (None, of) for value, of in zip(asked, own, strict=True))]
    if len(found) != 1:
        split = ", split_seed = {}" if study.several_splits else ""
        few = (found or stored)[:8]
        listed = ", ".join(f"{name} with l2 = {value:g}{split.format(seed)}" for name, value, seed in few)
        raise InputError(f"{'several minima are' if found else 'no such minimum is'} stored; there are {listed}")
    parameters = read_optimum_parameters(study.path, *found[0])
    assert parameters is not None
    return parameters


def dictionary_of(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """Return the distinct texts of a column, and the number of each row's text."""
    whole = column.combine_chunks()
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    return whole.dictionary.to_pylist(), whole.indices.to_numpy(zero_copy_only=False).astype(np.int64)
