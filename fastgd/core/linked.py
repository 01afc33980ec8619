"""Kernels that others link: LLVM's intermediate code, without machine code of their own.

An inner kernel becomes a part of those that call it by its name, which are optimised and translated as a whole. Numba
would optimise and translate it by itself, too, and those that call it would be optimised from what came of that: a
network's kernels compile in 10 s instead of 16 s, and run as fast. What is called by its address has machine code.
"""

from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult, _LowerResult
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

_KIND = "linked"  # of code in the cache
_called_by_address: set[tuple[Any, tuple[Any, ...]]] = set()


def needs_machine_code(function: Any, kinds: tuple[Any, ...]) -> None:
    """Let a kernel's function, which is to be compiled for these types, be called by its address."""
    _called_by_address.add((function, kinds))


class _LinkedLibrary(JITCodeLibrary):  # type: ignore[misc]
    """Code that is neither optimised nor translated to machine code, unless its address is asked for."""

    _is_translated = False

    def _optimize_final_module(self) -> None:
        """Leave it to those that link it."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        if not self._is_translated:
            self._is_translated = True
            super()._optimize_final_module()
            super()._finalize_final_module()
        return int(super().get_pointer_to_function(name))

    def serialize_using_object_code(self) -> tuple[str, str, bytes]:
        self._ensure_finalized()
        return self.name, _KIND, self._final_module.as_bitcode()


class _Entry:
    """Stands where Numba has a kernel's function for Python."""


@register_pass(mutates_CFG=True, analysis_only=False)
class _LinkedLowering(NativeLowering):  # type: ignore[misc]
    """Numba's lowering of a kernel whose machine code nobody needs."""

    _name = "linked_lowering"

    def run_pass(self, state: Any) -> bool:
        if (state.func_id.func, tuple(state.args)) in _called_by_address:
            return bool(super().run_pass(state))
        context = state.targetctx
        state.library = _LinkedLibrary(context.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        fndesc, call_helper, _, env = state["cr"]
        entry = _Entry()
        context.insert_user_function(entry, fndesc, [state.library])
        state["cr"] = _LowerResult(fndesc, call_helper, cfunc=entry, env=env)
        return True


class LinkedCompiler(Compiler):  # type: ignore[misc]
    """Numba's compiler of inner kernels."""

    def define_pipelines(self) -> Any:
        """Return Numba's passes, with another lowering."""
        pipelines = super().define_pipelines()
        for each in pipelines:
            each.passes = [(_LinkedLowering if step is NativeLowering else step, about) for step, about in each.passes]
            each.finalize()
        return pipelines


def rebuilt(context: Any, code: tuple[Any, ...]) -> CompileResult:
    """Return what was compiled from its form in the cache: of linked code, without machine code."""
    (name, kind, bitcode), fndesc, env, signature, objectmode, lifted, annotation, reload_init, envs = code
    if kind != _KIND:
        return CompileResult._rebuild(context, *code)
    for initialize in reload_init:
        initialize()
    library = _LinkedLibrary(context.codegen(), name)
    library._final_module = llvm.parse_bitcode(bitcode)
    library._finalize_final_module()
    return CompileResult(
        typing_context=context.typing_context,
        target_context=context,
        entry_point=_Entry(),
        typing_error=None,
        type_annotation=annotation,
        signature=signature,
        objectmode=objectmode,
        lifted=lifted,
        fndesc=fndesc,
        library=library,
        call_helper=None,
        environment=env,
        metadata=None,
        reload_init=reload_init,
        referenced_envs=envs,
    )
