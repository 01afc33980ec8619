"""The only place that compiles: one decorator, with the flags and the cache that every kernel shares.

Numba's cache does not see an edited callee in another file, so the folder is named after a hash of all sources that
kernels are made of. Where nothing is writable the cache moves to a temporary folder, and then is left out.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numba
from filelock import FileLock
from numba.core.caching import FunctionCache

_PACKAGE = Path(__file__).parent
_SOURCES = ("_*.py", "optimizers/*.py", "problems/*.py", "engine/*.py")


def source_hash(package: Path = _PACKAGE) -> str:
    """Return a hash of every source file that machine code depends on."""
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _SOURCES for file in package.glob(pattern)):
        digest.update(file.relative_to(package).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("FASTGD_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen)
    elif sys.platform == "win32":
        yield Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "fastgd"
    elif sys.platform == "darwin":
        yield Path("~/Library/Caches/fastgd").expanduser()
    else:
        yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fastgd"
    yield Path(tempfile.gettempdir()) / f"fastgd-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def _writable_cache() -> Path | None:
    for base in _candidates():
        folder = base / f"kernels-{source_hash()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
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


# One lock for the process: whoever compiles holds it, and takes it again for what is compiled on the way.
_lock: FileLock | nullcontext[None] = FileLock(CACHE / "compile.lock") if CACHE else nullcontext()


@contextmanager
def compile_lock() -> Iterator[None]:
    """Hold the cache while compiling, so that other processes wait for the result instead of compiling it too."""
    with _lock:
        yield


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, which reads, changes and writes its index without a lock."""

    def save_overload(self, sig: Any, data: Any) -> None:
        with compile_lock():
            super().save_overload(sig, data)
