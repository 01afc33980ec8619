"""Which configurations of a study on landscapes a picture shows, and on which surfaces."""

from collections.abc import Container, Sequence

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from fastgd.analysis import Results, with_methods
from fastgd.common.errors import InputError, nearest
from fastgd.plots.limits import FAR
from fastgd.plots.readings import methods, settings, varied
from fastgd.store.surface_files import Surface


def check_landscapes(results: Results, kind: str) -> list[str]:
    """Return the study's optimizers with their variants, in its order, if it is one on landscapes.

    Raises
    ------
    InputError
        It is one over data, or no trial of it is there yet.
    """
    found = methods(results)
    if not results.on_landscapes:
        raise InputError(
            f"a picture of kind {kind!r} shows trials on a landscape, and {results.path} holds a study over data; "
            'a study with problem = { landscape = "..." } has them'
        )
    return found


def surfaces_of(results: Results, kind: str) -> dict[str, Surface]:
    """Return the surfaces of two coordinates, by their problems.

    Raises
    ------
    InputError
        There is none.
    """
    found = {surface.info.problem: surface for surface in results.surfaces if len(surface.y) > 1}
    if not found and results.surfaces:
        raise InputError(f"a picture of kind {kind!r} needs two coordinates: the landscapes of {results.path} have one")
    if not found and not results.on_landscapes:
        raise InputError(
            f"a picture of kind {kind!r} shows the objective over two parameters, which {results.path} does not hold: "
            "add a table [surface] to the study, with low and high, and run it again; or `fastgd surface` computes one "
            "about the end of a trial"
        )
    if not found:
        raise InputError(f"{results.path} holds no surface to draw on: run its study again, which computes it")
    for name, surface in found.items():
        if fault := undrawable(surface):
            raise InputError(
                f"a picture of kind {kind!r} has no place for the surface of {name!r} in {results.path}: {fault}"
            )
    return found


def undrawable(surface: Surface) -> str:
    """Return why axes cannot show a surface; an empty text if they can."""
    for axis, name in ((surface.x, "first"), (surface.y, "second")):
        low, high = float(axis[0]), float(axis[-1])
        if max(-low, high) > FAR or high - low < 1 / FAR:
            return f"its {name} axis goes from {low:g} to {high:g}, and axes have a width from {1 / FAR:g} to {FAR:g}"
    if not (np.abs(surface.loss) < FAR).any():
        return f"none of its values is a number below {FAR:g}"
    return ""


def ranked(results: Results) -> pd.DataFrame:
    """Rank the configurations of a study on landscapes as `Results.best` does: by their median over the starts.

    Returns
    -------
    pandas.DataFrame
        A row a configuration, the best first within each problem: the columns of `Results.identity`, `method`, `value`
        (the median of the final loss, infinite where trials diverged) and `trial_ids` (a list: one a seed).
    """
    table = with_methods(results.best()).rename(columns={"final_loss": "value"})
    return table.assign(trial_ids=table["trial_id"].map(results.seeds_of)).drop(columns="trial_id")


def chosen_of(
    results: Results, order: Sequence[str], trials: Sequence[str] | str | None, among: Container[str] | None = None
) -> pd.DataFrame:
    """Return the configurations to draw: the best of each optimizer on each problem, or those that are named.

    Parameters
    ----------
    results : Results
    order : sequence of str
        The study's methods, in whose order rows are returned.
    trials : sequence of str or "all", optional
        Ids of configurations, or all of them; None: the best of each optimizer.
    among : container of str, optional
        The ids of the configurations that the picture can show, if it cannot show all.

    Returns
    -------
    pandas.DataFrame
        Rows of `ranked`, with `trial_id`, and `settings`: the rate, and the values in which configurations differ.

    Raises
    ------
    InputError
        There is no such configuration.
    """
    ranking = ranked(results)
    table = ranking.explode("trial_ids").rename(columns={"trial_ids": "trial_id"})
    chosen = table if among is None else table[[name in among for name in table["trial_id"]]]
    if trials is None:
        chosen = chosen.drop_duplicates(["problem", "method"])
    elif trials != "all":
        wanted = [trials] if isinstance(trials, str) else list(trials)
        known = chosen["trial_id"].tolist()
        if missing := [name for name in wanted if name not in known]:
            raise InputError(
                f"there is no trial {missing[0]!r} to draw in {results.path}; {nearest(missing[0], known)}"
            )
        chosen = chosen.set_index("trial_id", drop=False).loc[wanted]
    named = _columns_to_name(results, ranking)
    words = [settings(row, named[row["method"]]) for _, row in chosen.iterrows()]
    if chosen.duplicated(results.identity).any():  # seeds of one configuration
        seed = _seeds(results)
        words = [f"{text}, seed {seed[name]}" for text, name in zip(words, chosen["trial_id"], strict=True)]
    chosen = chosen.assign(settings=words).rename_axis(index=None)
    return chosen.sort_values("method", key=lambda names: names.map(list(order).index), kind="stable")


def _seeds(results: Results) -> dict[str, int]:
    table = results.table("trials", columns=["trial_id", "seed"], filter=pc.field("in_study")).to_pandas()
    table = table.drop_duplicates("trial_id")
    return dict(zip(table["trial_id"].astype(str), table["seed"].astype(int), strict=True))


def _columns_to_name(results: Results, ranking: pd.DataFrame) -> dict[str, list[str]]:
    """Return for each method its rate, if it has one, and the columns in which its configurations differ."""
    columns: dict[str, list[str]] = {}
    for method, own in ranking.groupby("method", sort=False):
        several = [name for name in varied(results, own) if name not in ("problem", "landscape", "d", "noise", "lr")]
        columns[str(method)] = ["lr", *several] if "lr" in own else several
    return columns
