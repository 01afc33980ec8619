"""Who receives what a run reports: the user's own function, and a display where there is somebody to see it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from fastgd.runs.reporting.events import Event

OnEvent: TypeAlias = Callable[[Event], None]


@contextmanager
def reported(on_event: OnEvent | None, progress: bool) -> Iterator[OnEvent]:
    """Yield what receives a run's events.

    Parameters
    ----------
    on_event : callable, optional
        The user's own; it receives all of them.
    progress : bool
        Whether a terminal or a notebook shows them too.
    """
    receivers = [] if on_event is None else [on_event]

    def emit(event: Event) -> None:
        for receiver in receivers:
            receiver(event)

    if not progress:
        yield emit
        return
    from fastgd.runs.reporting.display import Reporter, errors  # rich takes a moment to load

    where = errors()
    if not (where.is_terminal or where.is_jupyter):
        yield emit
        return
    with Reporter(where) as reporter:
        receivers.insert(0, reporter)
        yield emit
