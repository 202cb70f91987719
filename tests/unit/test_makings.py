"""Functions that travel by value are pickled again when they have changed, and else are not."""

import functools
import gc
import json
import math
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
import pytest

from pyworkers import _codec
from pyworkers._functions import Functions
from pyworkers._makings import are_same, makings


def define(source: str, **names: Any) -> dict[str, Any]:
    """Returns the namespace of a notebook in which a cell was run."""
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    exec(source, namespace)
    return namespace


@pytest.fixture
def pickled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The functions that were pickled so far."""
    seen: list[object] = []
    encode = _codec.encode_function

    def counted(function: Callable[..., Any]) -> Any:
        seen.append(function)
        return encode(function)

    monkeypatch.setattr(_codec, "encode_function", counted)
    return seen


STEADY = """
def closed(k):
    def inner(n: int, /, m: float = 1.5, *, scale=2) -> str:
        "What it does."
        return helper(n) + k + offset + math.sqrt(m) * scale
    return inner
def helper(n): return n if n < 2 else helper(n - 1) + other(n)
def other(n): return helper(n - 1)
offset, pair = 10, (1, ("a", b"b"))
f = closed(3)
"""


def test_a_function_that_has_not_changed_is_pickled_once(pickled: list[object]) -> None:
    """X-07: with what it refers to, be it recursive, a closure, or with an annotation."""
    functions = Functions("inline")
    names = define(STEADY, math=math)
    ids = {functions.register(names["f"]) for _ in range(5)}
    assert len(ids) == len(pickled) == 1
    functions.register(names["helper"])
    functions.register(names["helper"])
    assert len(pickled) == 2


def rebind(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda names: names.__setitem__(name, value)


def attribute(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda names: setattr(names["f"], name, value)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a global": rebind("offset", 11),
    "a global to a list": rebind("offset", [1]),
    "a global that is gone": lambda names: names.pop("offset"),
    "a module": rebind("math", json),
    "what a function calls": rebind("helper", lambda n: -n),
    "what that one calls": rebind("other", abs),
    "code of what it calls": lambda names: setattr(
        names["other"], "__code__", (lambda n: n + 1).__code__
    ),
    "name of the module": rebind("__name__", "elsewhere"),
    "file of the module": rebind("__file__", "here.py"),
    "a cell": lambda names: setattr(names["f"].__closure__[0], "cell_contents", 4),
    "an empty cell": lambda names: names["f"].__closure__[0].__delattr__("cell_contents"),
    "defaults": attribute("__defaults__", (2.5,)),
    "a default by name": lambda names: names["f"].__kwdefaults__.update(scale=3),
    "an annotation": lambda names: names["f"].__annotations__.update(n=str),
    "its text": attribute("__doc__", "What it did."),
    "its name": attribute("__qualname__", "g"),
    "its module": attribute("__module__", "math"),
    "its code": attribute("__code__", define(STEADY.replace("+ k", "- k"))["f"].__code__),
    "an attribute": attribute("mark", 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_function_that_has_changed_is_pickled_again(
    change: Callable[[dict[str, Any]], object], pickled: list[object]
) -> None:
    """X-07: whichever of the things has changed from which its pickle follows."""
    functions = Functions("inline")
    names = define(STEADY, math=math)
    functions.register(names["f"])
    before = cloudpickle.dumps(names["f"], 5)
    change(names)
    functions.register(names["f"])
    assert len(pickled) == 2
    assert cloudpickle.dumps(names["f"], 5) != before


def test_what_may_change_in_itself_is_pickled_each_time() -> None:
    """X-07: nobody would notice that it has changed."""
    local = type("Local", (), {"__module__": "__main__"})
    fake = ModuleType("math")
    values: list[Any] = [[], {}, {1}, ([],), object(), local, local(), fake, json, lambda: json]
    for value in values:
        assert makings(define("def f(): return value", value=value)["f"]) is None, value
    assert makings(functools.wraps(abs)(define("def f(): pass")["f"])) is None
    assert makings(functools.partial(abs)) is None
    assert makings(define("def f(): pass")["f"]) is not None


def test_nothing_is_kept_that_a_user_has_dropped(pickled: list[object]) -> None:
    """X-07: not even by functions that call each other."""
    functions = Functions("inline")
    for n in range(5):
        names = define(STEADY, math=math, big=bytearray(1))
        names["offset"] = n
        functions.register(names["f"])
        functions.register(names["helper"])
        del names
        pickled.clear()
    gc.collect()
    assert len(functions._unchanged) == 0


def test_who_shares_what_is_part_of_a_function() -> None:
    """X-07: two equal functions are not one, nor are two namespaces."""
    source = "def f(): return g() + h()"
    one = define("def g(): return 1")["g"]
    same = define(source, g=one, h=one)
    copy = FunctionType(one.__code__, one.__globals__)
    copy.__annotations__.clear()
    shared, split = makings(same["f"]), makings(define(source, g=one, h=copy)["f"])
    apart = makings(define(source, g=one, h=FunctionType(one.__code__, dict(one.__globals__)))["f"])
    assert shared is not None
    assert split is not None
    assert apart is not None
    assert len({len(shared), len(split)}) == 2
    assert not are_same(split, apart)


def test_a_function_that_called_itself_and_now_names_a_number_has_changed() -> None:
    """X-07"""
    for number in range(3):
        names = define("def f(): return f")
        function = names["f"]
        before = makings(function)
        names["f"] = number
        after = makings(function)
        assert before is not None
        assert after is not None
        assert not are_same(before, after)


def test_modules_that_are_pickled_by_value_are_not_taken_for_granted() -> None:
    """X-07"""
    steady = define("def f(): return 1")["f"]
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        assert makings(steady) is None
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert makings(steady) is not None
