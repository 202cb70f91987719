"""What a shared array is made of, and its elements: numbers as numpy has them."""

import struct
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import ModeError, SharedArray, WorkerPool, _shared_array
from pyworkers._arena import HUB, LocalArena, LocalCells, SharedArena
from pyworkers._shared_array import CODES
from pyworkers._store import ArenaStore, SendingStore
from tests.unit.memory.tools import FLOATS, listed, numbers, shapes, shared

pytestmark = pytest.mark.timeout(60)

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
    other: Any = "other"
    with pytest.raises(ValueError, match="mode must be one of shared, transfer, inline or None"):
        SharedArray(1, mode=other)


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

    def make_cells(self, _: object, offset: int, length: int, code: Any) -> JavaScriptCells:
        return JavaScriptCells(self._memory[offset : offset + length].cast(code))


@pytest.mark.parametrize("name", FLOATS)
def test_an_element_of_floats_is_a_float(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = JavaScriptMemory()
    arena = SharedArena(SimpleNamespace(arena=shim), shim, shim.make_cells, None, HUB)
    hub = SimpleNamespace(store=ArenaStore(arena, is_hub=True))
    monkeypatch.setattr(_shared_array, "hub_for", lambda mode: hub)
    made = SharedArray(2, name)
    made[0] = 3
    made[1] = 0.5
    assert [repr(made[0]), repr(made[1])] == ["3.0", "0.5"]
