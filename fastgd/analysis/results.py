"""`Results`: what a study left, and the questions that can be asked of it, one call each."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.gaps import with_gaps
from fastgd.analysis.minima import minima
from fastgd.analysis.optima import optima, optimal_parameters
from fastgd.analysis.ranking import best_at_ends, ranking
from fastgd.analysis.stored_study import StoredStudy
from fastgd.analysis.theory import theory
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
        above the true one; NaN where nothing bounds it), and `source`:

        - "certified": `fastgd.optimum` solved it, and `error` bounds what is left; where a trial saw a lower loss, and
          the bound permits it, `minimum` is that loss;
        - "contradicted": a trial saw a lower loss than the bound and rounding permit, which `minimum` is; either is
          wrong, and `error` is NaN;
        - "known": of a landscape, the lowest of its known minima, which its stored surface names;
        - "best seen": the least loss of the study's own trials, and nothing more is known.
        """
        return minima(self)

    @cached_property
    def optima(self) -> pd.DataFrame:
        """What `fastgd.optimum` stored: the minimum of each convex objective, its certificate, and its constants.

        A row an objective: `problem`, `l2`, `loss`, `minimum` (where the solve ended), `error` (`minimum` is at most so
        much above the true one, rounding included; NaN: nothing bounds it), `certificate` (what the bound rests on, or
        why there is none), `best_seen` (the least exact loss of the study's trials) and `contradicted` (whether that is
        lower than bound and rounding permit), `method`, `steps`, `seconds`, and the constants: `smoothness` (L, the
        largest curvature at any parameters; NaN: there is none), `smoothness_error` (of Lanczos's method),
        `strong_convexity` (mu, the least curvature in the directions in which the objective changes), `condition`
        (L / mu), the same three at the minimum (`local_...`), `row_norm` (the largest norm of a row, with the
        intercept's 1), `noise` (the mean squared distance of single rows' gradients from their mean at the minimum) and
        `constants` ("eigenvalues" or "Lanczos"). Empty where nothing is stored.
        """
        return optima(self)

    def optimal_parameters(self, problem: str | None = None, l2: float | None = None) -> NDArray[np.float64]:
        """Return where the stored minimum of an objective is.

        Parameters
        ----------
        problem : str, optional
            Its name; may be left out where one is stored.
        l2 : float, optional
            Likewise.

        Returns
        -------
        ndarray of shape (parameters,)
            As the engine orders them: a row of weights for each feature, then the intercepts.

        Raises
        ------
        InputError
            No such minimum is stored, or several are.
        """
        return optimal_parameters(self, problem, l2)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row a checkpoint: all curves in memory; see `curves_dataset` for what outgrows it.

        Where certified minima are stored (`fastgd.optimum`), `gap` is the loss minus the minimum of its objective. It
        is NaN where the objective has no certified minimum, and where the loss is that of a subsample (`record.rows`).
        """
        return with_gaps(self)

    def theory(self) -> pd.DataFrame:
        """Set measured rates of convergence beside those of textbooks, for objectives with a certified minimum.

        A row a configuration of `sgd`, `momentum` or `nesterov`, by its trial at the median:

        - full batches and a constant rate ("contraction"): the factor by which the root of the gap, which is the
          distance to the minimum in the objective's own metric, falls in a step. `measured` is fitted to the tail of
          the curve, before rounding or the error of the minimum is reached. `theory` follows from the largest and the
          least curvature at the minimum, which decide how it ends; `bound` is what holds at any parameters;
        - mini-batches and a constant rate ("floor"): the gap at which the noise of gradients holds the trial. `bound`
          is that of independent batches; without replacement, as here, it may be far less;
        - mini-batches and the schedule `inverse_time` ("exponent"): the power of the step with which the gap falls,
          -1 in theory if the rate `a/t` has `a mu > 1/2`.

        Returns
        -------
        pandas.DataFrame
            `problem`, `l2`, `optimizer`, `lr`, `momentum`, `schedule`, `batch_size`, `quantity` ("contraction",
            "floor" or "exponent"), `measured`, `theory`, `ratio` (of contractions the measured speed by that of theory,
            `log(measured) / log(theory)`, else `measured / theory`), `bound`, `holds` (whether `measured` is within
            the bound, where there is one), `checkpoints` (of the fit), `source`, `remark` and `trial_id`.

        Raises
        ------
        InputError
            No certified minimum is stored.

        References
        ----------
        Polyak (1964), Some methods of speeding up the convergence of iteration methods; Polyak (1987), Introduction to
        Optimization, section 1.4; Nesterov (2004), Introductory Lectures on Convex Optimization, theorems 2.1.15 and
        2.2.3; Bottou, Curtis, Nocedal (2018), https://doi.org/10.1137/16M1080173, theorems 4.6 and 4.7; Mandt, Hoffman,
        Blei (2017), https://jmlr.org/papers/v18/17-214.html.
        """
        return theory(self)

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
