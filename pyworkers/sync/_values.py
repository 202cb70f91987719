"""Value, Array, RawValue, RawArray: one number, or a row of them, as ``multiprocessing`` has them.

Owns the types, named as in ``ctypes`` or by their codes, and what their users see. The memory is
that of a SharedArray. WebAssembly cannot map memory of others, so there is no ctypes object there:
each access copies an element, or a slice, in or out.
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Any, Final, SupportsIndex, cast

from pyworkers._env import Mode
from pyworkers._shared_array import SharedArray
from pyworkers.sync._held import Guarded
from pyworkers.sync._locks import Lock, RLock

_DTYPES: Final = {
    "c": "uint8",
    "u": "uint32",
    "?": "uint8",
    **{code: code for code in "bBhHiIlLqQfd"},
}


def _type(typecode: Any) -> tuple[str, str]:
    """Returns the code of a type, and what it is stored as."""
    code = typecode if isinstance(typecode, str) else getattr(typecode, "_type_", None)
    if not isinstance(code, str) or code not in _DTYPES:
        known = " ".join(_DTYPES)
        raise TypeError(
            f"the type must be one of ctypes such as c_int, or one of the codes {known}, not "
            f"{typecode!r}; for structures use a SharedMemory"
        )
    return code, _DTYPES[code]


def _stored(code: str, value: Any) -> Any:
    """Returns what stands in memory for a value."""
    if code == "c":
        if not isinstance(value, (bytes, bytearray)) or len(value) != 1:
            raise TypeError(f"one byte is needed, as b'x', not {value!r}")
        return value[0]
    if code == "u":
        if not isinstance(value, str) or len(value) != 1:
            raise TypeError(f"one character is needed, not {value!r}")
        return ord(value)
    return int(bool(value)) if code == "?" else value


def _value(code: str, stored: Any) -> Any:
    if code == "c":
        return bytes([stored])
    if code == "u":
        return chr(stored)
    return bool(stored) if code == "?" else stored


def _values(code: str, stored: Any) -> Any:
    """Returns what ctypes does for a slice."""
    if code == "c":
        return bytes(stored)
    if code == "u":
        return "".join(map(chr, stored))
    return [_value(code, each) for each in stored]


class RawValue:
    """One number in shared memory, without a lock.

    Args:
        typecode: a type of ``ctypes`` such as ``c_double``, or its code.
        value: at first; None means zero.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        TypeError: there is no such type.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        OverflowError: the value does not fit; ``ctypes`` would cut it off.
        ArenaFull: there is no room.
    """

    __slots__ = ("_array", "_code")

    def __init__(self, typecode: Any, value: Any = None, *, mode: Mode | None = None) -> None:
        self._code, dtype = _type(typecode)
        self._array = SharedArray(1, dtype, mode=mode)
        if value is not None:
            self.value = value

    @property
    def value(self) -> Any:
        """The number; each look at it, and each assignment, copies it."""
        return _value(self._code, self._array[0])

    @value.setter
    def value(self, value: Any) -> None:
        self._array[0] = _stored(self._code, value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._code!r} {self.value!r}>"


class RawArray:
    """A row of numbers in shared memory, without a lock.

    Args:
        typecode: a type of ``ctypes`` such as ``c_double``, or its code.
        size_or_initializer: how many, zero at first, or what they are at first.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: the size is negative.
        TypeError: there is no such type.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        OverflowError: a number does not fit; ``ctypes`` would cut it off.
        ArenaFull: there is no room.
    """

    __slots__ = ("_array", "_code")

    def __init__(
        self,
        typecode: Any,
        size_or_initializer: SupportsIndex | Sequence[Any],
        *,
        mode: Mode | None = None,
    ) -> None:
        self._code, dtype = _type(typecode)
        given = size_or_initializer
        try:
            # Arrays of NumPy have the method, and refuse.
            size = operator.index(cast(SupportsIndex, given))
        except TypeError:
            initializer = cast(Sequence[Any], given)
            self._array = SharedArray(len(initializer), dtype, mode=mode)
            self[:] = initializer
        else:
            self._array = SharedArray(size, dtype, mode=mode)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        """Iterates over a copy."""
        return iter([_value(self._code, each) for each in self._array])

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Copies an element, or a slice: a list, or bytes of ``c_char`` and text of ``c_wchar``."""
        if not isinstance(index, slice):
            return _value(self._code, self._array[index.__index__()])
        start, stop, step = index.indices(len(self))
        if step == 1:
            return _values(self._code, self._array.read(start, stop))
        return _values(self._code, self._array.read().tolist()[index])

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if not isinstance(index, slice):
            self._array[index.__index__()] = _stored(self._code, value)
            return
        places = range(*index.indices(len(self)))
        values = list(value)
        if self._code == "c":  # bytes consist of numbers
            values = [each if isinstance(each, int) else _stored("c", each) for each in values]
        else:
            values = [_stored(self._code, each) for each in values]
        if len(values) != len(places):
            raise ValueError(f"{len(values)} elements cannot be assigned to {len(places)}")
        if places.step == 1:
            if values:
                self._array.write(values, places.start)
            return
        for place, each in zip(places, values, strict=True):
            self._array[place] = each

    @property
    def raw(self) -> bytes:
        """All bytes of an array of ``c_char``.

        Raises:
            AttributeError: it is one of something else.
        """
        self._need("c")
        return bytes(self._array.read())

    @raw.setter
    def raw(self, value: bytes) -> None:
        self._need("c")
        if len(value) > len(self):
            raise ValueError(f"{len(value)} bytes do not fit into {len(self)}")
        self._array.write(list(value))

    @property
    def value(self) -> Any:
        """What stands in an array of ``c_char`` or ``c_wchar`` before the first zero.

        Raises:
            AttributeError: it is an array of something else.
        """
        self._need("cu")
        found: Any = self[:]
        return found.split(b"\0" if self._code == "c" else "\0", 1)[0]

    @value.setter
    def value(self, value: Any) -> None:
        self._need("cu")
        if len(value) > len(self):
            raise ValueError(f"{value!r} does not fit into {len(self)} elements")
        if len(value) < len(self):
            value += b"\0" if self._code == "c" else "\0"
        self[: len(value)] = value

    def _need(self, codes: str) -> None:
        if self._code not in codes:
            raise AttributeError(f"an array of {self._code!r} has no text: use slices")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} {self._code!r}>"


class _Synchronized(Guarded):
    """A raw object and its lock."""

    __slots__ = ("_lock", "_obj")

    def __init__(self, obj: Any, lock: Any) -> None:
        self._obj = obj
        self._lock = lock

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._obj, self._lock)

    def get_obj(self) -> Any:
        """Returns the same without its lock."""
        return self._obj

    def get_lock(self) -> Any:
        """Returns the lock; ``with value.get_lock():`` makes several accesses one."""
        return self._lock

    @property
    def value(self) -> Any:
        """The value, read or written while the lock is held."""
        with self._lock:
            return self._obj.value

    @value.setter
    def value(self, value: Any) -> None:
        with self._lock:
            self._obj.value = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} around {self._obj!r}>"


class Synchronized(_Synchronized):
    """A number in shared memory and its lock: what ``Value`` returns."""

    __slots__ = ()


class SynchronizedArray(_Synchronized):
    """A row of numbers in shared memory and its lock: what ``Array`` returns."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._obj)

    def __iter__(self) -> Iterator[Any]:
        return iter(self[:])

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        with self._lock:
            return self._obj[index]

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        with self._lock:
            self._obj[index] = value

    @property
    def raw(self) -> bytes:
        """All bytes of an array of ``c_char``."""
        with self._lock:
            found: bytes = self._obj.raw
            return found

    @raw.setter
    def raw(self, value: bytes) -> None:
        with self._lock:
            self._obj.raw = value


def _lock_for(lock: Any, mode: Mode | None) -> Any:
    if lock is True or lock is None:
        return RLock(mode=mode)
    if not isinstance(lock, (Lock, RLock)):
        raise TypeError(f"lock must be True, False, a Lock or an RLock, not {lock!r}")
    return lock


def Value(
    typecode: Any, value: Any = None, *, lock: Any = True, mode: Mode | None = None
) -> RawValue | Synchronized:
    """Makes a number in shared memory.

    ``value.value += 1`` is two accesses: ``with value.get_lock():`` makes them one. Where only
    that is wanted, a ``SharedCounter`` does it at a tenth of the price.

    Args:
        typecode: a type of ``ctypes`` such as ``c_double``, or its code.
        value: at first; None means zero.
        lock: True makes an RLock for it, False makes it a ``RawValue``; or a lock to use.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        TypeError: there is no such type, or this is no lock.
        ModeError: as for ``RawValue``.
    """
    raw = RawValue(typecode, value, mode=mode)
    return raw if lock is False else Synchronized(raw, _lock_for(lock, mode))


def Array(
    typecode: Any,
    size_or_initializer: SupportsIndex | Sequence[Any],
    *,
    lock: Any = True,
    mode: Mode | None = None,
) -> RawArray | SynchronizedArray:
    """Makes a row of numbers in shared memory.

    To compute with many of them, give tasks a ``SharedArray``, whose ``checkout`` copies them once.

    Args:
        typecode: a type of ``ctypes`` such as ``c_double``, or its code.
        size_or_initializer: how many, zero at first, or what they are at first.
        lock: True makes an RLock for it, False makes it a ``RawArray``; or a lock to use.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        TypeError: there is no such type, or this is no lock.
        ModeError: as for ``RawArray``.
    """
    raw = RawArray(typecode, size_or_initializer, mode=mode)
    return raw if lock is False else SynchronizedArray(raw, _lock_for(lock, mode))
