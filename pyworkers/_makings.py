"""What the pickle of a function that travels by value follows from.

Owns the rule by which a function is known to be what it was, so that it need not be pickled again:
everything that cloudpickle puts into its pickle is collected, and must be the very same objects as
the last time. That says enough only of what cannot change in itself: numbers, texts and tuples of
them, what is imported by name, and functions made of such. A function that refers to anything else,
a list, an instance, a class of a notebook, has no such list, and is pickled each time. Nor has one
that refers to a package, as the pickle names those of its modules that are imported just then.
"""

import operator
import sys
from collections.abc import Callable
from types import CodeType, EllipsisType, FunctionType, ModuleType
from typing import Any, Final

import cloudpickle

from pyworkers._codec import is_importable

_CONSTANT: Final = frozenset(
    {int, float, complex, bool, str, bytes, type(None), EllipsisType, CodeType}
)
_OF_NAMESPACES: Final = ("__package__", "__name__", "__path__", "__file__")
"""What cloudpickle takes along of each namespace."""
_MISSING: Final = object()
_MOST: Final = 100
"""Functions that refer to more others are not worth the look."""
_NUMBERS: Final = [object() for _ in range(2 * _MOST + 2)]
"""Stand for the functions and namespaces that have been met: no number, which could be a value."""


class _MayChangeError(Exception):
    """Something can become another without becoming another object."""


def makings(function: Callable[..., Any]) -> list[object] | None:
    """Returns all that the pickle of a function follows from; None if that may change unnoticed."""
    if type(function) is not FunctionType or cloudpickle.list_registry_pickle_by_value():
        return None
    found: list[object] = []
    try:
        _add_function(found, function, {})
    except Exception:  # ours; or what an annotation raised, of which the pickler will tell
        return None
    return found


def are_same(one: list[object], other: list[object]) -> bool:
    """Says whether two functions with such makings have equal pickles."""
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _add_function(found: list[object], function: FunctionType, seen: dict[int, int]) -> None:
    code, names = function.__code__, function.__globals__
    if len(seen) > _MOST or function.__dict__:
        raise _MayChangeError
    # What is one object stays one in the pickle: who shares what is part of it.
    seen[id(function)] = len(seen)
    found += (_NUMBERS[seen.setdefault(id(names), len(seen))], code)
    values: list[Any] = [
        function.__name__,
        function.__qualname__,
        function.__module__,
        function.__doc__,
        function.__defaults__,
    ]
    for table in (function.__kwdefaults__, function.__annotations__):
        if table:
            found += table
            values += table.values()
        found.append(_MISSING)
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # it is empty
            values.append(_MISSING)
    values += [names.get(name, _MISSING) for name in (*_OF_NAMESPACES, *_names(code))]
    for value in values:
        if type(value) in _CONSTANT or value is _MISSING:
            found.append(value)
        else:
            _add_value(found, value, seen)


def _names(code: CodeType) -> list[str]:
    """Returns the names of all globals that code refers to, and of attributes."""
    names = [*code.co_names]
    for constant in code.co_consts:
        if type(constant) is CodeType:
            names += _names(constant)
    return names


def _add_value(found: list[object], value: Any, seen: dict[int, int]) -> None:
    kind = type(value)
    if kind is FunctionType and not is_importable(value):
        if id(value) in seen:
            found.append(_NUMBERS[seen[id(value)]])
        else:
            _add_function(found, value, seen)
        return
    if kind is tuple:
        _check_constant(value)
    elif kind is ModuleType:
        if hasattr(value, "__path__") or sys.modules.get(value.__name__) is not value:
            raise _MayChangeError
    elif not isinstance(value, (type, FunctionType)) or not is_importable(value):
        raise _MayChangeError
    found.append(value)


def _check_constant(value: Any) -> None:
    if type(value) is tuple:
        for item in value:
            _check_constant(item)
    elif type(value) not in _CONSTANT:
        raise _MayChangeError
