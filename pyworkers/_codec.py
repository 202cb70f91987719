"""How Python objects become payloads, and come back.

Owns pickling: protocol 5 with large buffers out of band, the choice between pickle and
cloudpickle, and the table of a spilled payload. Knows nothing of frames, channels or tasks:
``put`` and ``take`` are handed in.

What is copied: an object's pickle is written once. A buffer of at least ``SPILL_BYTES`` that is
contiguous is not part of it: ``put`` takes it from where it lies, and ``take`` fills the object
that the receiver gets. What cannot be written to arrives as something that cannot be written to.
``bytes`` and ``bytearray`` deep inside other objects stay in the pickle, because pickle offers no
hook for them.

A *handle* is an object that stands for something which does not travel: its pickle names it.
Whoever encodes one gets it back beside the pickle, and must keep it until the pickle was read.
"""

import pickle
import struct
import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

import cloudpickle

from pyworkers.errors import PayloadError, ProtocolError

SPILL_BYTES: Final = 32_768
"""What is smaller travels inside its frame."""

_LIFT_ITEMS: Final = 64
_CONTAINERS: Final = frozenset({tuple, list, dict})
_LIFTABLE: Final = _CONTAINERS | {bytes, bytearray, memoryview, array}
_MAX_PARTS: Final = 1_000
"""So many parts have room in the table of one frame, beside a pickle that is not spilled."""
_COUNT: Final = struct.Struct("<I")
_PART: Final = struct.Struct("<II")

_FROZEN: Final = 1 << 31
"""Bit of a part's length in a table: the receiver gets it as ``bytes``, else as ``bytearray``."""

Put = Callable[[Any], int]
Take = Callable[[int, int, bool], bytes | bytearray]


class Handle(ABC):
    """Something that is pickled by name, and only where somebody keeps it until it is read."""

    __slots__ = ()

    @property
    @abstractmethod
    def id(self) -> int:
        """What names it in its store."""

    @property
    @abstractmethod
    def mode(self) -> str:
        """Names its store."""

    @abstractmethod
    def reduced(self) -> tuple[Any, ...]:
        """Returns what ``__reduce__`` does: a function and arguments that find it again."""

    def __reduce__(self) -> tuple[Any, ...]:
        if _handles is None:
            raise pickle.PicklingError(
                f"a {type(self).__name__} can only be given to a task, returned by one, or be in a "
                "message"
            )
        _handles.append(self)
        return self.reduced()


Encoded = tuple[bytes, list[memoryview], tuple[Handle, ...]]
"""A pickle, the buffers that travel beside it as flat views of bytes, and the handles in it."""

_handles: list[Handle] | None = None
"""Those met by the ``encode`` that is running."""


@contextmanager
def _collecting() -> Iterator[list[Handle]]:
    global _handles  # noqa: PLW0603 - pickle calls ``__reduce__`` with no way to hand it in
    outer, _handles = _handles, []
    try:
        yield _handles
    finally:
        _handles = outer


def view(buffer: Any, format: str, shape: tuple[int, ...]) -> memoryview:
    """Returns a view of bytes as items of a format, in rows."""
    flat: Any = memoryview(buffer)
    rows: memoryview = flat.cast("B").cast(format, *([] if 0 in shape else [shape]))
    return rows  # without a shape where a length is 0, which cast refuses


def _array(typecode: str, buffer: Any) -> "array[Any]":
    result: array[Any] = array(typecode)
    result.frombytes(buffer)
    return result


def _bytearray(buffer: Any) -> bytearray:
    return buffer if type(buffer) is bytearray else bytearray(buffer)


class _Lifted:
    """Stands in a pickle for a value whose bytes shall travel out of band."""

    __slots__ = ("reduced",)

    def __init__(self, reduced: tuple[Any, ...]) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def _reduce_view(values: memoryview) -> tuple[Any, ...]:
    if not values.nbytes or not values.c_contiguous:
        return view, (values.tobytes(), values.format, values.shape)
    return view, (pickle.PickleBuffer(values), values.format, values.shape)


def _reduce_array(values: "array[Any]") -> tuple[Any, ...]:
    return _array, (values.typecode, pickle.PickleBuffer(values))


def _lift(value: Any, depth: int, seen: dict[int, Any]) -> Any:
    """Replaces large bytes-like values by stand-ins, in plain containers near the surface.

    What is one object stays one: ``seen`` maps the identities of what was lifted to the stand-ins.
    """
    kind = type(value)
    if kind not in _LIFTABLE or (kind in _CONTAINERS and (not depth or len(value) > _LIFT_ITEMS)):
        return value
    known = seen.get(id(value))
    if known is not None:
        if known is seen:
            raise RecursionError("it contains itself")
        return known
    seen[id(value)] = seen  # until it is known what it becomes
    lifted = value
    if kind is bytes:
        if len(value) >= SPILL_BYTES:
            lifted = _Lifted((bytes, (pickle.PickleBuffer(value),)))
    elif kind is bytearray:
        if len(value) >= SPILL_BYTES:
            lifted = _Lifted((_bytearray, (pickle.PickleBuffer(value),)))
    elif kind is memoryview:
        lifted = _Lifted(_reduce_view(value))
    elif kind is array:
        if len(value) * value.itemsize >= SPILL_BYTES:
            lifted = _Lifted(_reduce_array(value))
    else:
        items = list(value.values()) if kind is dict else list(value)
        new = [_lift(item, depth - 1, seen) for item in items]
        if any(a is not b for a, b in zip(new, items, strict=True)):
            lifted = dict(zip(value, new, strict=True)) if kind is dict else kind(new)
    seen[id(value)] = lifted
    return lifted


class _ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what an importing interpreter could not find by name by its value."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is memoryview:
            return _reduce_view(obj)
        if type(obj) is array:
            return _reduce_array(obj)
        return super().reducer_override(obj)


_ATOMS: Final = frozenset({int, float, bool, str, type(None), complex})
"""Types whose values need no look: small, or pickled as well as can be."""


def encode_call(function: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Encoded:
    """Like ``encode((function, args, kwargs))``, at once where all arguments are plain."""
    for value in args:
        if type(value) not in _ATOMS:
            return encode((function, args, kwargs))
    if kwargs:
        return encode((function, args, kwargs))
    return pickle.dumps((function, args, kwargs), 5), [], ()


def encode_item(value: Any) -> Encoded:
    """Like ``encode(value)``, at once for small tuples of what is plain."""
    if type(value) is tuple and len(value) <= _LIFT_ITEMS:
        for each in value:
            if type(each) not in _ATOMS:
                break
        else:
            return pickle.dumps(value, 5), [], ()
    return encode(value)


def encode(value: Any) -> Encoded:
    """Pickles a value.

    Raises:
        PayloadError: the value cannot be pickled; the message says why, the cause is pickle's.
    """
    if type(value) in _ATOMS:
        return pickle.dumps(value, 5), [], ()
    with _collecting() as handles:
        data, buffers = _pickled(value, handles)
        return data, buffers, tuple(handles)


def _pickled(value: Any, handles: list[Handle]) -> tuple[bytes, list[memoryview]]:
    buffers: list[memoryview] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SPILL_BYTES or len(buffers) == _MAX_PARTS:
            return True
        buffers.append(raw)
        return False

    try:
        lifted = _lift(value, 3, {})
    except RecursionError:
        lifted = value
    except ValueError as error:  # a memoryview that was released
        raise PayloadError(f"ValueError: {error}") from error
    try:
        data = pickle.dumps(lifted, 5, buffer_callback=in_band)
        # A class or function of __main__ pickles by name here, but no worker could find it.
        if b"__main__" not in data and not cloudpickle.list_registry_pickle_by_value():
            return data, buffers
    except Exception:
        # Functions, local classes, memoryviews inside objects: the by-value pickler knows them,
        # and tells what is wrong with the rest.
        pass
    buffers.clear()
    handles.clear()
    stream = BytesIO()
    try:
        _ByValuePickler(stream, 5, buffer_callback=in_band).dump(lifted)
    except Exception as error:
        raise PayloadError(f"{type(error).__name__}: {error}") from error
    return stream.getvalue(), buffers


def is_importable(function: Callable[..., Any]) -> bool:
    """Says whether a function is what its module holds under its name, and so never changes."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "")
    return (
        module != "__main__"
        and module in sys.modules
        and getattr(sys.modules[module], name, None) is function
        and module.partition(".")[0] not in cloudpickle.list_registry_pickle_by_value()
    )


def encode_function(function: Callable[..., Any]) -> Encoded:
    """Pickles a function: by reference where its module can be imported, else by value.

    Raises:
        PayloadError: it, or something that it refers to, cannot be pickled.
    """
    try:
        with _collecting() as handles:
            return bytes(cloudpickle.dumps(function, protocol=5)), [], tuple(handles)
    except Exception as error:
        raise PayloadError(
            f"the function {function!r} cannot be sent to a worker: {type(error).__name__}: {error}"
        ) from error


def spill(data: bytes, buffers: Sequence[memoryview], put: Put) -> bytes:
    """Hands bulk parts to ``put`` and returns the payload that names them.

    The payload of a frame with the flag SPILLED: u32 count, then token and length (u32 each) of
    each part, then the pickle, which is empty when it is itself the first part. The highest bit of
    a length says that the part cannot be written to.
    """
    parts: list[Any] = list(buffers)
    if len(data) >= SPILL_BYTES:
        parts.insert(0, data)
        data = b""
    table = [_PART.pack(put(part), len(part) | _frozen(part)) for part in parts]
    return b"".join([_COUNT.pack(len(parts)), *table, data])


def _frozen(part: bytes | memoryview) -> int:
    return _FROZEN if memoryview(part).readonly else 0


def _parts(payload: memoryview) -> tuple[list[tuple[int, int, bool]], memoryview]:
    """Reads the table of a spilled frame: token, length and frozen of each part; and the rest."""
    if len(payload) < _COUNT.size:
        raise ProtocolError("a table of parts is cut off")
    (count,) = _COUNT.unpack_from(payload)
    end = _COUNT.size + count * _PART.size
    if end > len(payload):
        raise ProtocolError(f"a table of {count} parts is cut off")
    table = _PART.iter_unpack(payload[_COUNT.size : end])
    parts = [(token, length & ~_FROZEN, length >= _FROZEN) for token, length in table]
    return parts, payload[end:]


def gather(payload: memoryview, take: Take) -> tuple[Any, list[bytes | bytearray]]:
    """Reads the payload of a spilled frame.

    Returns:
        The pickle, and the buffers that belong to it.

    Raises:
        ProtocolError: the table is malformed.
    """
    table, data = _parts(payload)
    parts = [take(*part) for part in table]
    if len(data) == 0 and parts:
        return parts[0], parts[1:]
    return data, parts


def discard(payload: memoryview, drop: Callable[[int], object]) -> None:
    """Drops the parts of a spilled frame that nobody will read."""
    for token, _, _ in _parts(payload)[0]:
        drop(token)


def decode(data: Any, buffers: Sequence[Any] = ()) -> Any:
    """Reads a pickle of ``encode``.

    Raises:
        PayloadError: it cannot be read here, for instance because a module is missing.
    """
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception as error:
        raise PayloadError(f"{type(error).__name__}: {error}") from error


def summary(error: BaseException) -> str:
    """Returns type and text of an error, whose own code may be what fails."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as worse:
        return f"{type(error).__name__}, whose text cannot be had ({type(worse).__name__})"


def portable(error: BaseException) -> BaseException:
    """Returns an exception, or a PayloadError that tells of it if it cannot travel."""
    try:
        data, buffers, _ = encode(error)
        decode(data, buffers)
    except PayloadError as why:
        text = f"{summary(error)}, which cannot be sent back: {why}"
        return PayloadError(f"the task raised {text}")
    return error


def shortened(value: Any) -> str:
    """Names a value for a message."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"something whose repr() raises {type(error).__name__},"
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{text} of type {type(value).__name__}"
