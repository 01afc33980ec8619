"""Runs cohorts one after another: from checkpoint to checkpoint, with lanes that end retired, and results streamed to
disk.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.properties import cached_property
from fastgd.core.threads import Threads
from fastgd.datasets import Data
from fastgd.engine.rows.cohort import AnyCohort, Cohort
from fastgd.engine.rows.guesses import Guesses
from fastgd.plan.cohort import CohortPlan
from fastgd.plan.cohorts import Plan
from fastgd.plan.compiled import compiling, note_compiled
from fastgd.problems import find_loss
from fastgd.runs.clock import Stopwatch
from fastgd.runs.metrics import Recorder, measures_of
from fastgd.runs.reporting.events import CohortFinished, CohortStarted, Compiling, Event, Progress
from fastgd.runs.schedule_values import CohortSchedule
from fastgd.runs.stopping import Stopping, loss_scale
from fastgd.runs.trials import Finalists, TrialRecords
from fastgd.store.cohort import CohortWriter
from fastgd.store.folder import Folder
from fastgd.study.config import Study

Array = npt.NDArray[Any]
PROGRESS_SECONDS = 0.2
PARAMETERS_AT_ONCE = 1 << 21  # final parameters that are read and stored together, which bounds the memory: 16 MB


class Execution:
    """The run of a plan's missing cohorts.

    Parameters
    ----------
    study : Study
    plan : Plan
    data : sequence of Data
        Of each problem.
    folder : Folder
        Where results go.
    threads : Threads
    watch : Stopwatch
    emit : callable
        Receives the events.
    """

    def __init__(
        self,
        study: Study,
        plan: Plan,
        data: Sequence[Data],
        folder: Folder,
        threads: Threads,
        watch: Stopwatch,
        emit: Callable[[Event], None],
    ) -> None:
        self.study, self.data, self.folder = study, data, folder
        self.threads, self.watch, self.emit = threads, watch, emit
        self.trials = plan.trials.set_index("trial_id", drop=False)
        self.deadline = time.perf_counter() + study.max_seconds if study.max_seconds else np.inf
        self.keep, self.finalists = study.record.parameters, Finalists()
        self.total = len(plan.trials)
        self.done = self.total
        self.diverged = 0
        self._work = self._finished = self._computing = 0.0

    @cached_property
    def scales(self) -> list[float]:
        """The own scale of each problem's loss."""
        problems = zip(self.data, self.study.data_problems, strict=True)
        return [loss_scale(rows, find_loss(problem.loss)) for rows, problem in problems]

    def run(self, cohorts: Sequence[CohortPlan]) -> None:
        """Run the cohorts and commit each."""
        self._run(cohorts, lambda cohort: self.folder.cohort(cohort.cohort_id))

    def run_for_parameters(self, cohorts: Sequence[CohortPlan]) -> None:
        """Run trials again whose results are stored, for their final parameters alone."""
        self.keep = "all"
        self._run(cohorts, lambda _: self.folder.parameters())

    def _run(self, cohorts: Sequence[CohortPlan], writer_of: Callable[[CohortPlan], CohortWriter]) -> None:
        self.done = self.total - sum(len(ids) for cohort in cohorts for ids in cohort.ids)
        self._work, self._finished = sum(cohort.flops for cohort in cohorts), 0.0
        self._computing = self.watch.seconds["train"] + self.watch.seconds["evaluate"]
        for index, cohort in enumerate(cohorts):
            with writer_of(cohort) as writer:
                _CohortRun(self, cohort, writer, index, len(cohorts)).run()
            self._finished += cohort.flops

    def share(self, cohort: CohortPlan, share: float) -> float:
        """Return how much of the work is done, where this cohort did a share of its own."""
        return (self._finished + share * cohort.flops) / self._work

    def seconds_left(self, done: float) -> float | None:
        """Estimate the rest from the share of the work that is done; None: too early to tell."""
        if done < 0.005:
            return None
        spent = self.watch.seconds["train"] + self.watch.seconds["evaluate"] - self._computing
        return spent * (1 / done - 1)


class _CohortRun:
    """One cohort, from its start to its commit."""

    def __init__(self, execution: Execution, plan: CohortPlan, writer: CohortWriter, index: int, total: int) -> None:
        self.execution, self.plan, self.writer = execution, plan, writer
        self.index, self.total = index, total
        data = execution.data[plan.problem]
        self.schedule = CohortSchedule(plan)
        if plan.baseline:
            self.cohort: AnyCohort = Guesses(plan.spec, data.X, data.y, execution.threads, plan.steps)
        else:
            self.cohort = Cohort(plan.spec, data.X, data.y, execution.threads, self.schedule)
        self.recorder = Recorder(data, plan.spec.loss, execution.study.record.metrics, execution.study.record.rows)
        self.records = TrialRecords(plan.lanes)
        self.seconds = dict(execution.watch.seconds)
        self._shown = 0.0

    @property
    def watch(self) -> Stopwatch:
        return self.execution.watch

    def run(self) -> None:
        execution, plan = self.execution, self.plan
        emit = execution.emit
        started = time.perf_counter()
        self.seconds = dict(self.watch.seconds)
        emit(CohortStarted(self.index, self.total, plan.lanes, plan.spec.kernel.name))
        if time.perf_counter() > execution.deadline:
            self._end_timeout()
        else:
            self._train()
        self._commit()
        seconds = time.perf_counter() - started
        emit(CohortFinished(self.index, self.total, plan.lanes, self.records.count("diverged"), seconds))

    def _train(self) -> None:
        execution, plan = self.execution, self.plan
        with self.watch.stage("compile"):
            execution.emit(Compiling(f"{plan.spec.rule.optimizer.name}, {plan.spec.kernel.name}, {plan.dtype}"))
            self._compile()
        self.watch.enter("evaluate")
        stopping = self._start()
        for step in plan.checkpoints[1:]:
            if not len(self.cohort.alive):
                break
            reached = self._advance(int(step))
            self._checkpoint(stopping, reached)

    def _compile(self) -> None:
        with compiling(self.plan.spec.rule.optimizer, self.plan.spec.loss):
            metrics = self.execution.study.record.metrics
            self.cohort.compile("grad_norm" in metrics, measures_of(metrics, self.plan.spec.loss))
        note_compiled(self.plan.method)

    def _start(self) -> Stopping:
        metrics = self.recorder.record(self.cohort, self._poll)
        self._keep(metrics)
        execution, plan = self.execution, self.plan
        scale = execution.scales[plan.problem]
        stopping = Stopping.start(execution.study.stop, metrics["loss"], plan.baseline, scale)
        self._end(*self._judge(stopping, metrics))
        return stopping

    def _keep(self, metrics: dict[str, Array]) -> None:
        """Record a checkpoint; where it ends an epoch, the schedules with feedback are judged on its bits."""
        self._write(metrics)
        if self.schedule.feedback and self.cohort.t % self.plan.batches == 0:
            self.schedule.judge(self.cohort.t, self.cohort.alive, metrics["validation_loss"])

    def _advance(self, step: int) -> bool:
        """Go on to a checkpoint; False where the time is over before."""
        try:
            for stop in (*self._epoch_ends(step), step):
                self.watch.enter("train")
                self.cohort.advance(stop - self.cohort.t, self._poll_training)
                self.watch.enter("evaluate")
                if stop < step:
                    loss = self.recorder.validation_loss(self.cohort, self._poll)
                    self.schedule.judge(stop, self.cohort.alive, loss)
        except _TimeIsOver:
            return False
        finally:
            self.watch.enter("evaluate")
        return True

    def _epoch_ends(self, step: int) -> Iterable[int]:
        """The epoch ends before a checkpoint at which schedules with feedback are judged."""
        if not self.schedule.feedback:
            return ()
        batches = self.plan.batches
        return range((self.cohort.t // batches + 1) * batches, step, batches)

    def _checkpoint(self, stopping: Stopping, reached: bool) -> None:
        last = not reached or self.cohort.t == self.plan.steps
        metrics = self.recorder.record(self.cohort, self._poll, exact=last)
        over = not reached or time.perf_counter() > self.execution.deadline
        status, reasons = self._judge(stopping, metrics)
        ended = (status != "") | over
        if self.recorder.sampled and not last and ended.any():  # the last values of a trial are those of all rows
            exact = self.recorder.record(self.cohort, self._poll)
            metrics = {name: np.where(ended, exact[name], values) for name, values in metrics.items()}
        self._keep(metrics)
        self._end(status, reasons)
        if self.cohort.t == self.plan.steps:
            self._end_all("completed", "")
        elif over:
            self._end_timeout()

    def _end_timeout(self) -> None:
        self._end_all("timeout", f"max_seconds = {self.execution.study.max_seconds:g} was over")

    def _end_all(self, status: str, reason: str) -> None:
        lanes = len(self.cohort.alive)
        self._end(np.full(lanes, status, object), [reason] * lanes)

    def _judge(self, stopping: Stopping, metrics: dict[str, Array]) -> tuple[Array, list[str]]:
        epoch = self.cohort.t / self.plan.batches
        return stopping.judge(self.cohort.alive, metrics["loss"], epoch)

    def _end(self, status: Array, reasons: list[str]) -> None:
        """Retire the lanes whose status is set."""
        ended = status != ""
        if not ended.any():
            return
        lanes, bad = self.cohort.alive, self.cohort.first_bad_step()
        self._keep_parameters(lanes, np.flatnonzero(ended))
        for position in np.flatnonzero(ended):
            first = int(bad[position]) if status[position] == "diverged" else 0
            reason = reasons[position]
            if first:
                reason += f"; the first residual that is not finite came in step {first}"
            self.records.end(lanes[position], status[position], reason, first or self.cohort.t)
        ids = [len(self.plan.ids[lane]) for lane in lanes[ended]]
        self.execution.done += sum(ids)
        self.execution.diverged += sum(np.array(ids)[status[ended] == "diverged"])
        self.cohort.retire(~ended)

    def _keep_parameters(self, lanes: Array, ended: Array) -> None:
        """Store the parameters of lanes that end, or keep those that may be stored later."""
        keep, finalists = self.execution.keep, self.execution.finalists
        if keep == "all":
            positions = np.repeat(ended, [len(self.plan.ids[lane]) for lane in lanes[ended]])
            ids = [trial for lane in lanes[ended] for trial in self.plan.ids[lane]]
            some = max(1, PARAMETERS_AT_ONCE // (self.plan.spec.parameters(self.plan.d)))
            with self.watch.stage("store"):
                for first in range(0, len(ids), some):
                    part = slice(first, first + some)
                    self.writer.parameters(ids[part], self.cohort.parameters(positions[part]))
        if keep == "best":
            key = self.plan.label, self.plan.spec.rule.optimizer.name, self.plan.seeds
            scores = self.records.scores(lanes[ended])
            chosen = finalists.among(key, scores, self.plan.spec.parameters(self.plan.d))
            W = self.cohort.parameters(ended[chosen]) if len(chosen) else np.zeros(0)
            for place, parameters in zip(chosen, W, strict=True):
                finalists.add(key, float(scores[place]), self.plan.ids[lanes[ended[place]]], parameters.copy())

    def _write(self, metrics: dict[str, Array]) -> None:
        lanes, step = self.cohort.alive, self.cohort.t
        self.records.observe(lanes, metrics)
        counts = [len(self.plan.ids[lane]) for lane in lanes]
        columns: dict[str, Any] = {name: np.repeat(values, counts) for name, values in metrics.items()}
        line = self.cohort.line
        columns["lr"] = np.repeat((line.rates if line else self.schedule.rate(step))[lanes], counts)
        columns["trial_id"] = [trial for lane in lanes for trial in self.plan.ids[lane]]
        columns["step"], columns["epoch"] = step, step / self.plan.batches
        columns["samples_seen"] = self._samples(step)
        columns["train_seconds"] = self.watch.seconds["train"] - self.seconds["train"]
        with self.watch.stage("store"):
            self.writer.append(columns)

    def _samples(self, step: int) -> int:
        epochs, batches = divmod(step, self.plan.batches)
        batches = min(batches * self.plan.spec.batch_size, self.plan.n)
        return (epochs + self.plan.snapshots(step)) * self.plan.n + batches

    def _commit(self) -> None:
        self.watch.enter("store")
        seconds = {stage: value - self.seconds[stage] for stage, value in self.watch.seconds.items()}
        rows = self.records.rows(self.plan.ids, self.plan.batches)
        trials = self.execution.trials.loc[rows["trial_id"]].reset_index(drop=True)
        trials = trials.assign(
            **rows.drop(columns="trial_id"),
            cohort_id=self.plan.cohort_id,
            cohort_lanes=self.plan.lanes,
            compile_seconds=seconds["compile"],
            train_seconds=seconds["train"],
            evaluate_seconds=seconds["evaluate"],
        )
        self.writer.commit(trials)

    # --- between kernel calls -----------------------------------------------------------------------------------------

    def _poll_training(self) -> None:
        self._poll()
        if time.perf_counter() > self.execution.deadline:
            raise _TimeIsOver

    def _poll(self) -> None:
        now = time.perf_counter()
        if now - self._shown < PROGRESS_SECONDS:
            return
        self._shown = now
        execution, cohort, plan = self.execution, self.cohort, self.plan
        train = self.watch.seconds["train"] - self.seconds["train"]
        samples = self._samples(cohort.t) * len(cohort.alive)
        share = execution.share(plan, cohort.t / plan.steps)
        execution.emit(
            Progress(
                cohort=self.index,
                cohorts=self.total,
                epoch=cohort.t / plan.batches,
                epochs=plan.epochs,
                alive=len(cohort.alive),
                diverged=execution.diverged,
                done=execution.done,
                trials=execution.total,
                rate=samples / train if train else 0.0,
                seconds_left=execution.seconds_left(share),
                share=share,
            )
        )


class _TimeIsOver(Exception):  # noqa: N818
    """`max_seconds` is over."""
