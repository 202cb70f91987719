"""Shared arrays in mode inline: numbers as numpy has them, and the memory that they lie in.

Every test also says that all memory is free again when it is over.
"""

import asyncio
import copy
import ctypes
import gc
import pickle
import struct
from array import array
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import (
    ArenaStatistics,
    ModeError,
    PayloadError,
    SharedArray,
    WorkerPool,
    _codec,
    _shared_array,
)
from pyworkers._arena import HUB, LocalArena, LocalCells, SharedArena
from pyworkers._hub import hub_for
from pyworkers._shared_array import CODES
from pyworkers._store import ArenaStore, SendingStore

pytestmark = pytest.mark.timeout(60)

INTEGERS = [name for name in CODES if "int" in name]
FLOATS = [name for name in CODES if "float" in name]

here: dict[str, Any] = {}
"""What tasks keep in this interpreter, for others and for their test."""


def memory() -> ArenaStatistics:
    found = WorkerPool().memory()
    assert found is not None
    return found


def store() -> ArenaStore:
    found = hub_for("inline").store
    assert isinstance(found, ArenaStore)
    return found


def blocks() -> int:
    """How many blocks this test has in use, once all garbage is gone."""
    gc.collect()
    return len(store().attached() - others)


others: set[int] = set()
"""Blocks of tests that failed, whose variables are still there to be looked at."""


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Has the garbage collector pass by what was there before these tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    others.clear()
    others.update(store().attached())
    yield
    here.clear()
    assert blocks() == 0


def shared(values: Any) -> SharedArray:
    """A shared array with the shape, type and numbers of one of numpy's."""
    result = SharedArray(values.shape, values.dtype)
    result.write(values)
    return result


def listed(found: SharedArray | memoryview) -> Any:
    """The numbers of an array or a view, in lists."""
    return (found.read() if isinstance(found, SharedArray) else found).tolist()


def numbers(shape: tuple[int, ...], dtype: str = "int32") -> "np.ndarray[Any, Any]":
    """1, 2, 3 and so on."""
    return np.arange(1, np.prod(shape) + 1).astype(dtype).reshape(shape)


# What an array is made of


@pytest.mark.parametrize("name", CODES)
def test_a_new_array_holds_zeros_of_its_type(name: str) -> None:
    made = SharedArray((2, 3), name)
    model = np.zeros((2, 3), name)
    assert (made.dtype, made.shape, made.ndim) == (name, model.shape, model.ndim)
    assert (made.size, made.nbytes, len(made)) == (model.size, model.nbytes, len(model))
    assert listed(made) == model.tolist()
    assert np.asarray(made).dtype == model.dtype
    assert type(made[0, 0]) is type(model[0, 0].item())


def test_numbers_are_of_type_float64_if_nothing_else_is_asked_for() -> None:
    assert SharedArray(3).dtype == "float64"


@pytest.mark.parametrize("size", [1, 2**20 - 1, 2**20, 2**21 + 1])
def test_memory_that_was_used_before_holds_zeros_too(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(arena: LocalArena, length: int) -> int:
        offset = fresh(arena, length)
        arena.write(offset, 0, b"\xff" * length)
        return offset

    fresh = LocalArena.allocate
    monkeypatch.setattr(LocalArena, "allocate", allocate)
    assert bytes(SharedArray(size, "uint8").read()) == bytes(size)


@pytest.mark.parametrize("shape", [4, (4,), [4], np.int64(4), (np.uint8(4),), array("b", [4])])
def test_a_shape_is_a_length_or_a_sequence_of_lengths(shape: Any) -> None:
    assert SharedArray(shape).shape == (4,)


@pytest.mark.parametrize("shape", [0, (0,), (0, 3), (3, 0), (2, 0, 3)])
def test_an_array_without_numbers_is_one_too(shape: Any) -> None:
    empty = SharedArray(shape, "int32")
    assert (empty.size, empty.nbytes) == (0, 0)
    assert len(empty) == empty.shape[0]
    assert listed(empty) == []
    assert empty.read().format == "i"
    empty.write([])
    empty.write(np.empty(0, "int32"))
    empty[:] = []
    with empty.checkout() as view:
        assert view.nbytes == 0


@pytest.mark.parametrize("shape", [-1, (2, -1), (), []])
def test_a_shape_without_lengths_or_with_a_negative_one_is_refused(shape: Any) -> None:
    with pytest.raises(ValueError, match="shape must be lengths of 0 or more, not ") as raised:
        SharedArray(shape)
    assert str(raised.value).endswith(f"not {shape!r}")


@pytest.mark.parametrize("shape", [3.0, "3", (2, 1.5), None])
def test_a_length_that_is_no_integer_is_refused(shape: Any) -> None:
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        SharedArray(shape)


@pytest.mark.parametrize("prefix", ["", "@", "=", "<"])
@pytest.mark.parametrize("code", [*CODES.values(), "l", "L"])
def test_a_type_may_be_named_by_its_code_in_struct(code: str, prefix: str) -> None:
    made = SharedArray(1, prefix + code)
    assert made.nbytes == struct.calcsize(prefix + code)
    assert made.dtype.startswith("uint") == code.isupper()


@pytest.mark.parametrize("name", CODES)
def test_a_type_may_be_given_as_numpy_has_it(name: str) -> None:
    assert SharedArray(1, np.dtype(name)).dtype == name
    assert SharedArray(1, np.dtype(name).type).dtype == name


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
def test_every_type_of_c_that_numpy_knows_is_one_of_the_ten(code: str) -> None:
    dtype = np.dtype(code)
    assert SharedArray(1, dtype).dtype == dtype.name


@pytest.mark.parametrize(
    "dtype",
    ["", "<", "lL", "ii", "?", "c", "e", "int", "<int32", ">i", "!i", None, 4, complex]
    + [np.dtype(code) for code in ("?", "float16", "complex128", ">i4", ">f8", "U1", "M8[s]")],
    ids=repr,
)
def test_a_type_that_is_none_of_the_ten_is_refused(dtype: Any) -> None:
    with pytest.raises(TypeError, match=r"dtype must be one of int8, .*, float64, not "):
        SharedArray(1, dtype)


def test_a_mode_that_is_unknown_or_does_not_work_here_is_refused() -> None:
    assert repr(SharedArray(1, mode="inline")) == "<SharedArray (1,) of float64, mode inline>"
    with pytest.raises(ModeError, match="mode 'shared' is not available: this is CPython"):
        SharedArray(1, mode="shared")
    with pytest.raises(ValueError, match="mode must be one of shared, transfer, inline or None"):
        SharedArray(1, mode="other")  # type: ignore[arg-type]


def test_a_mode_without_shared_memory_is_refused_with_what_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hub_for(mode: str) -> SimpleNamespace:
        return SimpleNamespace(store=SendingStore())

    monkeypatch.setattr(_shared_array, "hub_for", hub_for)
    with pytest.raises(ModeError, match=r"has no shared memory \(.*\): give data to tasks by pool"):
        SharedArray(1)


def test_a_task_cannot_create_an_array() -> None:
    with WorkerPool() as pool:
        error = pool.submit(SharedArray, 3).exception()
    assert isinstance(error, ModeError)
    assert "cannot be created in a worker: create it where the pool is, and give it" in str(error)


def test_an_array_says_what_it_is() -> None:
    assert repr(SharedArray((2, 3), "i")) == "<SharedArray (2, 3) of int32, mode inline>"


# Elements


shapes = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)
positions = st.integers(-6, 6)


@given(shapes, st.lists(st.tuples(st.lists(positions, min_size=1, max_size=3), st.integers(0, 99))))
def test_elements_are_read_and_written_as_those_of_numpy(
    shape: tuple[int, ...], writes: list[tuple[list[int], int]]
) -> None:
    made, model = SharedArray(shape, "int32"), np.zeros(shape, "int32")
    for at, value in writes:
        index = tuple(at[: len(shape)] + [0] * (len(shape) - len(at)))
        try:
            model[index] = value
        except IndexError:
            with pytest.raises(IndexError, match=r"index -?\d is out of range for <SharedArray"):
                made[index]
            with pytest.raises(IndexError, match=r"index -?\d is out of range for <SharedArray"):
                made[index] = value
        else:
            made[index] = value
            assert made[index] == model[index]
            assert len(shape) > 1 or made[index[0]] == value
    assert made.read().tobytes() == model.tobytes()


def test_an_element_is_named_by_one_index_for_each_dimension() -> None:
    made = SharedArray((2, 3), "int32")
    index: Any = (np.int8(1), True)
    made[index] = np.int64(7)
    assert made[-1, -2] == 7
    wrong: list[Any] = [0, (0,), (0, 0, 0), ...]
    for index in wrong:
        with pytest.raises(IndexError, match=r"takes 2 indices, or a slice of rows: "):
            made[index]
    wrong = [(0, slice(1)), (0, 1.0), ("x", 0)]
    for index in wrong:
        with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
            made[index]


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_iterating_over_an_array_does_not_miss_its_rows(shape: tuple[int, ...]) -> None:
    model = numbers(shape)
    made: Any = shared(model)
    try:
        rows = list(made)
    except (TypeError, NotImplementedError):  # as memoryview says of more than one dimension
        assert len(shape) > 1
    else:
        assert rows == model.tolist()


@pytest.mark.parametrize("name", FLOATS)
@given(st.floats())
def test_floats_are_rounded_to_their_type(name: str, value: float) -> None:
    made, model = SharedArray(1, name), np.zeros(1, name)
    with np.errstate(over="ignore"):
        made[0] = model[0] = value
    assert repr(made[0]) == repr(model[0].item())


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [None, 1j, [1.0], "text"], ids=repr)
def test_what_is_no_number_is_not_written(name: str, value: Any) -> None:
    made = SharedArray(1, name)
    with pytest.raises((TypeError, ValueError)):
        made[0] = value


class JavaScriptCells(LocalCells):
    """Numbers as JavaScript hands them out, where 3.0 and 3 are the same."""

    def __init__(self, view: memoryview) -> None:
        super().__init__(view)
        self.get: Any = lambda index: int(view[index]) if view[index] % 1 == 0 else view[index]


class JavaScriptMemory:
    """What the shim offers of an arena."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(64))

    def allocate(self, length: int, owner: int) -> int:
        return 16

    def free(self, offset: int) -> None:
        pass

    def bytes(self, offset: int, length: int) -> SimpleNamespace:
        part = self._memory[offset : offset + length]
        return SimpleNamespace(assign=lambda data: part.__setitem__(slice(None), data))

    def make_cells(self, _: object, offset: int, length: int, code: str) -> JavaScriptCells:
        return JavaScriptCells(self._memory[offset : offset + length].cast(code))  # type: ignore[call-overload]


@pytest.mark.parametrize("name", FLOATS)
def test_an_element_of_floats_is_a_float(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = JavaScriptMemory()
    arena = SharedArena(SimpleNamespace(arena=shim), shim, shim.make_cells, HUB)
    hub = SimpleNamespace(store=ArenaStore(arena, is_hub=True))
    monkeypatch.setattr(_shared_array, "hub_for", lambda mode: hub)
    made = SharedArray(2, name)
    made[0] = 3
    made[1] = 0.5
    assert [repr(made[0]), repr(made[1])] == ["3.0", "0.5"]


# Atomic methods


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


# Rows


ends = st.none() | st.integers(-7, 7)


@given(shapes, ends, ends)
def test_rows_are_read_as_slices_of_numpy(
    shape: tuple[int, ...], start: int | None, stop: int | None
) -> None:
    model = numbers(shape)
    made = shared(model)
    rows = model[start:stop]
    for view in (made[start:stop], made[start:stop:1], made.read(start or 0, stop)):
        assert listed(view) == (rows.tolist() if rows.size else [])
        assert view.shape == (rows.shape if rows.size else (0,))
        assert not view.readonly


@given(shapes, st.integers(-4, 4), st.integers(0, 5), st.integers(0, 2))
def test_whole_rows_are_written_as_far_as_there_are_any(
    shape: tuple[int, ...], start: int, rows: int, more: int
) -> None:
    model = np.zeros(shape, "int32")
    made = shared(model)
    row = int(np.prod(shape[1:]))
    values = numbers((rows * row + more,))
    if not -shape[0] <= start <= shape[0]:
        with pytest.raises(IndexError, match=f"row {start} is out of range"):
            made.write(values, start)
        return
    first, _, _ = slice(start, None).indices(shape[0])
    is_whole = values.size % row == 0 if row else values.size == 0
    if is_whole and first * row + values.size <= model.size:
        made.write(values, start)
        model.reshape(-1)[first * row : first * row + values.size] = values
    else:
        with pytest.raises(ValueError, match="do not fit into") as raised:
            made.write(values, start)
        told = f"{values.size} numbers from row {first} on do not fit into {made!r}"
        assert str(raised.value) == told
    assert made.read().tobytes() == model.tobytes()


@given(shapes, ends, ends, st.integers(-1, 1))
def test_as_many_numbers_are_assigned_as_the_rows_have(
    shape: tuple[int, ...], start: int | None, stop: int | None, more: int
) -> None:
    model = np.zeros(shape, "int32")
    made = shared(model)
    values = numbers((max(0, model[start:stop].size + more),))
    if values.size == model[start:stop].size:
        made[start:stop] = values
        model[start:stop] = values.reshape(model[start:stop].shape)
    else:
        with pytest.raises(ValueError, match=r"\d+ bytes cannot be assigned to rows \d to \d"):
            made[start:stop] = values
    assert made.read().tobytes() == model.tobytes()


def test_slices_with_a_step_are_refused() -> None:
    made = SharedArray(4)
    for step in (2, -1, 0):
        with pytest.raises(ValueError, match="have no step: read rows, and slice those"):
            made[::step]
        with pytest.raises(ValueError, match="have no step: read rows, and slice those"):
            made[::step] = [1.0] * 4


def test_rows_that_are_read_are_a_copy() -> None:
    made = SharedArray((2, 2), "int32")
    view = made.read()
    view[0, 0] = 5
    assert made[0, 0] == 0
    made[1, 1] = 6
    assert listed(view) == [[5, 0], [0, 0]]


SOURCES: dict[str, Any] = {
    "a list": [1, 2, 3, 4],
    "a range": range(1, 5),
    "an array": array("i", [1, 2, 3, 4]),
    "bytes of that format": memoryview(struct.pack("4i", 1, 2, 3, 4)).cast("i"),
    "rows of that format": memoryview(struct.pack("4i", 1, 2, 3, 4)).cast("B").cast("i", (2, 2)),
    "numbers of ctypes": (ctypes.c_int * 4)(1, 2, 3, 4),
    "an array of numpy": numbers((2, 2)),
    "a frozen array of numpy": np.frombuffer(struct.pack("4i", 1, 2, 3, 4), "int32"),
    "columns of numpy": np.asfortranarray(numbers((2, 2))),
    "every second column": np.repeat(numbers((2, 2)), 2, axis=1)[:, ::2],
    "numbers from last to first": numbers((4,))[::-1].copy()[::-1],
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_numbers_are_written_from_whatever_holds_them(source: Any) -> None:
    made = SharedArray((2, 2), "int32")
    made.write(source)
    assert listed(made) == [[1, 2], [3, 4]]
    made[:] = source
    assert listed(made) == [[1, 2], [3, 4]]


def test_bytes_are_numbers_of_type_uint8() -> None:
    made = SharedArray(4, "uint8")
    made.write(b"abcd")
    made[1:3] = bytearray(b"xy")
    assert bytes(made.read()) == b"axyd"
    with pytest.raises(TypeError, match="numbers of format 'B' cannot be written to <Shared"):
        SharedArray(4, "int8").write(b"abcd")


@pytest.mark.parametrize("name", CODES)
def test_numbers_of_another_type_are_refused(name: str) -> None:
    made = SharedArray(2, name)
    for other in ({*CODES} | {"float16", "bool", "complex64"}) - {name}:
        values: Any = np.ones(2, other)
        format = memoryview(values).format
        told = f"numbers of format {format!r} cannot be written to {made!r}: convert them"
        with pytest.raises(TypeError) as raised:
            made.write(values)
        assert str(raised.value) == told
        with pytest.raises(TypeError) as raised:
            made[:] = values
        assert str(raised.value) == told
    assert listed(made) == [0, 0]


def test_numbers_in_the_other_byte_order_are_refused() -> None:
    made = SharedArray(2, "int32")
    with pytest.raises(TypeError, match="numbers of format '>i' cannot be written to <Shared"):
        made.write(np.ones(2, ">i4"))


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ([1, 2.5], TypeError),
        ([[1, 2]], TypeError),
        ([1, "2"], TypeError),
        ("12", TypeError),
        (5, TypeError),
        (None, TypeError),
        ([1, 2**31], OverflowError),
        ([1, -(2**31) - 1], OverflowError),
    ],
    ids=repr,
)
def test_a_sequence_with_anything_but_numbers_of_the_type_is_refused(
    values: Any, error: type[Exception]
) -> None:
    made = shared(numbers((2,)))
    with pytest.raises(error):
        made.write(values)
    with pytest.raises(error):
        made[:] = values
    assert listed(made) == [1, 2]


def test_rows_without_numbers_take_none() -> None:
    made = SharedArray((3, 0))
    with pytest.raises(ValueError, match="1 numbers from row 0 on do not fit into <SharedArray"):
        made.write([1.0])


# Rows that are checked out


def test_rows_that_are_checked_out_are_written_back() -> None:
    made = shared(numbers((4, 2)))
    with made.checkout(1, 3) as view:
        assert listed(view) == [[3, 4], [5, 6]]
        view[1, 1] = 60
        assert made[2, 1] == 6
    assert listed(made) == [[1, 2], [3, 4], [5, 60], [7, 8]]


def test_only_the_rows_that_are_checked_out_are_written_back() -> None:
    made = SharedArray((5, 2), "int32")
    with made.checkout(-4, -2) as view:
        made[0:1] = [10, 11]
        made[3:] = [20, 21, 22, 23]
        view[0, 0] = 1
    assert listed(made) == [[10, 11], [1, 0], [0, 0], [20, 21], [22, 23]]


def test_two_parts_can_be_checked_out_at_the_same_time() -> None:
    made = SharedArray(4, "int32")
    with made.checkout(0, 2) as one, made.checkout(2) as other:
        one[0], other[1] = 1, 2
    assert listed(made) == [1, 0, 0, 2]


def test_nothing_is_written_back_when_the_block_raises() -> None:
    made = shared(numbers((3,)))

    def begin() -> None:
        with made.checkout() as view:
            view[0] = 100
            raise LookupError("halfway")

    with pytest.raises(LookupError, match="halfway"):
        begin()
    assert listed(made) == [1, 2, 3]


def test_numpy_computes_right_in_what_is_checked_out() -> None:
    made = shared(numbers((3, 2), "float64"))
    with made.checkout(1) as view:
        rows = np.asarray(view)
        assert np.shares_memory(rows, np.asarray(view))
        assert (rows.shape, rows.dtype) == ((2, 2), np.dtype("float64"))
        rows *= 10
        assert view[0, 0] == 30
    assert listed(made) == [[1, 2], [30, 40], [50, 60]]


# numpy


@pytest.mark.parametrize("name", CODES)
def test_numpy_copies_a_whole_array(name: str) -> None:
    model = numbers((2, 3), name)
    made = shared(model)
    for copied in (np.asarray(made), np.array(made), np.array(made, copy=True)):
        assert copied.dtype == model.dtype
        assert (copied == model).all()
        copied[0, 0] = 9
        assert made[0, 0] == 1
    converted = np.asarray(made, dtype="float32")
    assert converted.dtype == np.dtype("float32")
    assert converted.sum() == 21


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_numpy_sees_the_shape_of_an_array_without_numbers(shape: tuple[int, ...]) -> None:
    assert np.asarray(SharedArray(shape)).shape == shape


def test_numpy_cannot_have_an_array_without_copying() -> None:
    with pytest.raises(ValueError, match="cannot use shared memory in place: allow it to copy"):
        np.asarray(SharedArray(3), copy=False)


# On its way to tasks and back


COPIES: dict[str, Callable[[object], object]] = {
    "pickle": pickle.dumps,
    "cloudpickle": cloudpickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("pickled", COPIES.values(), ids=COPIES)
def test_an_array_is_pickled_only_on_its_way_to_a_task_or_back(
    pickled: Callable[[object], object],
) -> None:
    made = SharedArray(3)
    _codec.encode(made)
    with pytest.raises(PayloadError):
        _codec.encode([made, (n for n in [1])])
    with pytest.raises(pickle.PicklingError) as raised:
        pickled(made)
    assert str(raised.value) == "a SharedArray can only be given to a task or returned by one"


def fill(made: SharedArray, value: int) -> SharedArray:
    made[:] = [value] * made.size
    return made


def test_a_task_is_given_the_same_memory_and_gives_it_back() -> None:
    made = SharedArray(3, "int32")
    with WorkerPool() as pool:
        future: Any = pool.submit(fill, made, 5)
        result = future.result()
    assert listed(made) == [5, 5, 5]
    result[0] = 6
    assert made[0] == 6
    assert result is not made
    assert (result.id, result.shape, result.dtype) == (made.id, made.shape, made.dtype)
    assert repr(result) == repr(made)


def first_of(found: Any) -> int:
    made = found["deep"][0][0]
    made[0] += 1
    return int(made[0])


def test_an_array_may_be_anywhere_in_what_a_task_is_given() -> None:
    made = SharedArray((2,), "int64")
    with WorkerPool(initializer=fill, initargs=(made, 1)) as pool:
        assert pool.submit(first_of, {"deep": [(made,)]}).result() == 2
        assert pool.submit(first_of, found={"deep": [(made,)]}).result() == 3
        assert list(pool.map(first_of, [{"deep": [(made,)]}] * 3)) == [4, 5, 6]
        assert pool.submit(lambda: made.add(0, 1)).result() == 6
        assert pool.submit(made.add, 0, 1).result() == 7
        assert pool.submit(lambda a, b: a is b, made, made).result()
        ref = pool.put({"deep": [(made,)]})
        assert pool.submit_with(first_of, [ref]).result() == 9
    assert listed(made) == [9, 1]


def fail_with(made: SharedArray) -> None:
    made[0] = 1
    raise LookupError(made)


def test_an_array_may_come_back_in_an_exception() -> None:
    made = SharedArray(1, "int32")
    with WorkerPool() as pool:
        error: Any = pool.submit(fail_with, made).exception()
    assert isinstance(error, LookupError)
    error.args[0][0] += 1
    assert made[0] == 2


def keep_here(made: SharedArray) -> None:
    here["made"] = made


def total_here() -> int:
    return sum(here["made"].read())


def take_from_here() -> Any:
    return here.pop("made")


def test_what_a_task_keeps_in_a_global_is_used_by_later_ones() -> None:
    made = shared(numbers((4,)))
    with WorkerPool() as pool:
        pool.submit(keep_here, made).result()
        made[0] = 91
        assert pool.submit(total_here).result() == 100
        del made
        assert blocks() == 1
        assert pool.submit(total_here).result() == 100
        here.clear()
        assert blocks() == 0


@pytest.mark.parametrize("keep", [False, True])
def test_an_array_that_only_its_worker_had_can_be_returned(keep: bool) -> None:
    made = shared(numbers((4,)))
    with WorkerPool() as pool:
        pool.submit(keep_here, made).result()
        del made
        found = pool.submit_with(take_from_here, keep=keep).result()
        made = found.get() if keep else found
        assert listed(made) == [1, 2, 3, 4]


def fill_rows(made: SharedArray, done: SharedArray, start: int, stop: int) -> None:
    with made.checkout(start, stop) as view:
        rows = np.asarray(view)
        rows += np.arange(start, stop)[:, None]
    done.add(0, stop - start)


def test_tasks_fill_rows_of_their_own_and_count_together() -> None:
    made, done = SharedArray((100, 3), "int64"), SharedArray(1, "uint32")
    with WorkerPool() as pool:
        list(pool.map(fill_rows, [made] * 10, [done] * 10, range(0, 100, 10), range(10, 101, 10)))
    assert done[0] == 100
    assert listed(made) == [[n] * 3 for n in range(100)]


# The end of an array


def test_memory_is_freed_with_the_last_that_uses_it() -> None:
    before = memory()
    made = SharedArray(1_000, "float64")
    assert memory().used - before.used == 8_000
    again = _shared_array.attach("inline", made.id, 0, (500,), "d")
    del made
    assert blocks() == before.blocks + 1
    again[0] = 1.0
    del again
    after = memory()
    assert (after.used, after.blocks) == (before.used, before.blocks)
    assert after.frees == before.frees + 1
    assert after.peak >= before.used + 8_000


def test_rows_that_were_read_outlive_their_array() -> None:
    view = shared(numbers((3,))).read()
    assert blocks() == 0
    assert listed(view) == [1, 2, 3]


def test_an_array_lives_as_long_as_a_task_waits_for_it() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        here["gate"] = gate
        async with WorkerPool(initializer=wait_at_the_gate) as pool:
            made = shared(numbers((3,)))
            used = pool.submit(sum_of, made)
            cancelled = pool.submit(sum_of, SharedArray(3))
            del made
            assert blocks() == 2
            cancelled.cancel()
            assert blocks() == 1
            gate.set()
            assert await used == 6
            assert blocks() == 0

    asyncio.run(asyncio.wait_for(main(), 10))


async def wait_at_the_gate() -> None:
    await here["gate"].wait()


def sum_of(made: SharedArray) -> int:
    return sum(made.read())


def test_an_array_is_freed_after_a_task_that_failed() -> None:
    with WorkerPool() as pool:
        future = pool.submit(fail_with, SharedArray(1))
        future.exception()
        assert blocks() == 1, "its exception has it"
        del future
        assert blocks() == 0
        pool.submit_with(fill, [SharedArray(1), len]).exception()
        assert blocks() == 0


def test_a_function_that_refers_to_an_array_keeps_it_as_long_as_its_pool() -> None:
    def use(pool: WorkerPool, made: SharedArray) -> None:
        assert pool.submit(lambda: made[0]).result() == 0

    with WorkerPool() as pool:
        use(pool, SharedArray(1, "int32"))
        assert blocks() == 1
    del pool
    assert blocks() == 0


def test_memory_that_is_freed_is_not_found_any_more() -> None:
    made = SharedArray(1)
    id = made.id
    del made
    with pytest.raises(LookupError, match=f"what was at {id} of the shared memory is freed"):
        _shared_array.attach("inline", id, 0, (1,), "d")
