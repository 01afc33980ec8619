"""The only place that compiles: one decorator, with the flags and the cache that every kernel shares.

`core/compile.py` is the only place that names Numba's decorator. Whole numbers that one kernel passes to another are
never compile-time constants (Numba would compile a callee anew for each 0 and 1), a driver's large functions are
inlined before types, and others call kernels by address: 22 s became 6 s. What is called by other kernels alone is then
linked into them as it is (`core/linked.py`). Kernels are compiled before a cohort starts, and counted as `compile` in
the timings.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.core.sigutils import normalize_signature

from fastgd.common.errors import InputError
from fastgd.core import cache
from fastgd.core.linked import LinkedCompiler


def jit(
    function: Callable[..., Any] | None = None, *, parallel: bool = False, inline: str = "never", inner: bool = False
) -> Any:
    """Compile a kernel on its first call, or load it from the cache.

    `error_model="numpy"` lets divisions vectorise. There is no fast-math: divergence is found by NaN and infinity, and
    products are fused into additions where vectors are added (`core/vectors.py`), not where LLVM finds it convenient.

    Kernels make no arrays and return none of their own, so Numba need not count references: a call that is given eight
    arrays would cost 100 ns more, and twice the time to compile.

    Parameters
    ----------
    function : callable
    parallel : bool
        Whether `prange` runs on all threads.
    inline : {"never", "always", "late"}
        "always": Numba's own inlining, done before types are known, which saves a large function with one caller a
        compilation of its own.
        "late": LLVM inlines it wherever it is called. Without it LLVM decides, and a call passes each array as seven
        numbers on the stack: for what is done once a step in less than 100 ns.
    inner : bool
        Whether kernels alone call it, by its name or its address: it is compiled as `core/linked.py` says, and without
        the function that takes a kernel's arguments from Python, a sixth of the code and a tenth of the time.
    """
    if function is None:
        return lambda f: jit(f, parallel=parallel, inline=inline, inner=inner)
    if numba.config.DISABLE_JIT:
        return _NotCompiled(function)
    how = {"error_model": "numpy", "parallel": parallel, "nogil": True, "_nrt": False}
    how |= {"inline": "always" if inline == "always" else "never", "forceinline": inline == "late"}
    how |= {"pipeline_class": LinkedCompiler} if inner else {}
    kernel = numba.njit(function, **how, no_cfunc_wrapper=True, no_cpython_wrapper=inner)
    kernel.get_call_template = _without_literals(kernel.get_call_template)
    if cache.CACHE:
        kernel._cache = cache.KernelCache(function, cache.CACHE)
        kernel.compile = _in_one_process(kernel)
    if inner:
        _hide_from_python(kernel)
    return kernel


def _in_one_process(kernel: Any) -> Callable[..., Any]:
    """Return the kernel's `compile`, of which other processes wait for the result instead of compiling it too."""
    compile_it = kernel.compile

    def compile_or_wait(signature: Any) -> Any:
        with global_compiler_lock:
            _import_arrays()
            if tuple(normalize_signature(signature)[0]) in kernel.overloads:
                return compile_it(signature)
            with cache.compiled_once(kernel._cache.path(signature, kernel.targetctx.codegen())):
                return compile_it(signature)

    return compile_or_wait


def _hide_from_python(kernel: Any) -> None:
    """Refuse calls of a kernel from Python, which would end the process: there is nothing to take their arguments."""

    def keep(compiled: Any) -> None:
        kernel.overloads[tuple(compiled.signature.args)] = compiled  # and not where Python looks

    def refuse(*_: Any) -> None:
        raise TypeError(f"{kernel.__name__} is an inner kernel: kernels call it, and Python does not")

    kernel.add_overload, kernel._compile_for_args = keep, refuse


@lru_cache(1)
def _import_arrays() -> None:
    """Import what Numba knows of arrays, without scipy.linalg: to load any kernel, Numba would import that, too.

    It asks whether there is a BLAS, which kernels do not call; there is one, as fastgd needs SciPy. Whoever compiles a
    product of matrices makes Numba look again.
    """
    from numba.np import linalg

    look = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        linalg.ensure_blas = look


def _without_literals(template: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel once for all whole numbers: Numba would compile it again for each literal that kernels pass."""

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

    def __init__(self, function: Callable[..., Any]) -> None:
        self.py_func = function

    def __call__(self, *_: Any, **__: Any) -> None:
        require_compiler()

    compile = __call__
