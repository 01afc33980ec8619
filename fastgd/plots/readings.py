"""What pictures read of results: methods and rankings, and the words for them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis import Results, value_of, with_methods
from fastgd.common.errors import InputError
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number

LABELS = {
    "loss": "training loss",
    "validation_loss": "validation loss",
    "param_norm": "norm of the parameters",
    "grad_norm": "norm of the gradient",
    "accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
    "top_5": "training top-5 accuracy",
    "validation_top_5": "validation top-5 accuracy",
    **{f"layer_grad_norm.{layer}": f"norm of the gradient of layer {layer}" for layer in (1, 2, 3, 4)},
    **{f"layer_update_ratio.{layer}": f"update / weights of layer {layer}" for layer in (1, 2, 3, 4)},
    **{f"dead_units.{layer}": f"share of dead units in layer {layer}" for layer in (1, 2, 3)},
    "r2": "training R²",
    "validation_r2": "validation R²",
    "lr": "learning rate",
    "effective_lr": "effective rate",
    "l2": "L2 penalty",
    "batch_size": "batch size",
    "epoch": "epochs",
    "step": "steps",
    "samples_seen": "samples seen",
    "train_seconds": "training time of the cohort (s)",
}
# Units of times in answers, as axes show them.
UNITS = {
    "epochs": "epochs",
    "steps": "steps",
    "samples": "samples seen",
    "amortised_seconds": "amortised training seconds",
}
_SHORT = {"lr": "lr", "l2": "l2"}


def label(name: str) -> str:
    """Return a column's name as an axis shows it."""
    return LABELS.get(name) or for_picture(name.removeprefix("schedule."))


def time_words(unit: str, goal: str) -> str:
    """Return a time to a goal as an axis shows it, of an answer's `attrs`: "epochs to a gap of 0.001"."""
    kind, _, value = goal.rpartition(" ")
    words = {"gap": f"a gap of {value}", "fraction": f"{value} of the way to the minimum"}.get(kind, goal)
    return f"{UNITS.get(unit, unit)} to {words}"


def varied(results: Results, trials: pd.DataFrame) -> list[str]:
    """Return the columns in which the configurations of trials differ."""
    return [name for name in results.identity if trials[name].nunique(dropna=False) > 1]


def settings(configuration: "pd.Series[Any]", names: Iterable[str]) -> str:
    """Return a configuration's variant, and its values of some columns in words: "saga, lr 0.0316, batch size 64"."""
    values = {name: configuration[name] for name in names if name != "variant" and not pd.isna(configuration[name])}
    words = {name: value if isinstance(value, str) else number(value) for name, value in values.items()}
    own = [f"{_SHORT.get(name, label(name))} {word}" for name, word in words.items()]
    return ", ".join(filter(None, (configuration["variant"], *own)))


def methods(results: Results) -> list[str]:
    """Return the study's optimizers with their variants, in its order, which decides their colours in every picture.

    Raises
    ------
    InputError
        No trial of the study is there yet.
    """
    # There may be millions of trials: only these columns are read.
    table = results.table("trials", columns=["optimizer", "variant"], filter=pc.field("in_study")).to_pandas()
    found = with_methods(table.drop_duplicates().astype(str)).drop_duplicates("method")
    if found.empty:
        raise InputError(f"{results.path} holds no trials of its study yet: there is nothing to draw")
    # Results are not in the order of the study: cohorts are committed as they end, and those of an extension are last.
    order = list(dict.fromkeys(str(block["name"]) for block in results.study.get("optimizer", [])))
    places = [order.index(name) if name in order else len(order) for name in found["optimizer"]]
    return [str(found["method"].iloc[place]) for place in np.argsort(places, kind="stable")]


def problems_of(results: Results) -> list[str]:
    """Return the problems of the trials in the study."""
    table = results.table("trials", columns=["problem"], filter=pc.field("in_study")).to_pandas()
    return [str(name) for name in table["problem"].unique()]


def ranking_of(results: Results, by: str | None, at: str) -> pd.DataFrame:
    """Return `Results.best` with a column `method`, its names as strings."""
    ranking = results.best(by, at)
    names = [name for name in ranking.columns if isinstance(ranking[name].dtype, pd.CategoricalDtype)]
    return with_methods(ranking.astype(dict.fromkeys(names, object)))


def valued_ranking(results: Results, by: str | None, at: str) -> tuple[pd.DataFrame, str]:
    """Return `ranking_of` with its value as `value`, `value_min` and `value_max`, and the metric that it ranks by."""
    ranking = ranking_of(results, by, at)
    value = value_of(ranking)
    names = {f"{value}{end}": f"value{end}" for end in ("", "_min", "_max")}
    return ranking.rename(columns=names), value.removeprefix(f"{at}_")


def median_of(counts: Iterable[int], what: str) -> str:
    """Return of how many trials lines are medians, as "median of 3 seeds"; empty where each line is one trial."""
    least, most = min(counts := list(counts)), max(counts)
    if most <= 1:
        return ""
    return f"median of {most:,} {what}" if least == most else f"median of {least:,} to {most:,} {what}"


def lost_words(results: Results, values: NDArray[np.float64]) -> str:
    """Return in words what became of configurations whose value is not finite."""
    statuses = set(results.table("trials", columns=["status"], filter=pc.field("in_study")).to_pandas()["status"])
    words = [name for name in ("diverged", "failed") if name in statuses] if np.isinf(values).any() else []
    words += ["without a loss"] if np.isnan(values).any() else []
    return " or ".join(words or ["without a finite loss"])


def measure(results: Results, metric: str) -> str:
    """Return a metric's name as an axis shows it; the loss of a landscape is no training loss."""
    return "loss" if results.on_landscapes and metric == "loss" else label(metric)
