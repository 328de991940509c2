"""Tables of numbers by their address, so that compiled code takes any number of them as one argument.

Numba passes a tuple of arrays element by element into every function that takes it: fifty arrays through sixty
functions took minutes to compile. Here a group of tables (a NamedTuple of numpy arrays) is passed as the address of
its arrays' addresses. In compiled code `group.table[i, j]`, `group.table[i]` and their assignment mean what they mean
for the arrays themselves; a row of a table with several columns is a table of one. There are no bounds checks and no
references are counted: the caller keeps the arrays alive and gives every index a row.

With numba's compilation disabled the NamedTuples are used as they are.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin, lower_getattr_generic
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import intrinsic, models, register_model

__all__ = ["Group", "addresses", "float_at", "group_type", "int_at", "opened", "opener"]

_PAIR = types.UniTuple(types.int64, 2)


class Table(types.Type):  # type: ignore[misc]
    """The compiled type of a table: its elements, its columns, and whether nobody writes to it meanwhile."""

    def __init__(self, element: Any, columns: int, constant: bool) -> None:
        self.element, self.columns, self.constant = element, columns, constant
        super().__init__(f"Table({element}, {columns}, {constant})")


class Group(types.Type):  # type: ignore[misc]
    """The compiled type of a group of tables, or of further groups, by name."""

    def __init__(self, name: str, fields: Sequence[tuple[str, Any]]) -> None:
        self.fields = dict(fields)
        self.places = {field: place for place, field in enumerate(self.fields)}
        super().__init__(f"Group({name})")


@register_model(Table)
@register_model(Group)
class _Address(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.IntType(64))


def group_type(name: str, *, constant: bool, **fields: tuple[Any, int] | Group) -> Group:
    """The type of a group whose tables have the given elements and columns."""
    made = [(field, one if isinstance(one, Group) else Table(*one, constant)) for field, one in fields.items()]
    return Group(name, made)


def addresses(group: Any) -> Any:
    """The addresses of a NamedTuple's arrays, int64; a nested NamedTuple is kept alive by the returned array's base.

    Raises:
        TypeError: for an array that is not C-contiguous.
    """
    if numba.config.DISABLE_JIT:
        return group
    kept, found = [], []
    for name, value in zip(group._fields, group, strict=True):
        one = addresses(value) if isinstance(value, tuple) else value
        if not one.flags.c_contiguous:
            raise TypeError(f"{name} must be C-contiguous")
        kept.append(one)
        found.append(one.ctypes.data)
    table = np.array(found, np.int64).view(_Keeping)
    table.kept = [kept, group]
    return table


class _Keeping(np.ndarray):  # type: ignore[type-arg]
    """An array of addresses that keeps what they point to."""

    kept: list[Any]


def opened(group: Any) -> Any:
    """What a compiled entry point takes for the result of `addresses`."""
    return group if numba.config.DISABLE_JIT else group.ctypes.data


def opener(kind: Group) -> Any:
    """A function of compiled code that takes what `opened` gave for a group of that type."""
    if numba.config.DISABLE_JIT:
        return lambda group: group

    @intrinsic
    def open_group(typing_context: Any, address: Any) -> Any:
        return signature(kind, types.int64), lambda _context, _builder, _made, arguments: arguments[0]

    return open_group


def _load(context: Any, builder: Any, element: Any, address: Any, index: Any, *, constant: bool) -> Any:
    pointer = builder.inttoptr(address, context.get_data_type(element).as_pointer())
    loaded = builder.load(builder.gep(pointer, [index]))
    if constant:
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return context.data_model_manager[element].from_data(builder, loaded)


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = Group

    def generic_resolve(self, group: Any, name: str) -> Any:
        return group.fields.get(name)


@lower_getattr_generic(Group)  # type: ignore[untyped-decorator]
def _field(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
    place = ir.Constant(ir.IntType(64), kind.places[name])
    return _load(context, builder, types.int64, value, place, constant=True)


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, _: Any) -> Any:
        table, index = args
        if not isinstance(table, Table):
            return None
        if isinstance(index, types.BaseTuple):
            return signature(table.element, table, _PAIR)
        row = table.element if table.columns == 1 else Table(table.element, 1, table.constant)
        return signature(row, table, types.int64)


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, _: Any) -> Any:
        table, index, _ = args
        if not isinstance(table, Table):
            return None
        return signature(types.none, table, _PAIR if isinstance(index, types.BaseTuple) else types.int64, table.element)


def _place(builder: Any, table: Any, index_type: Any, index: Any) -> Any:
    if not isinstance(index_type, types.BaseTuple):
        return index
    row, column = cgutils.unpack_tuple(builder, index, 2)
    return builder.add(builder.mul(row, ir.Constant(ir.IntType(64), table.columns)), column)


@lower_builtin(operator.getitem, Table, types.int64)  # type: ignore[untyped-decorator]
@lower_builtin(operator.getitem, Table, _PAIR)  # type: ignore[untyped-decorator]
def _get(context: Any, builder: Any, made: Any, arguments: Any) -> Any:
    table, index_type = made.args
    if isinstance(made.return_type, Table):
        size = context.get_abi_sizeof(context.get_data_type(table.element)) * table.columns
        return builder.add(arguments[0], builder.mul(arguments[1], ir.Constant(ir.IntType(64), size)))
    place = _place(builder, table, index_type, arguments[1])
    return _load(context, builder, table.element, arguments[0], place, constant=table.constant)


@lower_builtin(operator.setitem, Table, types.int64, types.Any)  # type: ignore[untyped-decorator]
@lower_builtin(operator.setitem, Table, _PAIR, types.Any)  # type: ignore[untyped-decorator]
def _set(context: Any, builder: Any, made: Any, arguments: Any) -> Any:
    table, index_type, _ = made.args
    place = _place(builder, table, index_type, arguments[1])
    pointer = builder.inttoptr(arguments[0], context.get_data_type(table.element).as_pointer())
    data = context.data_model_manager[table.element].as_data(builder, arguments[2])
    builder.store(data, builder.gep(pointer, [place]))
    return context.get_dummy_value()


def _reader(element: Any) -> Any:
    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, made: Any, arguments: Any) -> Any:
            return _load(context, builder, element, arguments[0], arguments[1], constant=True)

        return signature(element, types.int64, types.int64), generate

    return read


int_at = _reader(types.int64)
"""The int64 element `index` of the array at `address`, in compiled code; nobody writes to it meanwhile."""
float_at = _reader(types.float64)
"""The float64 element `index` of the array at `address`, in compiled code; nobody writes to it meanwhile."""
