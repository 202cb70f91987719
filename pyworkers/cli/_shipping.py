"""How functions of one Python reach another: by their text, and what they refer to with them.

Bytecode differs between releases, so a pickle of a function made by the tests' CPython cannot be
read in the browser. Its text can, as long as all that it needs can be named there. What cannot be
shipped soundly is refused with the name of what is in the way.
"""

import ast
import builtins
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any


def as_literal(value: object) -> str:
    """Return the text of a value from which `ast.literal_eval` makes its equal.

    Raises TypeError for anything but numbers, strings, bytes, None, booleans and tuples, lists,
    dicts and sets of these; also for infinities and NaN, which have no literal.
    """
    text = repr(value)
    try:
        same = ast.literal_eval(text) == value
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        same = False
    if not same:
        raise TypeError(f"only plain data travels, and this is none: {text[:200]}")
    return text


def program_of(function: Callable[..., Any]) -> str:
    """Return a program that defines a function under its name, and what it refers to.

    Modules are imported, functions and classes of the same module come along as text, what is from
    elsewhere is imported from there, plain data is copied.

    Raises TypeError for lambdas, closures, methods, callables that are no functions, and for
    functions that refer to anything else; OSError if there is no text of it.
    """
    plain = inspect.unwrap(function)
    if not isinstance(plain, FunctionType) or plain.__name__ == "<lambda>":
        raise TypeError(f"only functions that were made by def can be shipped, not {function!r}")
    found: dict[str, str] = {}
    _define(plain.__name__, plain, plain.__globals__, found)
    return "from __future__ import annotations\n" + "\n".join(found.values())


def _define(name: str, value: Any, space: dict[str, Any], found: dict[str, str]) -> None:
    """Add a definition of a name, behind those of all that it needs."""
    if name in found:
        return
    found[name] = ""  # whoever refers to it from here on is part of a circle
    text = _definition(name, value, space, found)
    del found[name]
    found[name] = text


def _definition(name: str, value: Any, space: dict[str, Any], found: dict[str, str]) -> str:
    if isinstance(value, ModuleType):
        return f"import {value.__name__} as {name}"
    plain = inspect.unwrap(value) if callable(value) else value
    if isinstance(plain, FunctionType | type) and plain.__module__ == space["__name__"]:
        return _text_of(name, plain, space, found)
    home, own = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if home and own.isidentifier():
        return f"from {home} import {own} as {name}"
    try:
        return f"{name} = {as_literal(value)}"
    except TypeError as error:
        raise TypeError(f"cannot ship {name}, which the function refers to: {error}") from None


def _text_of(
    name: str, value: FunctionType | type, space: dict[str, Any], found: dict[str, str]
) -> str:
    if isinstance(value, FunctionType) and value.__code__.co_freevars:
        outer = ", ".join(value.__code__.co_freevars)
        raise TypeError(f"cannot ship {name}, which refers to {outer} of the function around it")
    text = textwrap.dedent(inspect.getsource(value))
    code = compile(text, f"<{name}>", "exec", dont_inherit=True, flags=_LAZY)
    for needed in _free_names(code):
        if needed == name:
            continue
        if needed in space:
            _define(needed, space[needed], space, found)
        elif not hasattr(builtins, needed):
            raise TypeError(f"cannot ship {name}, which refers to {needed}, which is not defined")
    if value.__name__ != name:
        text += f"{name} = {value.__name__}\n"
    return text


# Annotations are not evaluated where the text runs; so they need nothing here either.
_LAZY = 0x1000000  # CO_FUTURE_ANNOTATIONS


def _free_names(code: CodeType) -> Iterator[str]:
    """The global names that some code, and all code within it, reads but does not define."""
    defined = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname == "STORE_NAME"
    }
    for instruction in dis.get_instructions(code):
        if instruction.opname in _READS and instruction.argval not in defined:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from (name for name in _free_names(constant) if name not in _IMPLICIT)


_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_IMPLICIT = {"__name__", "__qualname__", "__module__", "__class__"}
