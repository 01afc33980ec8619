"""The picture of schedules: their values over the training, or the rates that trials recorded under feedback."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from fastgd.analysis import Results
from fastgd.common.escape import for_picture
from fastgd.common.numbers import number
from fastgd.plots.layout import Layout
from fastgd.plots.limits import FAR, Array, drawable, limits
from fastgd.plots.pages import TALLEST, drawn_from, note, page_of
from fastgd.plots.readings import label, methods
from fastgd.plots.style import dress, head, key, key_band, key_line, looks, multiples, style
from fastgd.schedules import SCHEDULES, chained, describe, numbers, parts_of, starts

Block = Mapping[str, Any]

# Up to this many schedules of one hyper-parameter share axes.
_MOST_IN_AXES = 4
# Schedules in a picture; their panels are low, so that many fit.
_PANELS = 30
# Points of a line; more could not be told apart.
_POINTS = 2000
# Trials whose recorded rates are read for a schedule with feedback.
_TRIALS = 1000


@dataclass(frozen=True)
class Line:
    """A schedule as it is drawn.

    Attributes
    ----------
    of : str
        The hyper-parameter that it drives.
    name, settings : str
        Its name, and its keys that are not the defaults.
    x, value : ndarray (points,)
        Its values.
    low, high : ndarray (points,)
        The range over the trials; the value itself, where it is known in advance.
    held : str
        "post": a value lasts until the next point; "pre": it lasted since the last one; "": lines join the points.
    """

    of: str
    name: str
    settings: str
    x: Array
    value: Array
    low: Array
    high: Array
    held: str


@dataclass(frozen=True)
class _Budget:
    """The horizontal axis of all lines: the epochs and the steps of each; with `steps`, it counts steps."""

    epochs: float
    batches: int
    steps: bool = False

    @property
    def scale(self) -> float:
        """The length of a step on the axis."""
        return 1.0 if self.steps else 1.0 / self.batches


def schedule(results: Results, page: int = 1) -> Figure:
    """Plot the schedules of a study over the training.

    A schedule of the learning rate is drawn as a factor of the optimizer's rate, one of another hyper-parameter as its
    value. Those with feedback differ from trial to trial: the line is the median of the recorded rates, the band their
    range. Up to four schedules share axes, more have panels of their own. Where batch sizes differ, schedules by the
    step are drawn for the smallest, which a line above the picture says.

    Parameters
    ----------
    results : Results
        The study's results.
    page : int
        Of many schedules, which to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        No trial of the study is there yet.
    """
    methods(results)  # refuses a folder without trials
    trials, study = results.trials[results.trials["in_study"]], results.study
    with drawn_from(results.path / "study.toml"):
        budget = _Budget(float(study["steps"]), 1, steps=True) if results.on_landscapes else _budget(trials, study)
        drivers = _drivers(study_blocks(study))
        lines, words = _page([_recorded(results, whole, block, budget) for whole, block in drivers], page)
        figure = _draw(lines, budget)
    note(figure, words, "" if results.on_landscapes else _batch_note(trials, [block for _, block in drivers]))
    return figure


def _page(lines: Sequence[Line], page: int) -> tuple[list[Line], str]:
    return page_of(lines, page, "schedules", [TALLEST / _PANELS] * len(lines))


def _batch_note(trials: pd.DataFrame, blocks: Sequence[Block]) -> str:
    """Return a note on the batch size for which schedules by the step are drawn, if there are several."""
    by_step = any(block.get("per", SCHEDULES.find(block["name"]).per) == "step" for block in blocks)
    sizes = trials["batch_size"].unique()
    words = f"drawn for batch size {number(min(sizes))}, the smallest of {len(sizes)}"
    return words if by_step and len(sizes) > 1 else ""


def _budget(trials: pd.DataFrame, study: Mapping[str, Any]) -> _Budget:
    row = trials.sort_values("batch_size").iloc[0]
    batches = -(-int(row["n"]) // int(row["batch_size"]))
    epochs = study.get("epochs") or (study["steps"] / batches if "steps" in study else float(trials["epochs"].max()))
    return _Budget(epochs, batches, "steps" in study)


def sketch(
    blocks: Sequence[Block],
    epochs: float,
    batches: int = 1,
    losses: Array | None = None,
    x: str = "epochs",
    page: int = 1,
) -> Figure:
    """Plot schedules without results.

    Parameters
    ----------
    blocks : sequence of mapping
        Schedules as a study file has them.
    epochs : float
        The budget.
    batches : int
        Steps of an epoch.
    losses : ndarray (epochs + 1,), optional
        A validation loss at the start and at each epoch's end, on which schedules with feedback are judged.
    x : str
        What the horizontal axis is called.
    page : int
        Of many schedules, which to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.
    """
    budget = _Budget(epochs, batches)
    lines, words = _page([_known(block, budget, losses) for _, block in _drivers(blocks)], page)
    figure = _draw(lines, budget, x)
    note(figure, words)
    return figure


def study_blocks(study: Mapping[str, Any]) -> list[Block]:
    """Return the schedules of a normalised study, each once, in its order."""
    own = [block.get("schedule") for block in study.get("optimizer", [{}])]
    common = study.get("schedule", [{"name": "constant"}]) if None in own else []
    blocks = [*common, *(block for block in own if block is not None)]
    return [block for place, block in enumerate(blocks) if block not in blocks[:place]]


def _drivers(blocks: Sequence[Block]) -> list[tuple[Block, Block]]:
    """Return pairs of a block and a schedule: the block itself, and those in it that drive other hyper-parameters."""
    pairs: list[tuple[Block, Block]] = []
    for block in blocks:
        driver: Block | None = block
        while driver is not None:
            own = {key: value for key, value in driver.items() if key != "also"}
            known_elsewhere = own in [other for _, other in pairs] and not _has_feedback(own)
            pairs += [] if known_elsewhere else [(block, own)]
            driver = driver.get("also")
    return pairs


def _has_feedback(block: Block) -> bool:
    return any(part.record.feedback for part in parts_of(block))


# --- values -----------------------------------------------------------------------------------------------------------


def _known(block: Block, budget: _Budget, losses: Array | None = None) -> Line:
    """Return the line of a schedule whose values are known in advance, or follow from given validation losses."""
    record, parts = SCHEDULES.find(block["name"]), parts_of(block)
    total = max(1, round(budget.epochs * budget.batches))
    unit = 1 if block.get("per", record.per) == "step" else budget.batches
    count = -(-total // unit)
    index = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64))
    value = chained(parts, block.get("horizon", "last"), index, count)
    judged = [place for place, part in enumerate(parts) if part.record.feedback]
    for place in judged:
        if losses is not None:
            active = np.searchsorted(starts(parts), index, side="right") - 1 == place
            epochs = np.minimum(index * unit // budget.batches, len(losses) - 1)
            first = starts(parts)[place] * unit / budget.batches
            value = np.where(active, _judged(parts[place], first, losses)[epochs], value)
    x, held = index * unit * budget.scale, "post" if len(index) == count <= _POINTS else ""
    if held:  # to the end of the last index
        x, value = np.append(x, total * budget.scale), np.append(value, value[-1])
    settings = [_settings(block), "before it is judged" if judged and losses is None else ""]
    text = ", ".join(words for words in settings if words)
    return Line(block.get("of", record.of), _name(block), text, x.astype(np.float64), value, value, value, held)


def _judged(part: Any, first: float, losses: Array) -> Array:
    """Return the value of a schedule with feedback in each epoch, from the losses at the start and the epoch ends."""
    rule = part.record.cls(**part.params)
    state, values = rule.begin(1), [rule.start]
    for epoch in range(1, len(losses)):
        if epoch > first:
            state = rule.judge(state, losses[epoch - 1 : epoch], losses[epoch : epoch + 1])
        values.append(float(state.value[0]))
    return np.array(values)


def _recorded(results: Results, whole: Block, block: Block, budget: _Budget) -> Line:
    """Return the line of a study's schedule; with feedback, it shows the rates that trials recorded."""
    line = _known(block, budget)
    if line.of != "lr" or not _has_feedback(block):
        return line
    trials = results.trials[results.trials["in_study"] & (results.trials["schedule"] == describe(whole))]
    for path, value in numbers(whole).items():
        trials = trials[trials[f"schedule.{path}"] == value]
    rates = trials.drop_duplicates("trial_id").head(_TRIALS).set_index("trial_id")["lr"]
    chosen = pc.field("trial_id").isin(rates.index.tolist())
    curves = results.table("curves", columns=["trial_id", "step", "lr"], filter=chosen).to_pandas()
    factors = (curves["lr"] / curves["trial_id"].astype(str).map(rates)).groupby(curves["step"])
    x = np.array(list(factors.groups), dtype=np.float64) * budget.scale
    median, low, high = (own.to_numpy(dtype=np.float64) for own in (factors.median(), factors.min(), factors.max()))
    # a checkpoint has recorded the rate of the step before it
    return Line(line.of, line.name, _settings(block), x, median, low, high, "pre")


# --- words ------------------------------------------------------------------------------------------------------------


def _name(block: Block) -> str:
    return str(block["name"]) + (f" > {_name(block['then'])}" if "then" in block else "")


def _settings(block: Block) -> str:
    """Return the keys of a chain that are not the defaults, in words."""
    record = SCHEDULES.find(block["name"])
    usual = {**record.params, "length": None, "per": record.per, "horizon": "last"}
    words = [f"{key} {_word(block[key])}" for key in usual if key in block and block[key] != usual[key]]
    then = _settings(block["then"]) if "then" in block else ""
    return ", ".join(words) + (f"{'; ' if words else ''}then {then}" if then else "")


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool | str) else number(value, 6)


def _axis(of: str) -> str:
    return "factor of the learning rate" if of == "lr" else label(of)


# --- pictures ---------------------------------------------------------------------------------------------------------


def _draw(lines: Sequence[Line], budget: _Budget, x: str | None = None) -> Figure:
    rates_first = sorted(lines, key=lambda line: line.of != "lr")
    groups = {of: list(own) for of, own in groupby(rates_first, lambda line: line.of)}
    share_axes = all(len(own) <= _MOST_IN_AXES for own in groups.values())
    with style():
        figure = _shared(groups) if share_axes else _small_multiples(lines)
        x = x or label("step" if budget.steps else "epoch")
        for axes in figure.axes:
            axes.set_xlim(0, budget.epochs * budget.batches * budget.scale)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
            if axes.xaxis.get_tick_params()["labelbottom"]:
                axes.set_xlabel(x)
    return figure


def _shared(groups: Mapping[str, Sequence[Line]]) -> Figure:
    """Draw the schedules of a hyper-parameter in common axes."""
    figure = Figure(figsize=(7.2, 0.4 + 2.6 * len(groups)), layout=Layout())
    rows = figure.subplots(len(groups), 1, sharex=True, squeeze=False).ravel()
    for axes, (of, lines) in zip(rows, groups.items(), strict=True):
        dress(axes)
        axes.tick_params(labelbottom=axes is rows[-1])
        for line, look in zip(lines, looks([str(place) for place in range(len(lines))]).values(), strict=True):
            words = map(for_picture, [line.name, *textwrap.wrap(line.settings, 28)])
            _line(axes, line, look.color, label="\n".join(words))
        _scale(axes, lines)
        axes.set_ylabel(_axis(of))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelspacing=0.9)
    _ranges(figure, [line for lines in groups.values() for line in lines])
    return figure


def _small_multiples(lines: Sequence[Line]) -> Figure:
    """Draw each schedule in axes of its own."""
    figure, grid, width = multiples(len(lines), (2.5, 2.0), 1.75, (0.5, 0.5), share_y=False)
    order = list(dict.fromkeys(line.of for line in lines))
    chosen = looks(order)
    for axes, line in zip(grid, lines, strict=True):
        dress(axes)
        _line(axes, line, chosen[line.of].color)
        if line.low is line.value:
            _fill(axes, line, 0.0, line.value, color=chosen[line.of].color, alpha=0.08)
        _scale(axes, [line])
        what = [label(line.of)] if line.of != "lr" else []
        subtitle = ": ".join([*what, line.settings] if line.settings else what)
        head(axes, line.name, subtitle, "", chosen[line.of].color, width - 0.35)
    figure.supylabel(_axis("lr") if "lr" in order else _axis(order[0]), fontsize=9)
    _ranges(figure, lines)
    return figure


def _line(axes: Axes, line: Line, color: str, **options: Any) -> None:
    draw: Any = f"steps-{line.held}" if line.held else "default"
    axes.plot(line.x, drawable(line.value), color=color, linewidth=1.8, drawstyle=draw, zorder=3, **options)
    if line.low is not line.value:
        _fill(axes, line, line.low, line.high, color=color, alpha=0.15)


def _fill(axes: Axes, line: Line, low: Any, high: Array, **options: Any) -> None:
    step: Any = line.held or None
    axes.fill_between(line.x, drawable(low), drawable(high), linewidth=0, zorder=2, step=step, **options)


def _scale(axes: Axes, lines: Sequence[Line]) -> None:
    """Set limits from 0 on; the axis is logarithmic where most of a line would be close to 0."""
    seen = np.concatenate([values for line in lines for values in (line.low, line.high)])
    seen = seen[np.abs(seen) < FAR] if (np.abs(seen) < FAR).any() else np.zeros(1)
    if seen.min() > 0 and any(np.median(line.value) < 0.05 * line.value.max() for line in lines):
        limits(axes, seen, [seen.min(), seen.max()])  # the ends of a schedule are always shown
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.06 * float(seen.max()) or 1.0)


def _ranges(figure: Figure, lines: Sequence[Line]) -> None:
    """Put a key of the bands below the picture, if it has any."""
    if any(line.low is not line.value for line in lines):
        key(figure, [key_line(linewidth=1.8, label="median of the trials"), key_band("their range")])
