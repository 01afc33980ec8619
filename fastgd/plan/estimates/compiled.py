"""Notes beside the kernels which methods have been compiled, so that a plan can tell what is still to be compiled.

Where a user's functions do not compile, one message says why.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from numba.core.errors import NumbaError

from fastgd.core import cache
from fastgd.optimizers import Optimizer
from fastgd.problems import Landscape, Loss
from fastgd.user_code.checks import refused_by_compiler

_compiled: set[str] = set()  # methods, in this process


@contextmanager
def compiling(*records: Optimizer | Landscape | Loss, method: str = "") -> Iterator[None]:
    """Compile in this block the kernels of a method, which are made of some records, and note that they are there."""
    try:
        yield
    except NumbaError as error:
        raise refused_by_compiler(error, *records) or error from error
    if method:
        note_compiled(method)


def note_compiled(method: str) -> None:
    """Note that the kernels of a method, by whatever name, are compiled."""
    _compiled.add(method)
    if note := _note_of(method):
        with suppress(OSError):  # a full disk: the kernels are not there either
            note.touch()


def is_compiled(method: str) -> bool:
    """Whether the kernels of a method are in this process, or in the cache as far as it was noted."""
    note = _note_of(method)
    return method in _compiled or bool(note and note.exists())


def _note_of(method: str) -> Path | None:
    name = hashlib.sha256(method.encode()).hexdigest()[:32]
    return cache.CACHE / f"{name}.compiled" if cache.CACHE else None
