"""`fastgd fit`: runs what is missing of a study, and writes its best configuration as a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from fastgd.analysis import REPEATS, Results, load, value_of
from fastgd.analysis.model_files import model_path
from fastgd.cli import signals
from fastgd.cli.answers.rankings import columns_to_show
from fastgd.cli.output.consoles import cell, show
from fastgd.cli.runs import executor_of
from fastgd.common.errors import InputError
from fastgd.common.numbers import count, number
from fastgd.runs.reporting.display import Reporter, errors
from fastgd.study.config import Study

if TYPE_CHECKING:
    from fastgd.analysis import TrainedModel

FILE = "model.npz"


class Options(NamedTuple):
    """What is chosen of a study, and how it becomes a model; see `fastgd.fit`."""

    by: str | None
    where: tuple[str, ...]
    trial: str | None
    as_trained: bool
    threads: int | None
    dask: str | None


def fit(study: Study, folder: Path | None, output: Path | None, options: Options) -> None:
    """Write the model of a study's best configuration, or of a trial, and say which it is."""
    from fastgd.runs import runner
    from fastgd.runs.stored import fitting

    if study.landscapes:
        raise InputError("trials on landscapes train no model; a study over data does")
    path = runner.folder_of(study, folder)
    file = model_path(output or path / FILE)
    try:
        with Reporter() as reporter:
            quiet: dict[str, Any] = {"threads": options.threads, "progress": False, "on_event": reporter}
            held = options.trial is not None and fitting.holds(path, options.trial)
            with executor_of(None if held else options.dask) as executor:
                results = load(path) if held else runner.run(study, path, executor=executor, **quiet)
            trial, chosen = (options.trial, f"trial {options.trial}") if options.trial else _best(results, options)
            model = fitting.best_model(results, trial=trial, refit=not options.as_trained, **quiet)
    except KeyboardInterrupt:
        errors().print("interrupted: no model was written; finished trials are kept", soft_wrap=True)
        raise typer.Exit(signals.code()) from None
    show(chosen, f"{_made(results, model, options)}: {model.save(file)}")


def _best(results: Results, options: Options) -> tuple[str, str]:
    """Return the best trial of a study, and a sentence on what it is."""
    from fastgd.runs.stored.fitting import best_of

    best = best_of(results, options.by, options.where)
    ranking = results.best(options.by, where=options.where)
    value = value_of(ranking)
    about = [name for name in columns_to_show(results, ranking) if name != "optimizer"]
    settings = [f"{name} {text}" for name in about if (text := cell(best[name], 4))]
    several = [count(int(best[name]), name.removesuffix("s")) for name in REPEATS if best.get(name, 1) > 1]
    middle = "mean" if "folds" in best else "median"
    over = f", the {middle} of {' x '.join(several)}" if several else ""
    words = f"best of {count(len(ranking), 'configuration')}: {', '.join([str(best['optimizer']), *settings])}"
    score = f"{value.replace('_', ' ')} {number(best[value], 6)}{over}"
    return str(best["trial_id"]), f"{words}; {score} (trial {best['trial_id']})"


def _made(results: Results, model: "TrainedModel", options: Options) -> str:
    """Return how a model came to be, in words."""
    trial = results.trials[results.trials["trial_id"] == model.trial_id].iloc[0]
    again = not options.as_trained and model.rows > trial["n"]
    rows = count(model.rows, "row")
    if again:
        return f"trained again on all {rows}, with the {model.rows - trial['n']:,} that were held out"
    return f"as it was trained on {rows}" if options.as_trained else f"trained on all {rows}"
