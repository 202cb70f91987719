"""Rows of a shared array: read, written, checked out, and given to numpy."""

import ctypes
import struct
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import SharedArray
from pyworkers._shared_array import CODES
from tests.unit.memory.tools import ends, listed, numbers, shapes, shared

pytestmark = pytest.mark.timeout(60)

# Rows


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
