"""`fastgd plot`: draws results, searches of rates and schedules into files, and prints their names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgd import plots
from fastgd.analysis import Results, load
from fastgd.cli.output.consoles import show
from fastgd.common.errors import InputError
from fastgd.common.folders import expanded
from fastgd.search.found_rates import FoundRates
from fastgd.study.raw.overrides import override

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANGE = "range-test"  # the folder of a range test within that of its search


def plot(folder: Path, kind: str, output: Path | None, assignments: Sequence[str]) -> None:
    """Draw what a folder holds, or the schedules of a study file, into a file and print its name."""
    options: dict[str, Any] = {}
    override(options, assignments)
    folder, output = expanded(folder), output and expanded(output)
    if kind == "tune":
        if unknown := [name for name in options if name != "page"]:
            raise InputError(f"a picture of kind {kind!r} has no option {unknown[0]!r}; valid: page")
        picture = output or folder / "tune.png"
        show(f"tune: {picture}", *saved(plots.tune(FoundRates.load(folder), **options), picture))
    elif kind == "schedule" and folder.suffix == ".toml":
        if options:
            raise InputError(f"--set {', '.join(options)}: the schedules of a study that has not run have no options")
        _sketch(folder, output or folder.with_suffix(".png"))
    else:
        if kind == "range" and (folder / RANGE).is_dir():
            folder = folder / RANGE
        draw(load(folder), kind, output or folder / f"{kind}{plots.PLOTS.find(kind).suffix}", options)


def draw(results: Results, kind: str, output: Path, options: Mapping[str, Any] | None = None) -> None:
    """Draw results into a file and print its name."""
    try:
        figure = plots.plot(results, kind, **(options or {}))
    except TypeError as error:
        if not options:
            raise
        raise InputError(f"--set {', '.join(options)}: {error}") from error
    show(f"{kind}: {output}", *saved(figure, output))


def saved(figure: "Figure", output: Path) -> list[str]:
    """Write a picture, and return its notes on what it leaves out, with the option of the command that shows it."""
    plots.save(figure, output)
    notes = plots.notes_of(figure)
    return [f"{words} (--set page=N)" if words.startswith("page ") else words for words in notes]


def _sketch(file: Path, output: Path) -> None:
    """Draw the schedules of a study that need not have run; its data say how many steps an epoch has."""
    from fastgd.cli.studies import read_without_plugins
    from fastgd.plan.cohorts import cohorts_of
    from fastgd.runs.data.loading import load_data
    from fastgd.runs.reporting.events import Event

    study, imports = read_without_plugins(file, [])
    if study is None:
        raise InputError(
            f"{file}: a picture imports nothing, and there is nothing to draw without: {'; '.join(imports)}"
        )
    show(*imports)
    epochs, batches = float(study.steps or 1), 1  # of landscapes, whose epochs are steps
    if not study.landscapes:
        unseen: list[Event] = []
        cohorts = cohorts_of(study, load_data(study, None, unseen.append))
        longest = max(cohorts, key=lambda cohort: cohort.batches)
        epochs, batches = longest.epochs, longest.batches
    blocks = plots.study_blocks(study.model_dump(exclude_none=True))
    plots.save(plots.sketch(blocks, epochs, batches), output)
    show(f"schedule: {output}")
