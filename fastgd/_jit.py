"""The only place that compiles: one decorator, with the flags and the cache that every kernel shares.

Numba's cache does not see an edited callee in another file, so the folder is named after a hash of all sources that
kernels are made of. Where nothing is writable the cache moves to a temporary folder, and then is left out; where the
disk is full, a kernel stays out of it.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock
from numba.core.caching import FunctionCache

from fastgd._errors import InputError
from fastgd._system import expanded, knows_locks, temporary_folder

_PACKAGE = Path(__file__).parent
_SOURCES = ("_*.py", "optimizers/*.py", "problems/*.py", "engine/*.py")


def source_hash(package: Path = _PACKAGE) -> str:
    """Return a hash of every source file that machine code depends on."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _SOURCES for file in package.glob(pattern)):
        digest.update(file.relative_to(package).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _candidates() -> Iterator[Callable[[], Path]]:
    if chosen := os.environ.get("FASTGD_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR"):
        yield lambda: expanded(chosen)
    elif sys.platform == "win32":
        yield lambda: expanded(os.environ.get("LOCALAPPDATA", "~")) / "fastgd"
    elif sys.platform == "darwin":
        yield lambda: expanded("~/Library/Caches/fastgd")
    else:
        yield lambda: expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fastgd"
    yield temporary_folder


def _writable_cache() -> Path | None:
    for candidate in _candidates():
        # no home folder, no temporary one, no right to write there: each is a reason to try the next
        with suppress(OSError, InputError):
            folder = candidate().absolute() / f"kernels-{source_hash()}"
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    return None


CACHE: Path | None = _writable_cache()


def jit(function: Callable[..., Any] | None = None, *, parallel: bool = False, inline: str = "never") -> Any:
    """Compile a kernel on its first call, or load it from the cache.

    `error_model="numpy"` lets divisions vectorise. There is no fast-math: divergence is found by NaN and infinity, and
    products are contracted where vectors are added (`_vectors.py`), not where LLVM happens to see it.

    Parameters
    ----------
    function : callable
    parallel : bool
        Whether `prange` runs on all threads.
    inline : {"never", "always"}
        Numba's own inlining, before types, which says nothing about speed: LLVM inlines anyway. A function that is
        compiled by itself is optimised again with each that calls it, so where one driver calls many large functions,
        inlining them halves its compile time.
    """
    if function is None:
        return lambda f: jit(f, parallel=parallel, inline=inline)
    if numba.config.DISABLE_JIT:
        return _NotCompiled()
    kernel = numba.njit(function, error_model="numpy", parallel=parallel, inline=inline, nogil=True)
    kernel.get_call_template = _without_literals(kernel.get_call_template)
    if CACHE:
        previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(CACHE)
        try:
            kernel._cache = _Cache(function)
        finally:
            numba.config.CACHE_DIR = previous
    return kernel


def _without_literals(template: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel once for all whole numbers that other kernels pass, where Numba would for each 0 and 1 anew."""

    def of_types(args: Any, kws: Any) -> Any:
        return template(
            tuple(map(numba.types.unliteral, args)), {name: numba.types.unliteral(kind) for name, kind in kws.items()}
        )

    return of_types


def require_compiler() -> None:
    """Raise InputError where Numba's compiler is switched off: kernels are not Python that could run without it."""
    if numba.config.DISABLE_JIT:
        raise InputError(
            "fastgd needs Numba's compiler to compute anything, and NUMBA_DISABLE_JIT switches it off: unset it "
            "(results can be read without it)"
        )


class _NotCompiled:
    """Stands for a kernel where the compiler is switched off: modules load, and the first use says what is wrong."""

    def __call__(self, *_: Any, **__: Any) -> None:
        require_compiler()

    compile = __call__


def _cache_lock() -> AbstractContextManager[Any]:
    """The cache's lock; where files cannot be locked there is none, and processes may compile the same twice."""
    with suppress(OSError):
        if CACHE and knows_locks(CACHE):
            return FileLock(CACHE / "compile.lock")
    return nullcontext()


# One lock for the process: whoever compiles holds it, and takes it again for what is compiled on the way.
_lock = _cache_lock()


@contextmanager
def compile_lock() -> Iterator[None]:
    """Hold the cache while compiling, so that other processes wait for the result instead of compiling it too."""
    require_compiler()
    with _lock:
        yield


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, which reads, changes and writes its index without a lock."""

    def save_overload(self, sig: Any, data: Any) -> None:
        with compile_lock(), suppress(OSError):
            super().save_overload(sig, data)
