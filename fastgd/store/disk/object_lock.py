"""A lock in an object store, which has none: an object that says who writes to a folder, and since when.

Whoever wants to write makes the object, where the store lets only one do so, and refreshes it from a thread. It is
refused while the object is fresh. Where its owner was killed, it grows stale, and the next one takes it over. An owner
that could not refresh it in time, such as a machine that slept, stops before its next commit. What this guarantees, and
what not, is told in docs/reliability.md.
"""

import json
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

from fastgd.common.errors import InputError, InUseError
from fastgd.common.parsing import from_json
from fastgd.common.remote import RemotePath

REFRESH_SECONDS = 15.0
STALE_SECONDS = 120.0  # more than clocks of machines differ
SETTLE_SECONDS = 2.0  # in which all that take over the same stale lock have written to it: the last one has it


class ObjectLock:
    """The lock of a folder in a store; it is not taken yet."""

    def __init__(self, path: RemotePath) -> None:
        self._path, self._owner = path, uuid.uuid4().hex
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, name="fastgd-lock", daemon=True)
        self._lost = False
        self._refreshed = 0.0

    def acquire(self) -> None:
        """Take the lock; InUseError where another process holds it."""
        self._refreshed = time.time()
        try:
            self._path.write_new(self._content())
        except FileExistsError:
            self._take_over()
        if self._holder().get("owner") != self._owner:
            raise self._held_by_another()
        self._thread.start()

    def require_free(self) -> None:
        """Raise InUseError where another process holds the lock; nothing is written."""
        holder = self._holder()
        if holder and time.time() - float(holder["time"]) < STALE_SECONDS:
            raise self._held_by_another()

    def _take_over(self) -> None:
        """Write over a lock that is stale."""
        self.require_free()
        self._path.write_bytes(self._content())
        time.sleep(SETTLE_SECONDS)

    def confirm(self) -> None:
        """Raise InputError where the lock is no longer held, or may not be: it could not be refreshed in time."""
        if self._lost or time.time() - self._refreshed > STALE_SECONDS / 2:  # other clocks stand where a machine sleeps
            raise InputError(
                f"{self._path} could not be refreshed, and another process may write to {self._path.parent}: "
                "what was committed is kept, and the same command goes on from there"
            )

    def release(self) -> None:
        """Let go of the lock; where the store cannot be reached, it grows stale."""
        self._ended.set()
        self._thread.join(REFRESH_SECONDS)  # else it might write the lock again
        with suppress(InputError):
            if self._holder().get("owner") == self._owner:
                self._path.unlink(missing_ok=True)

    def _content(self) -> bytes:
        about = {"owner": self._owner, "time": time.time(), "machine": platform.node(), "process": os.getpid()}
        return json.dumps(about).encode()

    def _holder(self) -> dict[str, Any]:
        """Return what the object says; nothing where there is none, or it says something else."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        with suppress(ValueError):
            found = from_json(content)
            if isinstance(found, dict) and isinstance(found.get("time"), float | int):
                return found
        return {}

    def _held_by_another(self) -> InUseError:
        holder = self._holder()
        age = max(0.0, time.time() - float(holder.get("time", time.time())))
        who = f"process {holder.get('process')} on {holder.get('machine')}, seen {age:.0f} s ago"
        killed = f"if it was killed, its lock ends {STALE_SECONDS:.0f} s after it was last seen"
        return InUseError(self._path.parent, who, killed)

    def _keep_fresh(self) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            begin = time.time()
            with suppress(InputError):  # the store may be reached again before the lock is stale
                if self._holder().get("owner") != self._owner:
                    self._lost = True
                    return
                if not self._ended.is_set():
                    self._path.write_bytes(self._content())
                self._refreshed = begin
