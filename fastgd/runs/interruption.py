"""Ctrl-C and the like, while lanes are trained: they wait for the end of a step, where the state can be saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Interruption:
    """Whether a signal came; `deliver` hands it to the handler that was there before."""

    def __init__(self) -> None:
        self._received: tuple[int, FrameType | None] | None = None
        self._handlers: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self._received is not None

    def deliver(self) -> None:
        """Do what the signal that came is meant to do: in most programs, raise KeyboardInterrupt."""
        if self._received is not None:
            number, frame = self._received
            self._received = None
            self._handlers[number](number, frame)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note the first signal that comes in the block; a second one does at once what it is meant to do."""
        if threading.current_thread() is not threading.main_thread():  # others cannot set handlers, and get no signals
            yield
            return
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        self._handlers = {number: own for number in numbers if callable(own := signal.getsignal(number))}
        for number in self._handlers:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self.deliver()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = number, frame
        else:
            self._handlers[number](number, frame)
