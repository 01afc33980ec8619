"""The cache of machine code on disk: where it is, what stands in it, and who may compile.

Its folder is named after a hash of all sources that kernels are made of. An entry is one file, which begins with the
digest of what follows: it is unpickled and run only if it is what was written, and a file that is not is set aside.
Only this user may write there, as what stands there is run. Where there is no such folder, or where its disk is full,
kernels are compiled in each process.

Numba's own cache does not see an edited function in another file, keeps an index of each function's files that all
processes change, and runs whatever it finds: an emptied index ended every later run, a flipped bit in machine code
ended it by a signal. A user's own rule, loss or landscape carries in its type the hash of its source, of every module
of the user's that it reaches, and of the constants that its functions read.

There are two locks, in one order. A thread that compiles holds Numba's lock, which the threads of this process share,
and below it the lock of one kernel, so that other processes wait for this kernel and compile others meanwhile. At first
our lock was taken before Numba's by some and after it by others, and two threads waited for each other. Who waits is
told for whom after 5 s, and goes on without the other process once that has brought no new kernel for 120 s. A fork
waits until other threads have compiled what they are at, since their locks would stay held in the child.
"""

import hashlib
import json
import logging
import os
import pickle
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numba
from filelock import BaseFileLock, FileLock, Timeout
from numba.core.caching import _Cache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from fastgd.common.folders import cache_folder, knows_locks
from fastgd.core.linked import rebuilt

_PACKAGE = Path(__file__).parent.parent
_SOURCES = ("core", "user_code", "optimizers", "problems", "engine")  # folders
_DIGEST = hashlib.sha256().digest_size
_log = logging.getLogger("fastgd")

# --- where it is ------------------------------------------------------------------------------------------------------


@cache
def own_source_hash() -> str:
    """Return the hash of this process's sources, as they were when it was first asked for."""
    return source_hash()


def source_hash(package: Path = _PACKAGE, folders: Sequence[str] = _SOURCES) -> str:
    """Return a hash of every source file in folders: by default of those that machine code depends on."""
    digest = hashlib.sha256()
    for file in sorted(file for folder in folders for file in (package / folder).rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _own_cache() -> Path | None:
    return cache_folder(f"kernels-{own_source_hash()}")


CACHE: Path | None = _own_cache()


# --- what stands in it ------------------------------------------------------------------------------------------------


class KernelCache(_Cache):  # type: ignore[misc]
    """Numba's cache of one function: a file for each combination of types.

    Numba's own keeps an index of a function's files, which all processes change, and trusts what it reads.

    Parameters
    ----------
    function : callable
        What is compiled.
    folder : Path
    """

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._function, self._folder = function, folder

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(self._folder)

    def enable(self) -> None:
        """Do nothing: it is always enabled, and nobody disables or flushes it."""

    disable = flush = enable

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for these types, or None: it is not there, or is damaged."""
        target_context.refresh()  # before anything of it is asked for
        path = self.path(sig, target_context.codegen())
        try:
            content = verified(path)
            if not content:
                return None
            stored, code = pickle.loads(content)
            return rebuilt(target_context, code) if stored == sig else None
        except OSError:
            return None
        except Exception as error:  # whatever is wrong with it, it can be compiled anew
            _set_aside(path, str(error))
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code for other processes, where the disk takes it."""
        if not data.library.has_dynamic_globals:  # addresses of this process
            write_verified(self.path(sig, data.codegen), dumps((sig, data._reduce())))

    def path(self, sig: Any, codegen: Any) -> Path:
        """Return the file of the machine code for these types."""
        function = self._function
        closure = tuple(cell.cell_contents for cell in function.__closure__ or ())
        key = (
            (function.__module__, function.__qualname__, str(sig), codegen.magic_tuple(), numba.__version__),
            (sys.version, platform.machine(), function.__code__.co_code, dumps(closure) if closure else b""),
        )
        return self._folder / f"{function.__name__}-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.kernel"


def write_verified(path: Path, content: bytes) -> None:
    """Write a file that `verified` reads, at once or not at all; a full disk costs the file and nothing else."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(_digest(path, content) + content)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def verified(path: Path) -> bytes:
    """Return what was written to a file, or nothing: what stands there now is something else, and was set aside.

    Raises
    ------
    OSError
        It is not there, or cannot be read.
    """
    content = path.read_bytes()
    digest, content = content[:_DIGEST], content[_DIGEST:]
    if digest == _digest(path, content):
        return content
    _set_aside(path, "it is not what was written")
    return b""


def _digest(path: Path, content: bytes) -> bytes:
    """The digest of a file's name and content: a file of another name is another kernel."""
    return hashlib.sha256(path.name.encode() + len(content).to_bytes(8) + content).digest()


def drop_unfinished(process: int) -> None:
    """Delete what a process, which was ended, had written of a file."""
    if CACHE:
        for part in CACHE.glob(f".*.{process}"):
            with suppress(OSError):
                part.unlink(missing_ok=True)


def _set_aside(path: Path, why: str) -> None:
    _log.warning("%s of the kernel cache is damaged (%s): it is set aside and made anew", path, why)
    with suppress(OSError):
        path.replace(path.with_name(f".{path.name}.damaged"))


# --- who may compile --------------------------------------------------------------------------------------------------
#
# A process that compiles a kernel holds a file that stands for this kernel, so that other processes wait for the result
# instead of compiling it too, and compile other kernels meanwhile. No two processes wait for each other: a process that
# holds a kernel asks for those that the kernel calls and for no others, and calls have no circles. Nor do two threads:
# Numba's own lock is taken first, so one thread of a process asks for files at a time.

TOLD_AFTER = 5.0  # seconds of waiting for another process until the user is told
GIVEN_UP_AFTER = 120.0  # seconds without a new kernel, after which the other process is not waited for

_told: set[str] = set()  # processes that the user knows to be waited for
_standing_still: set[str] = set()  # processes that are not waited for any more
_held: set[Path] = set()  # kernels whose locks this process holds
_waits = True


class Busy(Exception):  # noqa: N818
    """Another process compiles a kernel, and this one has something else to do meanwhile."""


@contextmanager
def never_waiting() -> Iterator[None]:
    """Raise Busy in this block in place of waiting for a kernel that another process compiles.

    What a kernel calls is waited for all the same, once its own compiling has begun.
    """
    global _waits
    _waits = False
    try:
        yield
    finally:
        _waits = True


def wait_silently(process: int) -> None:
    """Do not tell the user that a process of this machine is waited for: it compiles for this one."""
    _told.add(_name(process, socket.gethostname()))


@contextmanager
def compiled_once(kernel: Path) -> Iterator[None]:
    """Hold the lock of a kernel, by its file, while it is compiled; where the file is there, nothing needs a lock.

    A process that holds the lock and stands still keeps nobody: after a while the others compile for themselves.
    """
    lock = None if kernel.exists() else _take_lock(kernel)
    if not lock:
        yield
        return
    _held.add(kernel)
    try:
        yield
    finally:
        _held.discard(kernel)
        _give_back(lock)


def _take_lock(kernel: Path) -> BaseFileLock | None:
    """Lock a kernel; None: files cannot be locked here, or the process that holds it stands still."""
    with suppress(OSError):  # the cache is gone, or files cannot be locked: processes may compile the same twice
        if not (folder := _locks_in(kernel.parent)):
            return None
        lock = FileLock(folder / f"{kernel.stem}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not (_waits or _held):
                raise Busy from None
            if not _wait(lock, kernel.parent):
                return None
        _write_holder(lock)
        return lock
    return None


def _give_back(lock: BaseFileLock) -> None:
    """Remove a lock's files and release it.

    A process that opened the file before locks a file that is gone, and may compile beside another one. It does so only
    where no kernel was written, for it looks for the kernel first.
    """
    for file in (_holder_file(lock), Path(lock.lock_file)):
        with suppress(OSError):  # Windows removes no file that is open
            file.unlink(missing_ok=True)
    lock.release()


@cache
def _locks_in(folder: Path) -> Path | None:
    """Return the folder of a cache's locks; None: its files cannot be locked.

    It is not the cache's own, whose time of change says when the last kernel was written.
    """
    locks = folder / "locks"
    locks.mkdir(mode=0o700, exist_ok=True)
    return locks if knows_locks(locks) else None


def _wait(lock: BaseFileLock, folder: Path) -> bool:
    """Wait for a lock of a cache, and tell for whom; return whether it was given."""
    start = moved = time.monotonic()
    seen = folder.stat().st_mtime_ns
    while True:
        with suppress(Timeout):
            lock.acquire(timeout=0.2, poll_interval=0.05)
            return True
        process, since = _holder(lock)
        if process in _standing_still:
            return False
        now, latest = time.monotonic(), folder.stat().st_mtime_ns  # which a new kernel changes
        moved, seen = (now, latest) if latest != seen else (moved, seen)
        if now - moved > GIVEN_UP_AFTER:
            _standing_still.add(process)
            _log.warning("%s: no new kernel for %.0f s, compiling without it", process, GIVEN_UP_AFTER)
            return False
        if now - start > TOLD_AFTER and process not in _told:
            _told.add(process)
            _log.warning("waiting for %s, which compiles kernels%s (%s)", process, since, lock.lock_file)


def _holder_file(lock: BaseFileLock) -> Path:
    return Path(lock.lock_file).with_suffix(".json")


def _write_holder(lock: BaseFileLock) -> None:
    """Write down who holds a lock, for those who wait."""
    holder = {"process": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%H:%M:%S}"}
    with suppress(OSError):
        _holder_file(lock).write_text(json.dumps(holder), encoding="utf-8")


def _name(process: object, host: object) -> str:
    return f"process {process} on {host}"


def _holder(lock: BaseFileLock) -> tuple[str, str]:
    """Return which process holds a lock, and since when, as far as it is known."""
    try:
        found = json.loads(_holder_file(lock).read_text(encoding="utf-8"))
        return _name(found["process"], found["host"]), f" since {found['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it has just begun, or its disk is full
        return "another process", ""


# A thread that compiles would leave its locks held in a child for good: a fork waits until it is done.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
