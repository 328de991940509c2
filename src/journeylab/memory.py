"""Tables of numbers by their address, so that compiled code takes any number of them as one argument.

Numba passes a tuple of arrays element by element into every function that takes it: fifty arrays through sixty
functions took minutes to compile. Here a group of tables (a NamedTuple of numpy arrays) is passed as the address of
its arrays' addresses. In compiled code `group.table[i, j]`, `group.table[i]` and their assignment mean what they mean
for the arrays themselves; a row of a table with several columns is a table of one. There are no bounds checks and no
references are counted: the caller keeps the arrays alive and gives every index a row.

The optimiser is told that two tables never overlap, nor two columns of one (type-based alias analysis), so that what
was read of one is not read again after a write to another: no array may be in two tables.

With numba's compilation disabled the NamedTuples are used as they are.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
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


class Table(types.Type):  # type: ignore[misc]
    """The compiled type of a table, or of a row of one: its elements and columns, and whether nobody writes to it."""

    def __init__(self, name: str, element: Any, columns: int, constant: bool, is_row: bool = False) -> None:
        self.table, self.element, self.columns, self.constant, self.is_row = name, element, columns, constant, is_row
        super().__init__(f"{'Row' if is_row else 'Table'}({name}, {element}, {columns}, {constant})")


class Group(types.Type):  # type: ignore[misc]
    """The compiled type of a group of tables, or of further groups, by name; `within` has where those within begin."""

    def __init__(self, name: str, fields: Sequence[tuple[str, Any]], within: Mapping[str, int]) -> None:
        self.fields = dict(fields)
        self.places = {field: place for place, field in enumerate(self.fields)}
        starts = accumulate(within.values(), initial=len(self.fields))
        self.within = dict(zip(within, starts, strict=False))
        self.size = len(self.fields) + sum(within.values())
        super().__init__(f"Group({name})")


@register_model(Table)
@register_model(Group)
class _Address(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.IntType(64))


def group_type(
    name: str, *, constant: bool, within: Mapping[str, int] | None = None, **fields: tuple[Any, int] | Group
) -> Group:
    """The type of a group whose tables have the given elements and columns.

    Tables of int64 numbers that lie `within` the group itself, behind its addresses, have a fixed length. They are read
    without an address of their own; compiled code has a copy of them.
    """
    made = [
        (field, one if isinstance(one, Group) else Table(f"{name}.{field}", *one, constant))
        for field, one in fields.items()
    ]
    return Group(name, made, within or {})


def addresses(group: Any, kind: Group, *, n: int = 1, shared_out: Collection[str] = ()) -> Any:
    """The addresses of a NamedTuple's arrays, int64, and the numbers within it; the returned array keeps all alive.

    With `n` it is that many groups, one behind the other: of the tables `shared_out` each has its part of the rows, and
    all others are the same for all.

    Raises:
        TypeError: for an array that is not C-contiguous.
        ValueError: for an array within the group of another length.
    """
    if numba.config.DISABLE_JIT:
        parts = {name: np.split(getattr(group, name), n) for name in shared_out}
        return [group._replace(**{name: of[k] for name, of in parts.items()}) for k in range(n)]
    kept, found = [], []
    for name, value in zip(group._fields, group, strict=True):
        one = addresses(value, kind.fields[name]) if isinstance(value, tuple) else value
        if not one.flags.c_contiguous:
            raise TypeError(f"{name} must be C-contiguous")
        kept.append(one)
        found.append(one.ctypes.data)
    table = np.concatenate([np.array(found, np.int64), *(getattr(group, name) for name in kind.within)]).view(_Keeping)
    if len(table) != kind.size:
        raise ValueError(f"{kind} has {kind.size} numbers, not {len(table)}")
    if n > 1:
        table = np.tile(table, n).view(_Keeping)
        for name in shared_out:
            table[kind.places[name] :: kind.size] += np.arange(n) * (getattr(group, name).nbytes // n)
    table.kept = [kept, group]
    return table


class _Keeping(np.ndarray):  # type: ignore[type-arg]
    """An array of addresses that keeps what they point to."""

    kept: list[Any]


def opened(group: Any) -> Any:
    """What a compiled entry point takes for the result of `addresses`."""
    return group if numba.config.DISABLE_JIT else group.ctypes.data


def opener(kind: Group) -> Any:
    """A function of compiled code that takes what `opened` gave for groups of that type, and which of them to open."""
    if numba.config.DISABLE_JIT:
        return lambda groups, k: groups[k]

    @intrinsic
    def open_group(typing_context: Any, address: Any, k: Any) -> Any:
        def generate(_context: Any, builder: Any, _made: Any, arguments: Any) -> Any:
            behind = builder.mul(arguments[1], ir.Constant(ir.IntType(64), 8 * kind.size))
            return builder.add(arguments[0], behind)

        return signature(kind, types.int64, types.int64), generate

    return open_group


def _load(context: Any, builder: Any, element: Any, address: Any, index: Any, *, tag: Any = None) -> Any:
    """Loads an element; without a tag it is one that nobody writes to meanwhile."""
    pointer = builder.inttoptr(address, context.get_data_type(element).as_pointer())
    loaded = builder.load(builder.gep(pointer, [index]))
    if tag is None:
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    else:
        loaded.set_metadata("tbaa", tag)
    return context.data_model_manager[element].from_data(builder, loaded)


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = Group

    def generic_resolve(self, group: Any, name: str) -> Any:
        return group.fields.get(name)


@lower_getattr_generic(Group)  # type: ignore[untyped-decorator]
def _field(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
    if name in kind.within:
        return builder.add(value, ir.Constant(ir.IntType(64), 8 * kind.within[name]))
    return _load(context, builder, types.int64, value, ir.Constant(ir.IntType(64), kind.places[name]))


def _index(index: Any) -> Any:
    """The type of an index as it is compiled: an int64 or a pair of them, whose column may be known."""
    if not isinstance(index, types.BaseTuple):
        return index if isinstance(index, types.Literal) else types.int64
    _, column = index.types
    return types.Tuple((types.int64, column if isinstance(column, types.Literal) else types.int64))


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):  # type: ignore[misc]
    prefer_literal = True

    def generic(self, args: Any, _: Any) -> Any:
        table, index = args
        if not isinstance(table, Table):
            return None
        if isinstance(index, types.BaseTuple) or table.columns == 1 or table.is_row:
            return signature(table.element, table, _index(index))
        row = Table(table.table, table.element, table.columns, table.constant, is_row=True)
        return signature(row, table, types.int64)


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):  # type: ignore[misc]
    prefer_literal = True

    def generic(self, args: Any, _: Any) -> Any:
        table, index, _ = args
        if not isinstance(table, Table):
            return None
        return signature(types.none, table, _index(index), table.element)


def _place(builder: Any, table: Any, index_type: Any, index: Any) -> tuple[Any, Any]:
    """The place of an element behind the table's address, and the tag of what may lie there."""
    place, column = index, index_type if table.is_row or table.columns == 1 else None
    if isinstance(index_type, types.BaseTuple):
        row, within = cgutils.unpack_tuple(builder, index, 2)
        place = builder.add(builder.mul(row, ir.Constant(ir.IntType(64), table.columns)), within)
        column = index_type.types[1]
    root = builder.module.add_metadata(["tables"])
    kind = builder.module.add_metadata([table.table, root, ir.Constant(ir.IntType(64), 0)])
    if isinstance(column, types.Literal):
        name = f"{table.table}/{column.literal_value}"
        kind = builder.module.add_metadata([name, kind, ir.Constant(ir.IntType(64), 0)])
    return place, builder.module.add_metadata([kind, kind, ir.Constant(ir.IntType(64), 0)])


@lower_builtin(operator.getitem, Table, types.Integer)  # type: ignore[untyped-decorator]
@lower_builtin(operator.getitem, Table, types.BaseTuple)  # type: ignore[untyped-decorator]
def _get(context: Any, builder: Any, made: Any, arguments: Any) -> Any:
    table, index_type = made.args
    if isinstance(made.return_type, Table):
        size = context.get_abi_sizeof(context.get_data_type(table.element)) * table.columns
        return builder.add(arguments[0], builder.mul(arguments[1], ir.Constant(ir.IntType(64), size)))
    place, tag = _place(builder, table, index_type, arguments[1])
    return _load(context, builder, table.element, arguments[0], place, tag=None if table.constant else tag)


@lower_builtin(operator.setitem, Table, types.Integer, types.Any)  # type: ignore[untyped-decorator]
@lower_builtin(operator.setitem, Table, types.BaseTuple, types.Any)  # type: ignore[untyped-decorator]
def _set(context: Any, builder: Any, made: Any, arguments: Any) -> Any:
    table, index_type, _ = made.args
    place, tag = _place(builder, table, index_type, arguments[1])
    pointer = builder.inttoptr(arguments[0], context.get_data_type(table.element).as_pointer())
    data = context.data_model_manager[table.element].as_data(builder, arguments[2])
    builder.store(data, builder.gep(pointer, [place])).set_metadata("tbaa", tag)
    return context.get_dummy_value()


def _reader(element: Any) -> Any:
    @intrinsic
    def read(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, made: Any, arguments: Any) -> Any:
            return _load(context, builder, element, arguments[0], arguments[1])

        return signature(element, types.int64, types.int64), generate

    return read


int_at = _reader(types.int64)
"""The int64 element `index` of the array at `address`, in compiled code; nobody writes to it meanwhile."""
float_at = _reader(types.float64)
"""The float64 element `index` of the array at `address`, in compiled code; nobody writes to it meanwhile."""
