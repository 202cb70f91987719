"""Payloads: objects come back as they were, large buffers travel beside their pickle."""

import contextlib
import functools
import io
import itertools
import pickle
import random
import subprocess
import sys
import threading
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyworkers import _codec
from pyworkers._codec import SPILL_BYTES
from pyworkers._protocol import HEADER_BYTES, MAX_FRAME_BYTES
from pyworkers.errors import PayloadError, ProtocolError

pytestmark = pytest.mark.timeout(60)

AROUND_SPILL_BYTES = [SPILL_BYTES - 1, SPILL_BYTES, SPILL_BYTES + 1]


class Parts:
    """Bulk parts on their way, each of which is taken once."""

    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}
        self._tokens = itertools.count(1)

    def put(self, buffer: Any) -> int:
        token = next(self._tokens)
        self._parts[token] = bytearray(buffer)
        return token

    def take(self, token: int, length: int, frozen: bool) -> bytes | bytearray:
        part = self._parts.pop(token)
        assert len(part) == length
        return bytes(part) if frozen else part

    def __len__(self) -> int:
        return len(self._parts)


def travelled(value: Any) -> Any:
    """A value after its way to another interpreter."""
    data, buffers, _ = _codec.encode(value)
    if not buffers and len(data) < SPILL_BYTES:
        return _codec.decode(data)
    parts = Parts()
    payload = _codec.spill(data, buffers, parts.put)
    assert len(payload) <= MAX_FRAME_BYTES - HEADER_BYTES
    assert len(parts) == len(buffers) + (len(data) >= SPILL_BYTES)
    result = _codec.decode(*_codec.gather(memoryview(payload), parts.take))
    assert len(parts) == 0
    return result


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@dataclass
class Point:
    x: float
    y: float


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.binary().map(bytearray)
    | st.dates()
    | st.uuids()
    | st.fractions()
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(), max_size=1)  # more have no order to compare
    ),
    max_leaves=12,
)


@given(values)
def test_a_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    result = travelled(value)
    assert result == value
    assert repr(result) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        Point(1.5, -2.0),
        OrderedDict(b=1, a=2),
        Counter("abca"),
        deque([1, 2], maxlen=2),
        Decimal("1.10"),
        Fraction(1, 3),
        PurePosixPath("a/b"),
        ...,
        range(3),
        slice(1, None),
        ValueError("wrong", 3),
        int,
        len,
    ],
    ids=repr,
)
def test_an_object_of_a_library_comes_back_equal(value: Any) -> None:
    result = travelled(value)
    assert type(result) is type(value)
    assert result == value or repr(result) == repr(value)


@pytest.mark.parametrize("size", [0, 1, *AROUND_SPILL_BYTES, 3_000_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes_of_any_size_come_back(kind: type[bytes | bytearray], size: int) -> None:
    value = kind(content(size))
    result = travelled(value)
    assert result == value
    assert type(result) is kind


MAKERS: dict[str, Callable[[int], Any]] = {
    "bytes": content,
    "bytearray": lambda size: bytearray(content(size)),
    "memoryview": lambda size: memoryview(content(size)),
    "array": lambda size: array("B", content(size)),
    "numpy": lambda size: np.frombuffer(content(size), np.uint8),
    "numpy, two axes": lambda size: np.frombuffer(content(size), np.uint8).reshape(1, size).T,
}


@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: (1, [{"a": v}])], ids=["plain", "inside"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_buffer_is_outside_of_the_pickle_from_spill_bytes_on(
    make: Callable[[int], Any], wrap: Callable[[Any], Any]
) -> None:
    for size in AROUND_SPILL_BYTES:
        data, buffers, _ = _codec.encode(wrap(make(size)))
        if size < SPILL_BYTES:
            assert buffers == []
            assert content(size) in data
        else:
            (buffer,) = buffers
            assert len(data) < 1_000
            assert buffer.format == "B"
            assert buffer.ndim == 1
            assert bytes(buffer) == content(size)


@pytest.mark.parametrize(
    "make", [bytearray, lambda size: np.zeros(size, "B")], ids=["bytearray", "numpy"]
)
def test_a_buffer_outside_of_the_pickle_is_not_copied(make: Callable[[int], Any]) -> None:
    value = make(SPILL_BYTES)
    _, (buffer,), _ = _codec.encode((value,))
    value[7] = 42
    assert buffer[7] == 42


def test_several_buffers_come_back_in_their_places() -> None:
    value = [np.full(50_000, 1.5), {"b": bytes(40_000)}, (array("d", [2.5]) * 9_000, b"small")]
    _, buffers, _ = _codec.encode(value)
    assert [len(buffer) for buffer in buffers] == [400_000, 40_000, 72_000]
    floats, named, (numbers, small) = travelled(value)
    assert (floats == value[0]).all()
    assert named == value[1]
    assert numbers == array("d", [2.5]) * 9_000
    assert small == b"small"


dtypes = st.sampled_from(
    ["?", "b", "B", "<i2", "<u4", "<i8", "<f4", "<f8", "<c16", ">i4", "S3", "<U2", "<M8[s]", "O"]
)
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@given(dtypes, shapes, st.sampled_from(["C", "F"]), st.booleans(), st.booleans())
def test_a_numpy_array_comes_back_with_its_type_and_shape(
    dtype: str, shape: tuple[int, ...], order: Any, backwards: bool, large: bool
) -> None:
    if large:
        shape = (*shape, SPILL_BYTES)
    value = np.zeros(shape, dtype, order)
    flat = value.reshape(-1)
    if flat.size:
        flat[0] = 1
    value = value[::-1] if backwards and shape else value
    result = travelled({"key": value})["key"]
    # Of an array that is not contiguous, numpy does not keep the byte order.
    assert result.dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
    assert result.shape == value.shape
    assert (result == value).all()


@pytest.mark.parametrize("size", [10, SPILL_BYTES])
def test_a_numpy_array_may_be_written_to_where_it_arrives(size: int) -> None:
    result = travelled(np.zeros(size))
    result[3] = 1.5
    assert result.sum() == 1.5


@pytest.mark.parametrize("size", [3, SPILL_BYTES])
@pytest.mark.parametrize("typecode", "bBhHiIlLqQfd")
def test_an_array_comes_back_with_its_typecode(typecode: str, size: int) -> None:
    value = array(typecode, [1, 2, 3]) * (size // 3)
    result = travelled([value])[0]
    assert result == value
    assert result.typecode == typecode


FORMATS = "bBhHiIlLqQfd"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [24, SPILL_BYTES])
def test_a_memoryview_comes_back_with_its_format(format: Any, size: int) -> None:
    value: memoryview[Any] = memoryview(content(size)).cast(format)
    result = travelled(value)
    assert result.format == format
    assert result.tobytes() == value.tobytes()


def numpy_view(array: Any) -> "memoryview[Any]":
    """A view of an array, which has the buffer protocol without a type that says so."""
    return memoryview(array)


@pytest.mark.parametrize(
    "value",
    [
        memoryview(b""),
        memoryview(content(60)).cast("B", (3, 4, 5)),
        memoryview(content(60)).cast("i", (5, 3)),
        numpy_view(np.array(1.5)),
        memoryview(array("d")),
        memoryview(content(60))[10:50:3],
        memoryview(content(60))[::-1],
        memoryview(content(3 * SPILL_BYTES))[::2],
        numpy_view(np.arange(12.0).reshape(3, 4).T),
        numpy_view(np.arange(60).reshape(3, 4, 5)[::2, :, 1:3]),
        numpy_view(np.arange(SPILL_BYTES).reshape(2, -1).T),
        numpy_view(np.array([True, False])),
    ],
    ids=lambda view: f"{view.format} {view.shape} {view.strides}",
)
@pytest.mark.parametrize(
    "wrap",
    [lambda v: v, lambda v: [v], lambda v: {1: [(2, [{"a": v}])]}],
    ids=["plain", "inside", "deep inside"],
)
def test_a_memoryview_comes_back_with_its_shape(
    value: "memoryview[Any]", wrap: Callable[[Any], Any]
) -> None:
    result = travelled(wrap(value))
    while not isinstance(result, memoryview):
        result = next(iter(result.values())) if isinstance(result, dict) else result[-1]
    assert result.format == value.format
    assert result.shape == value.shape
    assert result.tobytes() == value.tobytes()


def test_a_released_memoryview_is_refused() -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(PayloadError, match="released memoryview"):
        _codec.encode([view])


@pytest.mark.parametrize("size", AROUND_SPILL_BYTES)
@pytest.mark.parametrize(
    "kind",
    [bytearray, lambda data: array("B", data), lambda data: [data]],
    ids=["bytearray", "array", "list of bytes"],
)
def test_what_stood_in_two_places_arrives_as_one_object(
    kind: Callable[[bytes], Any], size: int
) -> None:
    value = kind(content(size))
    data, buffers, _ = _codec.encode((value, {"again": value}))
    assert len(buffers) <= 1
    first, second = _codec.decode(data, [bytearray(buffer) for buffer in buffers])
    assert second["again"] is first


@pytest.mark.parametrize("size", AROUND_SPILL_BYTES)
def test_a_list_may_contain_itself(size: int) -> None:
    value: list[Any] = [content(size)]
    value.append(value)
    result = travelled(value)
    assert result[0] == content(size)
    assert result[1] is result


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3 * SPILL_BYTES), min_size=1, max_size=5), st.integers(0, 80_000))
def test_what_is_spilled_is_gathered(sizes: list[int], size: int) -> None:
    parts = Parts()
    buffers = [memoryview(content(size)) for size in sizes]
    payload = _codec.spill(b"p" + content(size), buffers, parts.put)
    data, gathered = _codec.gather(memoryview(payload), parts.take)
    assert bytes(data) == b"p" + content(size)
    assert [memoryview(part) for part in gathered] == buffers
    assert len(parts) == 0


def test_a_pickle_is_itself_a_part_from_spill_bytes_on() -> None:
    for size in AROUND_SPILL_BYTES:
        parts = Parts()
        payload = _codec.spill(bytes(size), [], parts.put)
        assert len(parts) == (size >= SPILL_BYTES)
        assert len(payload) == (12 if size >= SPILL_BYTES else 4 + size)


def test_a_table_of_parts_never_outgrows_its_frame() -> None:
    value = [np.zeros(SPILL_BYTES, np.uint8)[:] for _ in range(9_000)]
    payload = _codec.spill(*_codec.encode(value)[:2], lambda _: 1)
    assert len(payload) <= MAX_FRAME_BYTES - HEADER_BYTES


@given(st.binary(max_size=40))
@example(b"")
@example(bytes(4))
@example(b"\1\0\0\0")
def test_a_table_of_parts_that_is_malformed_is_refused(payload: bytes) -> None:
    """A-07"""
    parts: list[int] = []

    def take(token: int, length: int, frozen: bool) -> bytearray:
        parts.append(token)
        return bytearray()

    with contextlib.suppress(ProtocolError):
        _codec.gather(memoryview(payload), take)
        count = int.from_bytes(payload[:4], "little")
        assert len(payload) >= 4 + 8 * count
        assert len(parts) == count


class Stubborn:
    def __reduce__(self) -> str:
        raise RuntimeError("I stay here")


class Deep:
    """Keeps what is in it away from the look at plain containers."""

    def __init__(self, value: Any) -> None:
        self.value = value


@pytest.mark.parametrize(
    "wrap",
    [lambda v: v, Deep, lambda v: (bytes(SPILL_BYTES), [v])],
    ids=["plain", "in an object", "beside a buffer"],
)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (threading.Lock(), "TypeError: cannot pickle '_thread.lock' object"),
        ((n for n in "abc"), "TypeError: cannot pickle 'generator' object"),
        (Stubborn(), "RuntimeError: I stay here"),
    ],
    ids=["lock", "generator", "stubborn"],
)
def test_what_cannot_be_pickled_is_refused_with_the_reason(
    value: Any, text: str, wrap: Callable[[Any], Any]
) -> None:
    with pytest.raises(PayloadError) as refusal:
        _codec.encode(wrap(value))
    assert str(refusal.value) == text
    assert type(refusal.value.__cause__).__name__ == text.partition(":")[0]


def test_what_is_nested_too_deep_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(PayloadError, match="recursion"):
        _codec.encode(value)
    while value:
        value = value[0]


def test_what_cannot_be_read_back_is_refused_with_the_reason() -> None:
    with pytest.raises(PayloadError, match="ModuleNotFoundError: No module named 'no_such'"):
        _codec.decode(b"\x80\x05cno_such\nthing\n.")
    with pytest.raises(PayloadError, match="UnpicklingError"):
        _codec.decode(b"no pickle")
    with pytest.raises(PayloadError, match="buffer"):
        _codec.decode(pickle.dumps(pickle.PickleBuffer(b"abc"), 5, buffer_callback=lambda _: None))


def adder(n: int) -> Callable[[int], int]:
    return lambda m: n + m


def test_functions_travel_by_name_where_they_have_one_and_else_by_value() -> None:
    data = _codec.encode_function(test_what_is_nested_too_deep_is_refused)[0]
    assert len(data) < 200
    assert _codec.decode(data) is test_what_is_nested_too_deep_is_refused
    assert _codec.decode(_codec.encode_function(len)[0]) is len
    assert _codec.decode(_codec.encode_function(functools.partial(pow, 2))[0])(5) == 32
    assert _codec.decode(_codec.encode_function(adder(3))[0])(4) == 7
    assert _codec.decode(_codec.encode_function([1, 2].count)[0])(2) == 1


def test_a_closure_a_lambda_and_a_local_class_travel_inside_of_values() -> None:
    class Local:
        def __init__(self, n: int) -> None:
            self.n = n

    value = {"buffer": np.ones(SPILL_BYTES), "f": adder(3), "local": Local(5)}
    assert len(_codec.encode(value)[1]) == 1
    result = travelled(value)
    assert result["f"](4) == 7
    assert result["buffer"].sum() == SPILL_BYTES
    assert result["local"].n == 5
    assert type(result["local"]).__name__ == "Local"


def test_a_function_that_cannot_travel_is_refused_by_its_name() -> None:
    lock = threading.Lock()

    def locked() -> None:
        with lock:
            pass

    with pytest.raises(PayloadError) as refusal:
        _codec.encode_function(locked)
    assert "locked at 0x" in str(refusal.value)
    assert "cannot be sent to a worker: TypeError: cannot pickle '_thread.lock'" in str(
        refusal.value
    )


SENDER = """
import sys
from pyworkers import _codec

class Shape:
    sides = 4
    def __init__(self, size): self.size = size
    def area(self): return self.size * self.size

def scaled(shape, factor): return shape.area() * factor * OFFSET

OFFSET = 10
data, _, _ = _codec.encode((Shape(3), scaled, Shape))
sys.stdout.buffer.write(data + _codec.encode_function(lambda n: n + OFFSET)[0])
"""


def test_classes_and_functions_of_main_arrive_where_main_is_another() -> None:
    """X-07"""
    sender = subprocess.run([sys.executable, "-c", SENDER], stdout=subprocess.PIPE, check=True)
    stream = io.BytesIO(sender.stdout)
    shape, scaled, kind = pickle.load(stream)
    plus = pickle.load(stream)
    assert type(shape) is kind
    assert kind.sides == 4
    assert scaled(shape, 2) == 180
    assert plus(1) == 11


def test_a_value_is_named_by_its_type_and_not_at_length() -> None:
    assert _codec.shortened(3) == "3 of type int"
    assert _codec.shortened([0] * 100) == f"{str([0] * 100)[:57]}... of type list"
