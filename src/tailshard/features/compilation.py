"""How loops are compiled, and the one thing that loops cannot say."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile at the first call, keep the machine code on disk, run without the GIL, divide as IEEE does."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Compile as `compiled`, into each caller.

    An array is seven arguments; a call for a handful of numbers would take longer than the numbers do.
    """
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(function))


def _copy(typing: Any, target: Any, at: Any, source: Any, first: Any, number: Any) -> Any:  # noqa: ARG001 - numba calls it with the types of the arguments
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to_array, to_offset, from_array, from_offset, count = arguments
        to_type, _, from_type, *_ = signature.args
        to_data = context.make_array(to_type)(context, builder, to_array).data
        from_data = context.make_array(from_type)(context, builder, from_array).data
        cgutils.raw_memcpy(
            builder,
            builder.gep(to_data, [to_offset]),
            builder.gep(from_data, [from_offset]),
            count,
            context.get_abi_sizeof(context.get_value_type(to_type.dtype)),
        )
        return context.get_dummy_value()

    integer = types.uint64
    return types.void(target, integer, source, integer, integer), generate


copy = cast(Callable[[Any, Any, Any, Any, Any], None], intrinsic(_copy))
"""``copy(target, at, source, first, number)``: copy elements from `source[first]` on to `target[at]` on.

For flat, contiguous arrays of one type that do not overlap; nothing is checked. It is C's memcpy, which
writes large pieces without reading what it overwrites; an assignment of slices does not.
"""
