"""`Results`: what a study left, and the questions that can be asked of it, one call each."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis.minima.certified import optima, optimal_parameters
from fastgd.analysis.minima.gaps import with_gaps
from fastgd.analysis.minima.least_known import minima
from fastgd.analysis.questions import bands, budgets, comparisons, method_ranks, profiles, rate_widths, times
from fastgd.analysis.questions.ranking import best_at_ends, over_problems, ranking
from fastgd.analysis.questions.theory import theory
from fastgd.analysis.questions.times import Goal
from fastgd.analysis.stored_study import StoredStudy
from fastgd.analysis.trained_model import TrainedModel
from fastgd.common.errors import InputError
from fastgd.common.properties import cached_property

FRACTION = 0.99  # of the way from the start to the minimum: the goal of profiles, where none is given


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


def _judge(
    by: str | None, target: float | None, gap: float | None, fraction: float | None, unit: str | None
) -> str | Goal | None:
    """Return what trials are judged by: a metric, or the time until it gets somewhere."""
    if (target, gap, fraction) != (None, None, None):
        return Goal(target, gap, fraction, unit, metric=by or "loss")
    if unit is not None:
        raise InputError("unit goes with target, gap or fraction: the time until a trial gets there")
    return by


def _goal(
    target: float | None,
    gap: float | None,
    fraction: float | None,
    unit: str | None,
    interpolate: bool,
    by: str | None,
) -> Goal:
    """Return a goal: by default 99 % of the way from the start to the minimum."""
    if (target, gap, fraction) == (None, None, None) and by in (None, "loss"):
        fraction = FRACTION
    return Goal(target, gap, fraction, unit, interpolate, by or "loss")


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

    def optimal_parameters(
        self, problem: str | None = None, l2: float | None = None, split_seed: int | None = None
    ) -> NDArray[np.float64]:
        """Return where the stored minimum of an objective is.

        Parameters
        ----------
        problem : str, optional
            Its name; may be left out where one is stored.
        l2 : float, optional
        split_seed : int, optional
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
        return optimal_parameters(self, problem, l2, split_seed)

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

    def best(
        self,
        by: str | None = None,
        at: str = "final",
        where: str | Sequence[str] = (),
        each: str | None = None,
        over: str | None = None,
        *,
        target: float | None = None,
        gap: float | None = None,
        fraction: float | None = None,
        unit: str | None = None,
    ) -> pd.DataFrame:
        """Rank the study's configurations by their median over the seeds, within each problem; diverged ones last.

        The trials of a problem are put in order, and a configuration ranks where its trial at the median does:

        1. trials that `stop.target` ended, by the passes over the training rows (epochs) until they reached it: near
           the target all losses are alike. Those that reached it at the same checkpoint are in the order of the loss;
        2. trials that ended otherwise ("completed", "stalled", "early_stopped", "converged", ...), by the loss;
        3. trials that ran out of time, that a race has retired, or that have no such loss: how they would have ended is
           not known;
        4. trials that diverged or failed.

        Of an even number of trials two are in the middle. The later one decides in which of the four groups the
        configuration is, and its loss or its epochs are the mean of both.

        Where rows are held out fold by fold, a configuration has the mean over its folds and seeds, as in
        cross-validation, and the worst of its trials decides in which of the four groups it is.

        Parameters
        ----------
        by : str, optional
            What to rank by: "validation_loss" or "loss" (see `metric` for the default), or another recorded metric that
            is good or bad, such as "accuracy" or "validation_r2", of which more is better. The first of the four groups
            is for losses alone: by another metric, those trials are in the second one.
        at : {"final", "best"}
            The value at the end of a trial, or the best one at any of its checkpoints.
        where : str or sequence of str
            Rank only the configurations that meet all of these conditions on the columns of `identity` and `method`:
            "optimizer=adam,sgd", "lr<0.1", "schedule!=constant". The signs are = != < <= > >=.
        each : str, optional
            Return only the best configuration of each value of this column, within each problem: "optimizer", "method"
            (an optimizer with its variant), "batch_size", ...
        over : {"problem"}, optional
            Rank over all problems: see below.
        target, gap, fraction : float, optional
            Rank by the time until `by` (by default the loss) gets there, as `time_to` measures it: one of them.
        unit : {"epochs", "steps", "samples", "seconds"}, optional
            Of that time.

        Returns
        -------
        pandas.DataFrame
            A row a configuration: `rank` (from 1, within the problem), the columns of `identity`, `<at>_<by>` (the
            median; a diverged or failed trial counts as infinitely bad, one that ran out of time as NaN), the same with
            `_min` and `_max` (of folds the mean, and with `_std` its trials' standard deviation), `tied`, `seeds` (how
            many there are; likewise `splits` or `folds`, of which there are several, and `starts` of landscapes),
            `diverged` (a number of trials; `timeout` and `retired` likewise, where there are any), `target_epochs`
            where a target ended trials (until the median reached it; NaN if it did not), and `trial_id`: the trial at
            the median, the better one of the middle two. On landscapes, `start` tells from which start. Times are in a
            column named by their unit; seconds are `amortised_seconds`.

            `tied` is true where the data do not tell a configuration from the first of its problem: 0 is in Student's
            95 % interval of the mean difference to it, over pairs of trials with the same seed, split and start. It is
            not corrected for how many are compared. Where only one of a pair diverged, the signs of the differences
            decide: all alike, or the sign test from six pairs on. NA where that is not known: with fewer than two
            pairs, with fewer than six some of which are infinite, and where there are more than 500,000 trials.

            With `over="problem"`: a row for settings that are the same on all problems (`identity` without what
            describes the problem), or for each value of `each`, whose best configuration on each problem counts:
            `rank`, the settings, `problems` (on how many it ran), `mean_rank` (the mean of the places among the rows
            of each problem; it decides), `mean_normalised_gap` (0 is the best of a problem, 1 its start or worse,
            diverged ones included; not of times), `worst_rank` and `diverged_on` (a number of problems).

        Raises
        ------
        InputError
            There is no such metric, column or condition; or nothing meets the conditions.
        """
        if over not in (None, "problem"):
            raise InputError(f"rankings are taken over the problem, found over = {over!r}")
        judge = _judge(by, target, gap, fraction, unit)
        table = ranking(self, judge, at, where, each)
        return table if over is None else over_problems(self, table, judge, each)

    def time_to(
        self,
        target: float | None = None,
        gap: float | None = None,
        fraction: float | None = None,
        unit: str | None = None,
        interpolate: bool = False,
        by: str | None = None,
        each: str = "configuration",
    ) -> pd.DataFrame:
        """Return how long trials take to a loss, with those that never get there.

        Parameters
        ----------
        target : float, optional
            The value to reach. Give one of target, gap and fraction.
        gap : float, optional
            How far above the objective's minimum (`minima`) to get.
        fraction : float, optional
            Which part of the way from a trial's start to the minimum to go: 0.99 leaves a hundredth.
        unit : {"epochs", "steps", "samples", "seconds"}, optional
            By default epochs; on landscapes there are only steps. Seconds are amortised: the training seconds of the
            cohort until then, divided by its trials, which shared each pass over the data. One trial alone takes
            longer.
        interpolate : bool
            The time is that of the first checkpoint at the goal; or, if True, interpolated between this and the one
            before: the logarithm of the gap is taken to fall linearly, and the metric itself where a gap is not known
            to be positive.
        by : str, optional
            The metric, by default the loss; another one, such as "validation_accuracy", takes a target.
        each : {"configuration", "trial"}
            What a row is.

        Returns
        -------
        pandas.DataFrame
            Of each configuration, the fastest first within a problem: `problem`, `method`, the other columns of
            `identity`, the unit (`epochs`, `steps`, `samples` or `amortised_seconds`): the median over the seeds, in
            which a trial that did not get there counts as later than all others, so that it is NaN where half of them
            or more did not; the same with `_min` and `_max` (NaN where one did not), `reached` and `trials`: how many.

            Of each trial: its key, seed and status, `problem`, `method`, `lr`, `level` (the value to reach), the unit
            (NaN if it was not reached), `reached`, and `censored_at` (where it ended without).

            `attrs` says the goal, the unit, whether times are interpolated, and where the minimum comes from.

        Raises
        ------
        InputError
            Not exactly one of target, gap and fraction is given, or it is out of its bounds; or there is no such
            metric or unit.
        """
        goal = Goal(target, gap, fraction, unit, interpolate, by or "loss")
        return times.time_to(self, goal, each)

    def sensitivity(
        self, hyper: str = "lr", within: float = 0.1, by: str | None = None, at: str = "final"
    ) -> pd.DataFrame:
        """Return how much a hyper-parameter matters to each method: its best value, and how wide the range about it is.

        Parameters
        ----------
        hyper : str
            A numeric hyper-parameter, `batch_size` or `l2`.
        within : float
            The range holds the values that lose at most this share of what the best one gained: of the distance from
            the median start to the best value.
        by, at : str, optional
            As in `best`; a metric.

        Returns
        -------
        pandas.DataFrame
            A row a problem and method: the best value of `hyper` (the best configuration's), the value ranked by,
            `low` and `high` (the ends of the values about the best one that are within reach without a gap, all other
            settings being those of the best configuration; they are values that were tried), `decades` (how far these
            are apart, in powers of ten), `values` (how many were tried with these settings), `end` ("lowest" or
            "highest" where the best one is at the edge of its grid: a better one may lie beyond; else empty),
            `moves_with` and `moves_by_decades` (the setting with which the best value moves most, and how far it
            moves: see `interactions`).

        Raises
        ------
        InputError
            There is no such hyper-parameter or metric.
        """
        return rate_widths.sensitivity(self, hyper, within, by, at)

    def interactions(self, hyper: str = "lr", by: str | None = None, at: str = "final") -> pd.DataFrame:
        """Return the best value of a hyper-parameter at each value of each other setting.

        Returns
        -------
        pandas.DataFrame
            A row for each problem, method, `setting` (the name of another column in which the method's configurations
            differ) and `setting_value`: the best value of `hyper` there, over all else, and the value ranked by.
        """
        return rate_widths.interactions(self, hyper, by, at)

    def compare(
        self,
        a: str,
        b: str,
        by: str | None = None,
        at: str = "final",
        *,
        target: float | None = None,
        gap: float | None = None,
        fraction: float | None = None,
        unit: str | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Compare two configurations, or the best of two methods, under common random numbers.

        Trials are paired that have the same problem, seed (and split seed, and start): they see the same rows in the
        same order, so that their difference varies less than they do.

        Parameters
        ----------
        a, b : str
            The id of a trial, which stands for its configuration on every problem, or an optimizer or method, which
            stands for its best configuration on each problem.
        by, at, target, gap, fraction, unit : optional
            As in `best`.
        seed : int
            Of the bootstrap.

        Returns
        -------
        pandas.DataFrame
            A row a problem: the trials `a` and `b` at their medians, these medians (`_a`, `_b`), `pairs`,
            `mean_difference` (a minus b) with Student's 95 % interval `low` to `high`, the same by the bootstrap
            (`bootstrap_low`, `bootstrap_high`: BCa, 9,999 samples, from 5 pairs on), `median_difference`, `a_better`,
            `b_better` and `equal` (numbers of pairs), `p_value` (Wilcoxon's signed-rank test, two-sided, from 6 pairs
            on), and `tied`: as in `best`; NA where that is not known, as with one pair.

            Over several problems there is a row "all problems" in which each problem is one pair: its mean difference,
            as a share of the way from the start to the best of the problem, or, of times, of the larger one.

        Raises
        ------
        InputError
            There is no such trial, optimizer or metric; both are the same; or they have no problem in common.
        """
        return comparisons.compare(self, a, b, _judge(by, target, gap, fraction, unit), at, seed)

    def ranks(
        self,
        by: str | None = None,
        at: str = "final",
        blocks: str | None = None,
        alpha: float = 0.05,
        *,
        target: float | None = None,
        gap: float | None = None,
        fraction: float | None = None,
        unit: str | None = None,
    ) -> pd.DataFrame:
        """Return the mean ranks of methods, each at its best configuration of a problem, with a critical difference.

        Parameters
        ----------
        by, at, target, gap, fraction, unit : optional
            As in `best`.
        blocks : {"problem", "repeat"}, optional
            In what methods are ranked: in each problem, by their medians over the seeds; or in each seed of each
            problem. By default problems, if there are several. Seeds of one problem are no independent problems: ranks
            over them say what holds on this problem.
        alpha : float
            The level of the test.

        Returns
        -------
        pandas.DataFrame
            `method`, `mean_rank` (1 is best; equal values share their mean rank), `first` (in how many blocks it is
            first), and `tied`: whether it is less than the critical difference behind the first. `attrs` has `count`
            (of blocks), `left_out` (blocks in which not all methods have a value), `critical_difference` (Nemenyi),
            `friedman` (the statistic, corrected for ties) and its `p_value`; see Demsar (2006), JMLR 7, pages 1 to 30.

        Raises
        ------
        InputError
            There are fewer than two methods, or no block has all of them.
        """
        return method_ranks.ranks(self, _judge(by, target, gap, fraction, unit), at, blocks, alpha)

    def profiles(
        self,
        target: float | None = None,
        gap: float | None = None,
        fraction: float | None = None,
        unit: str | None = None,
        kind: str = "performance",
        interpolate: bool = False,
        by: str | None = None,
    ) -> pd.DataFrame:
        """Return performance profiles or data profiles of methods, each at its fastest configuration of a problem.

        Parameters
        ----------
        target, gap, fraction, unit, interpolate, by : optional
            The goal, as in `time_to`; by default `fraction=0.99`.
        kind : {"performance", "data"}
            "performance" (Dolan and More 2002, Math. Program. 91): the share of problems (and seeds) on which a method
            takes at most `ratio` times as long as the fastest one. "data" (More and Wild 2009, SIAM J. Optim. 20): the
            share that it solves within a time; an epoch, which is one whole gradient, takes the place of their
            simplex gradients.

        Returns
        -------
        pandas.DataFrame
            The steps of each method's profile: `method`, `ratio` or the unit, `share` from there to the next row, and
            `trials` (problems times seeds, the same for all methods). `attrs` has `instances`, `solved` (those that
            any method solved) and `left_out` (those that some method has no trial for).
        """
        goal = _goal(target, gap, fraction, unit, interpolate, by)
        return profiles.profiles(self, goal, kind)

    def ecdf(
        self,
        target: float | None = None,
        gap: float | None = None,
        fraction: float | None = None,
        unit: str | None = None,
        of: str = "best",
        interpolate: bool = False,
        by: str | None = None,
    ) -> pd.DataFrame:
        """Return which share of each method's trials has reached a goal, over time.

        Parameters
        ----------
        target, gap, fraction, unit, interpolate, by : optional
            The goal, as in `time_to`; by default `fraction=0.99`.
        of : {"best", "all"}
            The trials of each problem's fastest configuration, or all of them: how a method does untuned.

        Returns
        -------
        pandas.DataFrame
            The steps of each method's distribution: `method`, the unit, `share` from there on, and `trials`.
        """
        goal = _goal(target, gap, fraction, unit, interpolate, by)
        return profiles.ecdf(self, goal, of)

    def budget(
        self, by: str | None = None, at: str = "final", interval: float = 0.9, replacement: bool = True
    ) -> pd.DataFrame:
        """Return what trying k random configurations of a method is expected to find.

        Parameters
        ----------
        by, at : str, optional
            As in `best`; a metric.
        interval : float
            The probability of the interval.
        replacement : bool
            Whether a configuration may be drawn again, as in Dodge et al. (2019, EMNLP, "Show Your Work"), where k
            draws from the stored values estimate a search of k draws from the same ranges. Without, the k are
            distinct, and all of them find the best.

        Returns
        -------
        pandas.DataFrame
            A row a problem, method and `trials` (k): `expected_<value>` of the best of them, and `low`, `median` and
            `high` of its distribution, all exact; `configurations` is how many are stored. A configuration counts by
            its median over the seeds, and as the start where it is worse or diverged. Those that were not run to
            their end are left out; `attrs["unknown"]` counts them.
        """
        return budgets.budget(self, by, at, interval, replacement)

    def bands(
        self,
        metric: str | None = None,
        x: str | None = None,
        over: str = "value",
        quantiles: tuple[float, float] = (0.25, 0.75),
        trials: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return medians and quantiles over the seeds, of a metric along the training or of the time to a value.

        Parameters
        ----------
        metric : str, optional
            A metric of the curves; by default the loss that `best` ranks by.
        x : {"epoch", "step", "samples_seen", "train_seconds"}, optional
            By default epochs, on landscapes steps.
        over : {"value", "time"}
            The metric at each point of `x`, on straight lines between checkpoints, or the first checkpoint at which it
            is at each of 200 values, from the median start to the best (of the loss: equally far apart in the
            logarithm of the gap to `minima`).
        quantiles : tuple of two floats
            Of `_low` and `_high`; they are those of a trial, not interpolated.
        trials : sequence of str, optional
            Ids of trials, which stand for their configurations; by default the best of each method on each problem.

        Returns
        -------
        pandas.DataFrame
            `problem`, `method`, `trial_id` (at the configuration's median), `x` or the metric (and its `gap`), the
            median of the other one, the same with `_low` and `_high`, and `trials` (and `reached`): how many. A trial
            that ended keeps its last value; it is infinite after it diverged, and where a value was never reached.
        """
        return bands.bands(self, metric, x, over, quantiles, trials)

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

    def model(
        self, trial_id: str, *, data: tuple[Any, ...] | None = None, folds: Sequence[Any] | None = None
    ) -> TrainedModel:
        """Return the model that a trial trained, to predict with; `record.parameters` says whose are stored.

        What results do not hold (standardisation, labels, names of columns) comes from the data, which are loaded again
        as the study says. A study that names modules of its author's ("module:Name") imports them.

        Parameters
        ----------
        trial_id : str
        data : (X, y) or (X, y, weights), optional
            The arrays or tables that the study was run on, if it was; they must be the same.
        folds : sequence of (train, test), optional
            Likewise the folds that the study was run with.

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
        found: TrainedModel = import_module("fastgd.runs.stored.trained_models").trained_model(
            self, trial_id, data, folds
        )
        return found

    def best_model(
        self,
        by: str | None = None,
        where: str | Sequence[str] = (),
        *,
        trial: str | None = None,
        refit: bool = False,
        data: tuple[Any, Any] | None = None,
        folds: Sequence[Any] | None = None,
        threads: int | None = None,
        progress: bool = True,
    ) -> TrainedModel:
        """Return the model of the best configuration: of its trial at the median, as it ended, or trained on all rows.

        Final parameters that were not stored come from running the trial again, alone, which gives the same bits.

        Parameters
        ----------
        by, where
            As for `best`, whose first row it is.
        trial : str, optional
            This trial in place of the best one.
        refit : bool
            Train it on all rows, with those that the study held out, standardised by all of them: for as many epochs
            as the trial took, or as many steps where the study counts these. Held-out rows of a second file stay out;
            where the study holds nothing else out, the model is the trial's own.
        data : (X, y), optional
            The arrays or tables that the study was run on, if it was; they must be the same.
        folds : sequence of (train, test), optional
            Likewise the folds that the study was run with.
        threads : int, optional
            By default all processors that the process may use. The number changes no bits.
        progress : bool
            Show on standard error how far it is, where that is a terminal, or in a notebook.

        Returns
        -------
        TrainedModel
            `trial_id` is the trial that was chosen.

        Raises
        ------
        InputError
            There are several problems, which `where` chooses from; the trial diverged, or ran out of time; the data
            have changed; a trial that runs again does not end where it did; or a schedule judges the held-out rows, so
            that the trial cannot do without them.
        """
        options = {"data": data, "folds": folds, "threads": threads, "progress": progress}
        best_model = import_module("fastgd.runs.stored.fitting").best_model  # by its name: see `model`
        found: TrainedModel = best_model(self, by=by, where=where, trial=trial, refit=refit, **options)
        return found
