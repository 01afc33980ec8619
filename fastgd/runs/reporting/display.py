"""A run's events on standard error: two live lines on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from fastgd.common.escape import for_terminal
from fastgd.common.numbers import amount, count, number, seconds
from fastgd.runs.reporting.events import (
    CohortStarted,
    Compiling,
    Event,
    Loading,
    Planned,
    Progress,
    Retracing,
    Searching,
    Solving,
    Surveying,
    Waiting,
    Warning_,
)

if TYPE_CHECKING:
    from fastgd.plan.plan import PlanSummary

LINE_EVERY = 5.0  # seconds between plain lines
PIPE_WIDTH = 200  # a pipe has no width: wide enough for every table


class _Output(Console):
    """A console that prints text as it is, also text that comes from files, whatever that would do to a terminal.

    Its reader may be gone: progress that nobody reads is left out, other output is an error.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text, of a line or a table's cell, without anything in it that does not print."""
        return super().render_str(for_terminal(text), **options)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        if not self.stderr:
            raise


def console(stderr: bool = False) -> Console:
    """Return the console of standard output, or of standard error."""
    made = _Output(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and not made.is_jupyter:
        made.width = PIPE_WIDTH
    return made


def errors() -> Console:
    """Return the console of standard error."""
    return console(stderr=True)


def _is_live(where: Console) -> bool:
    """Whether lines that stand there can be replaced; notebooks need a package of their own for it."""
    if where.is_jupyter:
        return find_spec("ipywidgets") is not None
    return where.is_terminal and not where.is_dumb_terminal


class Reporter:
    """Renders events; use it as a context manager, and hand it to `fastgd.run` as `on_event`.

    Parameters
    ----------
    console : Console, optional
        Default: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or errors()
        self._is_live = _is_live(self._console)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        self._task = self._bar.add_task("starting", total=1.0, left="")
        self._detail = Text(style="dim")
        self._live = Live(Group(self._bar, self._detail), console=self._console, transient=True)
        self._last_line = float("-inf")
        self._compiled: set[str] = set()
        self.cohorts = 0  # that were started
        self.progress: Progress | None = None  # the last one
        self.waits = False  # whether another process is waited for

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Render an event."""
        waited, self.waits = self.waits, isinstance(event, Waiting)
        if waited and not self.waits:
            self._detail.plain = ""
        match event:
            case Waiting() if self._is_live or not waited:
                self._wait(event)
            case Loading(dataset):
                self._say(f"loading {dataset}")
            case Planned(summary):
                self._console.print(f"planned {_planned(summary)}: {summary.takes}", soft_wrap=True)
            case Searching(cost):
                self._console.print(f"all rounds of the search: {cost.in_words()}", soft_wrap=True)
            case Compiling(what) if what not in self._compiled:
                self._compiled.add(what)
                self._say(f"compiling {what} (or loading it from the cache)")
            case CohortStarted():
                self.cohorts += 1
            case Progress():
                self.progress = event
                self._advance(event)
            case Surveying(problem, done, points):
                self._show_part(f"error surface of {problem}", f"{done:,} of {points:,} points", done / points)
            case Retracing(trial, step, steps):
                self._show_part(f"running trial {trial} again", f"{step:,} of {steps:,} steps", step / steps)
            case Solving(problem, l2, split, of_folds):
                kind = "fold" if of_folds else "split_seed"
                about = [f"l2 {number(l2)}" if l2 else "", "" if split is None else f"{kind} {split}"]
                self._say(", ".join(filter(None, [f"solving {problem}", *about])))
            case Warning_(message):
                self._console.print(f"note: {message}", soft_wrap=True)

    def _say(self, text: str) -> None:
        if self._is_live:
            self._bar.update(self._task, description=for_terminal(text), left="")
        else:
            self._console.print(text, soft_wrap=True)

    def _wait(self, event: Waiting) -> None:
        who = f" ({event.writer})" if event.writer else ""
        stored = "" if event.trials is None else f"{count(event.trials, 'trial')} stored"
        detail = [f"it writes to {event.folder}{who}", event.killed, stored]
        if self._is_live:
            detail.append(f"for {seconds(event.seconds)}")
            self._show_part("waiting for another process", for_terminal("; ".join(filter(None, detail))), 0.0)
        else:
            self._say("waiting for another process: " + "; ".join(filter(None, detail)))

    def _advance(self, event: Progress) -> None:
        how_far = f"{event.unit} {number(event.epoch, 4)}/{number(event.epochs, 4)}"
        where = f"cohort {event.cohort + 1}/{event.cohorts}, {how_far}"
        left = "" if event.seconds_left is None else f"{seconds(event.seconds_left)} left"
        detail = f"{event.alive:,} alive, {event.diverged:,} diverged, {event.done:,} of {event.trials:,} trials done"
        if event.rate:
            detail += f", {amount(event.rate)} samples x lanes/s"
        if self._is_live:
            self._bar.update(self._task, description=where, completed=event.share, left=left)
            self._detail.plain = detail
        else:
            self._line(": ".join((where, ", ".join(filter(None, (detail, left))))))

    def _show_part(self, where: str, detail: str, share: float) -> None:
        """Show how far something is that has no cohort."""
        if self._is_live:
            self._bar.update(self._task, description=for_terminal(where), completed=share, left="")
            self._detail.plain = detail
        else:
            self._line(f"{where}: {detail}")

    def _line(self, text: str) -> None:
        """Print a line, if the last one is some seconds old."""
        if time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            self._console.print(text, soft_wrap=True)


def _planned(summary: PlanSummary) -> str:
    """Return how many trials a study has, and in how many cohorts those of them are that run now."""
    trials, cohorts = summary.left
    some = "" if trials == summary.trials else f", of which {trials:,} are to run"
    where = f" in {count(cohorts, 'cohort')}" if trials else ""
    return f"{count(summary.trials, 'trial')}{some}{where}"
