"""Functions travel between releases of Python as their text, or are refused."""

import functools
import math
from collections.abc import Callable
from os.path import join as joined
from typing import Any

import pytest

from pyworkers.cli._shipping import as_literal, program_of

FACTOR = 3
OPEN = object()


class Base:
    factor = FACTOR

    def times(self, n: int) -> int:
        return n * self.factor * FACTOR


class Point(Base):
    pass


def called(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return [function(*args)]

    return wrapper


def plain(n: int) -> int:
    return [value * n for value in range(3)][-1]


def with_all(n: int, by: int = FACTOR) -> list[object]:
    nested = {key: math.floor(value) for key, value in [("a", n + 0.5)]}
    return [plain(n), by, nested, Point().times(n), joined("a", "b"), max(1, n)]


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


@called
def decorated(n: int) -> int:
    return n + FACTOR


def annotated(value: "Missing") -> "Missing":  # type: ignore[name-defined] # noqa: F821
    return value


def shipped(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the program of a function makes of it in an empty namespace."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(program_of(function), "<shipped>", "exec"), space)
    return space[function.__name__]  # type: ignore[no-any-return]


def test_a_function_comes_with_what_it_refers_to() -> None:
    assert shipped(plain)(5) == plain(5)
    assert shipped(with_all)(4) == with_all(4)
    assert shipped(even)(10) is True
    assert shipped(decorated)(1) == [4]
    assert shipped(annotated)(1) == 1


def test_a_function_of_a_function_is_shipped_if_it_needs_nothing_of_it() -> None:
    def local(n: int) -> int:
        return plain(n) + 1

    assert shipped(local)(2) == 5


def refers_to_an_object() -> object:
    return OPEN


def refers_to_nothing() -> object:
    return missing  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: 1, "made by def"),
        (Point().times, "made by def"),
        (functools.partial(plain, 1), "made by def"),
        (len, "made by def"),
        (refers_to_an_object, "cannot ship OPEN"),
        (refers_to_nothing, "refers to missing, which is not defined"),
    ],
)
def test_what_cannot_be_shipped_is_refused(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        program_of(function)


def test_a_closure_is_refused() -> None:
    outer = 1

    def closure() -> int:
        return outer

    with pytest.raises(TypeError, match="refers to outer of the function around it"):
        program_of(closure)


@pytest.mark.parametrize(
    "value", [None, True, -3, 2**80, 1.5, "a'\n", b"\0", (1, [2, {"a": {3}}]), [], 1j]
)
def test_plain_data_is_a_literal(value: object) -> None:
    assert eval(as_literal(value)) == value


@pytest.mark.parametrize("value", [object(), math.inf, math.nan, Point, [lambda: 1], range(3)])
def test_anything_else_is_none(value: object) -> None:
    with pytest.raises(TypeError, match="only plain data"):
        as_literal(value)
