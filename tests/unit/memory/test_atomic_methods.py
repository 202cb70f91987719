"""The atomic methods of a shared array."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import SharedArray
from pyworkers._shared_array import CODES
from tests.unit.memory.tools import FLOATS, listed

pytestmark = pytest.mark.timeout(60)


INTEGERS = [name for name in CODES if "int" in name]


def range_of(name: str) -> "np.iinfo[Any]":
    return np.iinfo(name)


def of_type(name: str) -> st.SearchStrategy[int]:
    """Integers of a type, often near its ends."""
    low, high = int(range_of(name).min), int(range_of(name).max)
    return st.integers(low, high) | st.sampled_from([low, low + 1, high - 1, high, 0, 1])


@pytest.mark.parametrize("name", INTEGERS)
@given(st.data())
def test_adding_goes_around_the_ends_of_a_type_as_in_numpy(name: str, data: st.DataObject) -> None:
    made, model = SharedArray(2, name), np.zeros(2, name)
    for value in data.draw(st.lists(of_type(name), max_size=4)):
        before = int(model[1])
        model += np.array([0, value], name)
        assert made.add(-1, value) == before
    assert listed(made) == model.tolist()


@pytest.mark.parametrize("name", INTEGERS)
@given(st.data())
def test_an_element_is_replaced_only_if_it_is_what_was_expected(
    name: str, data: st.DataObject
) -> None:
    first, expected, value = (data.draw(of_type(name)) for _ in range(3))
    made = SharedArray((2, 2), name)
    made.store((1, 0), first)
    assert made.load((1, 0)) == made[1, 0] == first
    assert made.compare_exchange((1, 0), expected, value) == first
    assert made.load((-1, 0)) == (value if first == expected else first)
    assert made.compare_exchange((1, 0), made[1, 0], value) in (first, value)
    assert listed(made) == [[0, 0], [value, 0]]


WRITES: dict[str, Callable[[SharedArray, Any], object]] = {
    "assignment": lambda made, value: made.__setitem__(0, value),
    "store": lambda made, value: made.store(0, value),
    "expect": lambda made, value: made.compare_exchange(0, value, 0),
    "exchange": lambda made, value: made.compare_exchange(0, 0, value),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("name", INTEGERS)
def test_an_integer_that_its_type_does_not_hold_is_refused(
    name: str, write: Callable[[SharedArray, Any], object]
) -> None:
    made = SharedArray(1, name)
    for value in (int(range_of(name).min) - 1, int(range_of(name).max) + 1, 2**80):
        with pytest.raises(OverflowError) as raised:
            write(made, value)
        assert str(raised.value) == f"{value} is out of range for {name}"
    for other in (1.0, "1", None):
        with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
            write(made, other)
    assert made[0] == 0


@given(st.integers(), st.integers(-(2**70), 2**70))
def test_adding_wraps_around_whatever_is_added(start: int, value: int) -> None:
    for name in INTEGERS:
        bits = np.iinfo(name).bits
        first = int(np.array(start % 2**bits, f"uint{bits}").astype(name))
        made = SharedArray(1, name)
        made[0] = first
        assert made.add(0, value) == first
        assert (made[0] - first - value) % 2**bits == 0
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        made.add(0, cast("int", 1.0))


ATOMIC: dict[str, Callable[[SharedArray, Any], object]] = {
    "load": lambda made, index: made.load(index),
    "store": lambda made, index: made.store(index, 1),
    "add": lambda made, index: made.add(index, 1),
    "compare_exchange": lambda made, index: made.compare_exchange(index, 0, 1),
}


@pytest.mark.parametrize("method", ATOMIC.values(), ids=ATOMIC)
@pytest.mark.parametrize("name", FLOATS)
def test_atomic_methods_are_for_integers(
    name: str, method: Callable[[SharedArray, Any], object]
) -> None:
    with pytest.raises(TypeError) as raised:
        method(SharedArray(1, name), 0)
    assert str(raised.value) == f"atomic methods need an array of integers, not of {name}"


@pytest.mark.parametrize("method", ATOMIC.values(), ids=ATOMIC)
def test_atomic_methods_refuse_an_index_that_is_out_of_range(
    method: Callable[[SharedArray, Any], object],
) -> None:
    made = SharedArray((2, 3), "int32")
    for index in ((2, 0), (0, 3), (-3, 0)):
        with pytest.raises(IndexError, match=r"is out of range for <SharedArray \(2, 3\)"):
            method(made, index)
    with pytest.raises(IndexError, match="takes 2 indices, or a slice of rows: 1"):
        method(made, 1)
    assert listed(made) == [[0] * 3] * 2
