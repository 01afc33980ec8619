"""Kernels are compiled under the cache's lock, and where a user's functions do not compile, one message says why."""

from collections.abc import Iterator
from contextlib import contextmanager

from numba.core.errors import NumbaError

from fastgd._jit import compile_lock
from fastgd._user_code import refused_by_compiler
from fastgd.optimizers import Optimizer
from fastgd.problems import Landscape, Loss


@contextmanager
def compiling(*records: Optimizer | Landscape | Loss) -> Iterator[None]:
    """Hold the cache while kernels are compiled that are made of these."""
    try:
        with compile_lock():
            yield
    except NumbaError as error:
        raise refused_by_compiler(error, *records) or error from error
