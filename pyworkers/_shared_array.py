"""Numbers in shared memory, which hub and workers read and write in place.

Owns shapes, types and what is copied when. Knows nothing of how the memory is shared.
"""

import math
import operator
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, SupportsIndex

from pyworkers import _codec, _store
from pyworkers._env import Mode, capabilities, choose_mode
from pyworkers._hub import hub_for
from pyworkers._store import ArenaStore, Block
from pyworkers._worker import current_worker
from pyworkers.errors import ModeError

CODES: Final = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
"""Names of the types, and their codes in ``struct``."""

_NAMES: Final = {code: name for name, code in CODES.items()}
SIZES: Final = {code: array(code).itemsize for code in _NAMES}
"""Bytes of an element, by code."""

_LONG: Final = {4: "i", 8: "q"}[array("l").itemsize]

_FORMATS: Final = {
    **{prefix + code: code for code in _NAMES for prefix in ("", "@", "=", "<")},
    **{prefix + "l": _LONG for prefix in ("", "@")},
    **{prefix + "L": _LONG.upper() for prefix in ("", "@")},
    **{prefix + "l": "i" for prefix in ("=", "<")},
    **{prefix + "L": "I" for prefix in ("=", "<")},
}
"""The formats of ``struct`` that are one of these types; all platforms are little-endian."""


class SharedArray(_codec.Handle):
    """An array of numbers in shared memory, zero at first.

    Give it to tasks as any argument: what arrives is the same array, not a copy, and may be kept
    there for later tasks. It is freed when no interpreter uses it any more. A typed array over a
    SharedArrayBuffer of a page comes as one, too.

    Python can only compute with what lies in its own memory, so numbers are copied:

    - ``a[i]``, ``a[i] = x`` and the atomic methods touch one number in place, at the price of a
      call into JavaScript (about a microsecond);
    - ``read`` and ``a[i:j]`` copy out, ``write`` and ``a[i:j] = values`` copy in;
    - ``checkout`` copies out, and in again at the end of its block.

    Each copies only the rows that are named, at memory speed. Nothing but the atomic methods says
    anything about what two interpreters see that write the same numbers at the same time.

    Args:
        shape: length, or lengths of all dimensions; rows lie one after another.
        dtype: "int8" to "int64", "uint8" to "uint64", "float32" or "float64", the code of one of
            these in ``struct``, or numpy's type.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: a length is negative.
        TypeError: there is no such type of numbers.
        ModeError: no memory can be shared in that mode, or this is a worker: create it where the
            pool is, and give it to tasks.
        ArenaFull: there is no room.
    """

    __slots__ = ("__weakref__", "_at", "_block", "_cells", "_code", "_mode", "_store", "shape")

    def __init__(
        self,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: Any = "float64",
        *,
        mode: Mode | None = None,
    ) -> None:
        given = shape if isinstance(shape, Sequence) else (shape,)
        lengths = tuple(operator.index(length) for length in given)
        if not lengths or min(lengths) < 0:
            raise ValueError(f"shape must be lengths of 0 or more, not {shape!r}")
        code = _code(dtype)
        if current_worker() is not None:
            raise ModeError(
                "a SharedArray cannot be created in a worker: create it where the pool is, and "
                "give it to tasks"
            )
        mode = choose_mode(mode)
        store = hub_for(mode).store
        if not isinstance(store, ArenaStore):
            raise ModeError(
                f"mode {mode} has no shared memory ({capabilities().reason}): give data to tasks "
                "by pool.put, and return what they make of it"
            )
        size = math.prod(lengths) * SIZES[code]
        block = store.own(store.arena.allocate(size))
        _zero(store, block.id, size)
        self._open(mode, store, block, 0, lengths, code)

    def _open(
        self, mode: str, store: ArenaStore, block: Block, at: int, shape: tuple[int, ...], code: str
    ) -> None:
        self._mode = mode
        self._store = store
        self._block = block
        self._at = at
        self._code = code
        self.shape = shape
        """Lengths of the dimensions."""
        self._cells = store.arena.cells(block.id, at, self.nbytes, code)

    @property
    def id(self) -> int:
        """What names its memory."""
        return self._block.id

    @property
    def mode(self) -> str:
        """Of the pools whose tasks can use it."""
        return self._mode

    @property
    def dtype(self) -> str:
        """Name of the type of its numbers."""
        return _NAMES[self._code]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * SIZES[self._code]

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Iterates over a copy: numbers, or lists for more than one dimension."""
        return iter(self.read().tolist())

    def __repr__(self) -> str:
        return f"<SharedArray {self.shape} of {self.dtype}, mode {self._mode}>"

    def reduced(self) -> tuple[Any, ...]:
        return attach, (self._mode, self._block.id, self._at, self.shape, self._code)

    def read(self, start: int = 0, stop: int | None = None) -> memoryview:
        """Copies rows out.

        Args:
            start: first row, counted from the end if negative.
            stop: row behind the last; None means to the end.

        Returns:
            A view of the copy, which can be written to, of the shape of these rows.
            ``numpy.asarray`` makes an array of it without another copy.
        """
        start, stop = self._rows(start, stop)
        row = self._row_bytes
        at, length = self._at + start * row, (stop - start) * row
        data = self._store.arena.read(self._block.id, at, length, False)
        return _codec.view(data, self._code, (stop - start, *self.shape[1:]))

    def write(self, values: Any, start: int = 0) -> None:
        """Copies rows in.

        Args:
            values: a buffer of numbers of this type, such as an array, memoryview or numpy array,
                or a flat sequence of numbers.
            start: the first row to be written, counted from the end if negative.

        Raises:
            IndexError: there is no such row.
            TypeError: these are numbers of another type.
            ValueError: they are no whole rows, or more than there are.
        """
        length = self.shape[0]
        if not -length <= start <= length:
            raise IndexError(f"row {start} is out of range for {self!r}")
        start, _ = self._rows(start, None)
        data = self._encoded(values)
        row = self._row_bytes
        rows, rest = divmod(len(data), row) if row else (0, len(data))
        if rest or start + rows > self.shape[0]:
            raise ValueError(
                f"{len(data) // SIZES[self._code]} numbers from row {start} on do not fit into "
                f"{self!r}"
            )
        self._write(start, data)

    def _write(self, start: int, data: memoryview) -> None:
        self._store.arena.write(self._block.id, self._at + start * self._row_bytes, data)

    def _encoded(self, values: Any) -> memoryview:
        try:
            view = memoryview(values)
        except TypeError:
            return memoryview(array(self._code, values)).cast("B")
        if _FORMATS.get(view.format) != self._code:
            raise TypeError(
                f"numbers of format {view.format!r} cannot be written to {self!r}: convert them"
            )
        return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())

    @contextmanager
    def checkout(self, start: int = 0, stop: int | None = None) -> Iterator[memoryview]:
        """Gives rows to compute with at full speed, and writes them back at the end.

        If the block raises an error, nothing is written. Workers that check out different rows do
        not disturb each other.

        Args:
            start: first row, counted from the end if negative.
            stop: row behind the last; None means to the end.
        """
        start, stop = self._rows(start, stop)
        view = self.read(start, stop)
        yield view
        self.write(view, start)

    def __getitem__(self, index: int | slice | tuple[int, ...]) -> Any:
        if isinstance(index, slice):
            return self.read(*self._slice(index))
        return self._cells.get(self._flat(index))

    def __setitem__(self, index: int | slice | tuple[int, ...], value: Any) -> None:
        if isinstance(index, slice):
            start, stop = self._slice(index)
            data = self._encoded(value)
            if len(data) != (stop - start) * self._row_bytes:
                raise ValueError(f"{len(data)} bytes cannot be assigned to rows {start} to {stop}")
            self._write(start, data)
        else:
            self._cells.set(self._flat(index), self._checked(value))

    def load(self, index: int | tuple[int, ...]) -> int:
        """Reads an element atomically; all writes before its ``store`` are then seen here."""
        self._need_integers()
        return self._cells.load(self._flat(index))

    def store(self, index: int | tuple[int, ...], value: int) -> None:
        """Writes an element atomically; raises what ``compare_exchange`` does."""
        self._need_integers()
        self._cells.store(self._flat(index), self._checked(value))

    def add(self, index: int | tuple[int, ...], value: int) -> int:
        """Adds to an element atomically, around the ends of its type; negative values subtract.

        Returns:
            What it was before.

        Raises:
            TypeError: these are no integers.
            IndexError: there is no such element.
        """
        self._need_integers()
        bits = 8 * SIZES[self._code]
        return self._cells.add(self._flat(index), operator.index(value) & ((1 << bits) - 1))

    def compare_exchange(self, index: int | tuple[int, ...], expected: int, value: int) -> int:
        """Replaces an element if it is what is expected, atomically.

        Returns:
            What it was before: it was replaced if that is ``expected``.

        Raises:
            TypeError: these are no integers.
            IndexError: there is no such element.
            OverflowError: a value is out of range for the type.
        """
        self._need_integers()
        return self._cells.compareExchange(
            self._flat(index), self._checked(expected), self._checked(value)
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Copies the whole array into one of numpy's."""
        if copy is False:
            raise ValueError("numpy cannot use shared memory in place: allow it to copy")
        import numpy  # noqa: PLC0415 - only who has it can ask for this

        return numpy.asarray(self.read(), dtype=dtype).reshape(self.shape)

    def page_view(self) -> Any:
        """Returns the JavaScript array by which a page sees the same numbers."""
        return self._cells.items

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * SIZES[self._code]

    def _rows(self, start: int, stop: int | None) -> tuple[int, int]:
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        return start, max(start, stop)

    def _slice(self, index: slice) -> tuple[int, int]:
        if index.step not in (None, 1):
            raise ValueError("slices of a SharedArray have no step: read rows, and slice those")
        return self._rows(index.start or 0, index.stop)

    def _flat(self, index: int | tuple[int, ...]) -> int:
        indices = index if isinstance(index, tuple) else (index,)
        if len(indices) != len(self.shape):
            raise IndexError(f"{self!r} takes {self.ndim} indices, or a slice of rows: {index!r}")
        flat = 0
        for i, length in zip(indices, self.shape, strict=True):
            at = operator.index(i)
            if not -length <= at < length:
                raise IndexError(f"index {i} is out of range for {self!r}")
            flat = flat * length + (at + length if at < 0 else at)
        return flat

    def _need_integers(self) -> None:
        if self._code in "fd":
            raise TypeError(f"atomic methods need an array of integers, not of {self.dtype}")

    def _checked(self, value: Any) -> Any:
        if self._code in "fd":
            if isinstance(value, (str, bytes)):
                raise TypeError(f"an element of {self!r} must be a number, not {value!r}")
            return float(value)
        number = operator.index(value)
        bits = 8 * SIZES[self._code]
        low = -(1 << (bits - 1)) if self._code.islower() else 0
        if not low <= number < low + (1 << bits):
            raise OverflowError(f"{number} is out of range for {self.dtype}")
        return number


def _code(dtype: Any) -> str:
    if isinstance(dtype, str):
        name = dtype
    elif isinstance(dtype, type):  # as numpy.int32
        name = dtype.__name__
    else:
        name = dtype.name if getattr(dtype, "isnative", False) else ""
    code = CODES.get(name) or _FORMATS.get(name)
    if code is None:
        raise TypeError(f"dtype must be one of {', '.join(CODES)}, not {dtype!r}")
    return code


def _zero(store: ArenaStore, id: int, size: int) -> None:
    """Fills new memory, which may have been used before, in pieces of bounded size."""
    zeros = memoryview(bytes(min(size, 2**20)))
    for at in range(0, size, len(zeros) or 1):
        store.arena.write(id, at, zeros[: size - at])


def attach(mode: str, id: int, at: int, shape: tuple[int, ...], code: str) -> SharedArray:
    """Finds an array that a pickle names.

    Args:
        mode: of the store.
        id: of the memory there.
        at: where in it the array begins, in bytes.
        shape: of the array.
        code: of its numbers, as in ``struct``.
    """
    store = _store.stores[mode]
    assert isinstance(store, ArenaStore)
    result = SharedArray.__new__(SharedArray)
    result._open(mode, store, store.attach(id), at, shape, code)
    return result
