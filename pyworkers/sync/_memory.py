"""SharedMemory and ShareableList: memory that is found by its name, as ``multiprocessing`` has it.

Owns the names, which the hub keeps; a worker asks it. The memory is that of a SharedArray of bytes,
which a name keeps until ``unlink``, and each user as long as it uses it.

A worker that asks gets a number, and attaches what lies there. As the name may be gone by then, the
hub keeps the memory until the worker has said that it has told of its use.
"""

import itertools
import secrets
import struct
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final, cast

from pyworkers._answers import SERVICES, Message
from pyworkers._env import Mode
from pyworkers._hub import hub_for
from pyworkers._shared_array import SharedArray, attach
from pyworkers._worker import current_worker
from pyworkers.errors import ModeError

_CHANNEL: Final = "pyworkers.memory"

_segments: Final[dict[str, SharedArray]] = {}
"""What has a name, in a hub."""
_promised: Final[dict[int, dict[int, SharedArray]]] = {}
"""What was named to workers which have not told yet that they use it: by worker and ticket."""
_tickets: Final = itertools.count(1)


def _create(name: str | None, size: int, mode: Mode | None) -> tuple[str, SharedArray]:
    if size <= 0:
        raise ValueError("size must be a number of bytes of 1 or more")
    name = name or f"pyw_{secrets.token_hex(4)}"
    if name in _segments:
        raise FileExistsError(f"there is a shared memory of name {name!r}")
    array = _segments[name] = SharedArray(size, "uint8", mode=mode)
    return name, array


def _found(name: str) -> SharedArray:
    try:
        return _segments[name]
    except KeyError:
        raise FileNotFoundError(f"there is no shared memory of name {name!r}") from None


def _unlink(name: str) -> None:
    _found(name)
    del _segments[name]


def _serve_open(message: Message) -> tuple[str, int, int, int]:
    name, size, mode = message.payload
    assert message.worker is not None
    if size is None:
        array = _found(name)
    else:
        name, array = _create(name, size, mode)
    for gone in _promised.keys() - hub_for(cast(Mode, array.mode)).peers():
        del _promised[gone]
    ticket = next(_tickets)
    _promised.setdefault(message.worker, {})[ticket] = array
    return name, array.id, array.size, ticket


def _serve_kept(message: Message) -> None:
    assert message.worker is not None
    _promised.get(message.worker, {}).pop(message.payload, None)


def _serve_unlink(message: Message) -> None:
    _unlink(message.payload)


SERVICES[_CHANNEL, "open"] = _serve_open
SERVICES[_CHANNEL, "kept"] = _serve_kept
SERVICES[_CHANNEL, "unlink"] = _serve_unlink


class SharedMemory(AbstractContextManager["SharedMemory"]):
    """Bytes in shared memory, found by their name from any worker of the hub, and from the hub.

    WebAssembly cannot map memory of others, so ``buf`` is no memoryview but a ``SharedArray`` of
    bytes: ``buf[i]``, ``buf[i:j]`` and assignments to them copy, and ``checkout`` copies out, and
    in again at the end of its block.

    Args:
        name: of what there is, or is made; None: one is found for what is made.
        create: whether it is made.
        size: bytes of what is made.
        mode: of the pools whose tasks shall reach it; None means the default one, and in a worker
            that of its pool.

    Raises:
        FileNotFoundError: there is none of that name.
        FileExistsError: there is one.
        ValueError: the size is 0 or less, or there is no name.
        ModeError: no memory can be shared in that mode.
        ArenaFull: there is no room.
    """

    def __init__(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        mode: Mode | None = None,
    ) -> None:
        if name is None and not create:
            raise ValueError("name what is to be attached, or say create=True")
        self._array: SharedArray | None
        if current_worker() is not None:
            self._name, self._array = _asked(name, size if create else None)
        elif create:
            self._name, self._array = _create(name, size, mode)
        else:
            self._name, self._array = cast(str, name), _found(cast(str, name))
        self._size = self._array.size

    @property
    def name(self) -> str:
        """What it is found by."""
        return self._name

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._size

    @property
    def buf(self) -> SharedArray:
        """Its bytes.

        Raises:
            ValueError: it is closed.
        """
        if self._array is None:
            raise ValueError(f"{self!r} is closed")
        return self._array

    def checkout(
        self, start: int = 0, stop: int | None = None
    ) -> AbstractContextManager[memoryview]:
        """Gives bytes to change at full speed, and writes them back at the end of the block."""
        return self.buf.checkout(start, stop)

    def close(self) -> None:
        """Uses it no more here; others may go on."""
        self._array = None

    def unlink(self) -> None:
        """Takes its name away: it is freed when nobody uses it any more.

        Raises:
            FileNotFoundError: that was done before.
        """
        worker = current_worker()
        if worker is None:
            _unlink(self._name)
        else:
            worker.messages.channel(_CHANNEL).request("unlink", self._name).result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _attached, (self._name, self.buf)

    def __repr__(self) -> str:
        return f"SharedMemory({self._name!r}, size={self._size})"


def _attached(name: str, array: SharedArray) -> SharedMemory:
    memory = SharedMemory.__new__(SharedMemory)
    memory._name, memory._array, memory._size = name, array, array.size
    return memory


def _asked(name: str | None, size: int | None) -> tuple[str, SharedArray]:
    """Has the hub make or find it, and attaches it to this worker."""
    worker = current_worker()
    assert worker is not None
    mode = worker.mode
    if mode == "transfer":
        raise ModeError("mode transfer has no shared memory")
    channel = worker.messages.channel(_CHANNEL)
    asked = channel.request("open", (name, size, mode))
    named, id, length, ticket = asked.result()
    array = attach(mode, id, 0, (length,), "B")
    worker.retain()
    channel.post("kept", ticket)
    return named, array


_COUNT: Final = struct.Struct("<q")
_NUMBER: Final = struct.Struct("<q")
_FLOAT: Final = struct.Struct("<d")
_ITEM: Final = struct.Struct("<qqqc7x")
"""Of an element: where it lies, how many bytes it may have, how many it has, and its type."""

Item = int | float | bool | str | bytes | None


def _packed(value: Item) -> tuple[bytes, bytes]:
    """Returns the type of an element, and its bytes."""
    if value is None:
        return b"n", b""
    if isinstance(value, bool):
        return b"?", bytes([value])
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise OverflowError(f"{value} does not fit into 64 bits")
        return b"q", _NUMBER.pack(value)
    if isinstance(value, float):
        return b"d", _FLOAT.pack(value)
    if isinstance(value, str):
        return b"s", value.encode()
    if isinstance(value, bytes):
        return b"b", value
    raise TypeError(f"a ShareableList holds numbers, bools, str, bytes and None, not {value!r}")


def _unpacked(kind: bytes, data: bytes) -> Item:
    if kind == b"n":
        return None
    if kind == b"?":
        return bool(data[0])
    if kind == b"q":
        return cast(int, _NUMBER.unpack(data)[0])
    if kind == b"d":
        return cast(float, _FLOAT.unpack(data)[0])
    return data.decode() if kind == b"s" else data


class ShareableList:
    """A list of fixed length in shared memory, of numbers, bools, text, bytes and None.

    Each element has the room that its first value needs, rounded up to a multiple of 8 bytes, and
    at least 8. Nothing guards it against others that change the same element at the same time.

    Args:
        sequence: its elements; None attaches the list of that name.
        name: of its SharedMemory; None: one is found.
        mode: of the pools whose tasks shall reach it; None means the default one.

    Raises:
        TypeError: an element is of another type.
        FileNotFoundError, FileExistsError, ModeError, ArenaFull: as for SharedMemory.
    """

    def __init__(
        self,
        sequence: Iterable[Item] | None = None,
        *,
        name: str | None = None,
        mode: Mode | None = None,
    ) -> None:
        if sequence is None:
            self.shm = SharedMemory(name)
            return
        items = [_packed(value) for value in sequence]
        at = _COUNT.size + len(items) * _ITEM.size
        table, contents = [_COUNT.pack(len(items))], []
        for kind, data in items:
            room = max(8, -(-len(data) // 8) * 8)
            table.append(_ITEM.pack(at, room, len(data), kind))
            contents.append(data.ljust(room, b"\0"))
            at += room
        self.shm = SharedMemory(name, create=True, size=at, mode=mode)
        self.shm.buf.write(b"".join(table + contents))

    def __len__(self) -> int:
        return cast(int, _COUNT.unpack(self.shm.buf.read(0, _COUNT.size))[0])

    def _at(self, index: int) -> int:
        length = len(self)
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of range for {length} elements")
        return _COUNT.size + (index % length) * _ITEM.size

    def _described(self, at: int) -> tuple[int, int, int, bytes]:
        return cast(
            tuple[int, int, int, bytes], _ITEM.unpack(self.shm.buf.read(at, at + _ITEM.size))
        )

    def __getitem__(self, index: int) -> Item:
        start, _, length, kind = self._described(self._at(index))
        return _unpacked(kind, bytes(self.shm.buf.read(start, start + length)))

    def __setitem__(self, index: int, value: Item) -> None:
        at = self._at(index)
        start, room, _, _ = self._described(at)
        kind, data = _packed(value)
        if len(data) > room:
            raise ValueError(f"{value!r} needs {len(data)} bytes, and element {index} has {room}")
        self.shm.buf.write(data, start)
        self.shm.buf.write(_ITEM.pack(start, room, len(data), kind), at)

    def __iter__(self) -> Iterator[Item]:
        return (self[index] for index in range(len(self)))

    def count(self, value: Item) -> int:
        """Returns how many elements are equal to a value."""
        return sum(value == item for item in self)

    def index(self, value: Item) -> int:
        """Returns where the first element is that is equal to a value.

        Raises:
            ValueError: there is none.
        """
        return list(self).index(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attached_list, (self.shm,)

    def __repr__(self) -> str:
        return f"ShareableList({list(self)!r}, name={self.shm.name!r})"


def _attached_list(memory: SharedMemory) -> ShareableList:
    result = ShareableList.__new__(ShareableList)
    result.shm = memory
    return result
