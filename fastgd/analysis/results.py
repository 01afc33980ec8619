"""`Results`: what a study left, and the questions that can be asked of it, one call each."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from fastgd.analysis.minima import minima
from fastgd.analysis.ranking import best_at_ends, ranking
from fastgd.analysis.stored_study import StoredStudy
from fastgd.analysis.trained_model import TrainedModel
from fastgd.common.properties import cached_property


def load(path: str | Path) -> "Results":
    """Return the results in a folder, whether the run is finished or not.

    Parameters
    ----------
    path : path
        The folder that `fastgd.run` wrote to.

    Returns
    -------
    Results
        What is committed there; tables are read when they are first used.

    Raises
    ------
    InputError
        The folder holds no results, or they are damaged.
    """
    return Results(path)


class Results(StoredStudy):
    """The results of a study.

    Trials that an earlier version of the study had and this one has not are among `trials` and `curves`, with
    `in_study = False`; rankings and plots leave them out.

    Parameters
    ----------
    path : path
        The folder.

    Attributes
    ----------
    path : Path
        The folder.
    manifest : Manifest
        Versions, machine, data and times of the study.
    """

    @cached_property
    def minima(self) -> pd.DataFrame:
        """The least value that is known of each objective, from which gaps are measured.

        A row an objective: `problem` (and `l2`, of studies over data), `minimum`, `error` (`minimum` is at most so much
        above the true one; NaN where nothing bounds it), and `source`: "best seen" where `minimum` is the least loss of
        the study's own trials, and nothing more is known.
        """
        return minima(self)

    def best(self, by: str | None = None, at: str = "final") -> pd.DataFrame:
        """Rank the study's configurations by their median over the seeds, within each problem; diverged ones last.

        The trials of a problem are put in order, and a configuration ranks where its trial at the median does:

        1. trials that `stop.target` ended, by the passes over the training rows (epochs) until they reached it: near
           the target all losses are alike. Those that reached it at the same checkpoint are in the order of the loss;
        2. trials that ended otherwise ("completed", "stalled", "converged", ...), by the loss;
        3. trials that ran out of time, or have no such loss: how they would have ended is not known;
        4. trials that diverged or failed.

        Of an even number of trials two are in the middle. The later one decides in which of the four groups the
        configuration is, and its loss or its epochs are the mean of both.

        Parameters
        ----------
        by : {"validation_loss", "loss"}, optional
            The loss to rank by; see `metric` for the default.
        at : {"final", "best"}
            The loss at the end of a trial, or the least one at any of its checkpoints.

        Returns
        -------
        pandas.DataFrame
            A row a configuration: `rank` (from 1, within the problem), the columns of `identity`, `<at>_<by>` (the
            median; a diverged or failed trial counts as infinite, one that ran out of time as NaN), the same with
            `_min` and `_max`, `seeds` (how many there are; likewise `splits` where there are several, and `starts` on
            landscapes), `diverged` (a number of trials; `timeout` likewise, where there are any), `target_epochs` where
            a target ended trials (until the median reached it; NaN if it did not), and `trial_id`: the trial at the
            median, the better one of the middle two. On landscapes, `start` tells from which start that trial came.
        """
        return ranking(self, by, at)

    def best_at_ends(self, ranking: pd.DataFrame) -> pd.DataFrame:
        """Return the best configurations whose rate is the lowest or highest one tried: a better rate may lie beyond.

        Parameters
        ----------
        ranking : pandas.DataFrame
            What `best` returned.

        Returns
        -------
        pandas.DataFrame
            The first row of a problem, optimizer and variant in the ranking, with `end` ("lowest" or "highest") and
            `rates`: how many rates were tried with all other settings the same.
        """
        return best_at_ends(self, ranking)

    def model(self, trial_id: str, *, data: tuple[Any, Any] | None = None) -> TrainedModel:
        """Return the model that a trial trained, to predict with; `record.parameters` says whose are stored.

        What results do not hold (standardisation, labels, names of columns) comes from the data, which are loaded again
        as the study says. A study that names modules of its author's ("module:Name") imports them.

        Parameters
        ----------
        trial_id : str
        data : (X, y), optional
            The arrays or tables that the study was run on, if it was; they must be the same.

        Returns
        -------
        TrainedModel
            It needs neither results nor data any more, and can be pickled.

        Raises
        ------
        InputError
            There is no such trial in the study, its parameters were not recorded or are not finite, or the data are
            not there or not those that the trial was trained on.
        """
        # by its name: imports point down, and results are read without what plans and loads
        found: TrainedModel = import_module("fastgd.runs.trained_models").trained_model(self, trial_id, data)
        return found
