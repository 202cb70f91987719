"""A queue in shared memory, as an interpreter puts items into it, and takes them out.

Owns the way of an item between Python's heap and the queue: through a box, from which the shim
copies it into the ring, or as a block of its own. Knows nothing of what users see.

A signal that ends a task is put off while something is taken, until who asked for it has it: there
is no check for signals between the end of that and the return to the caller. It is put off, too,
while blocks are made for what is to be put, and while those are freed that were not.
"""

import math
import pickle
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from pyworkers import _js
from pyworkers._arena import SharedArena
from pyworkers._cancel import undisturbed
from pyworkers._hub import Hub
from pyworkers.errors import PayloadError
from pyworkers.sync._core import NOT_YET, Core, SharedCore
from pyworkers.sync._held import care
from pyworkers.sync._lines import END, NOTHING, all_opened, opened
from pyworkers.sync._local_queue import ENDED, Item

_BOX_BYTES: Final = 65_536
_MAX_INLINE: Final = 16_384
"""What is larger gets a block of its own, so that it does not fill the ring."""
_TOOK_BLOCK: Final = -2
_BLOCK: Final = 1 << 31
_WORD: Final = struct.Struct("<I")
_FROZEN: Final = 1 << 31
_SLICE_SECONDS: Final = 0.05

_box: bytearray | None = None


def _the_box() -> bytearray:
    """Returns the memory through which this interpreter passes items, which the shim knows."""
    global _box  # noqa: PLW0603 - made when first needed
    if _box is None:
        _box = bytearray(_BOX_BYTES)
    return _box


def _padded(length: int) -> int:
    return (length + 15) & -16


class _Wait(SharedCore):
    """One wait at one end of a queue.

    Args:
        end: that waits.
        attempt: tries once, by the milliseconds it was tried in vain.
        acquire: tries for so many milliseconds, and blocks meanwhile.
    """

    def __init__(
        self,
        end: SharedCore,
        attempt: Callable[[float], int],
        acquire: Callable[[float, float], int],
    ) -> None:
        self._shim = end._shim
        self._watch = end._watch
        self._hub = end._hub
        self.attempt = attempt
        self._acquire = acquire


class SharedLine:
    """A queue in shared memory.

    Args:
        arena: of this interpreter.
        offset: of the queue.
        hub: that pumps while it waits; None in a worker, which blocks.
        consumer: its core as one who takes.
    """

    def __init__(
        self, arena: SharedArena, offset: int, hub: Hub | None, consumer: SharedCore
    ) -> None:
        self._arena = arena
        self._consumer = consumer
        self._producer = SharedCore(arena, "Producer", offset, hub)
        self.some: Core = SharedCore(arena, "Onlooker", offset, hub)
        self.joined: Core = SharedCore(arena, "Joiner", offset, hub)
        self._box = box = _the_box()
        self._view = memoryview(box)
        address = _js.address(box)
        taker, putter = consumer._shim, self._producer._shim
        for end in (taker, putter):
            end.configure(address, _BOX_BYTES)
        self._put = putter.put
        self._put_many = putter.putMany
        self._put_for = putter.putFor
        self._take_one = taker.takeOne
        self._take_many = taker.takeMany
        self._take_for = taker.takeFor
        self.care = care()
        self._inline = 0

    def _most_inline(self) -> int:
        if not self._inline:
            self._inline = min(_MAX_INLINE, self.ask("capacity") // 4)
        return self._inline

    def ask(self, operation: str, *arguments: Any) -> Any:
        producers = {"initialize", "statistics", "capacity"}
        core = self._producer if operation in producers else self._consumer
        return core.ask(operation, *arguments)

    # Putting

    def put(self, items: Sequence[Item], timeout: float | None) -> int:
        if len(items) == 1 and not items[0][1]:
            data = items[0][0]
            length = len(data)
            if length <= (self._inline or self._most_inline()):
                self._box[:length] = data
                got: int = self._put(length)
                if got or (timeout is not None and timeout <= 0):
                    return got
        return self._put_all(items, timeout)

    def _put_all(self, items: Sequence[Item], timeout: float | None) -> int:
        end = math.inf if timeout is None else time.monotonic() + timeout
        done = 0
        while done < len(items):
            with _Batch(self) as batch:
                batch.fill(items[done:])
                got = batch.attempt(0)
                if not got:
                    left = None if end == math.inf else end - time.monotonic()
                    got = _Wait(self._producer, batch.attempt, batch.acquire).wait(left)
            if got <= 0:
                return done or got
            done += got
        return done

    async def put_async(self, items: Sequence[Item], timeout: float | None) -> int:
        end = math.inf if timeout is None else time.monotonic() + timeout
        done = 0
        while done < len(items):
            with _Batch(self) as batch:
                batch.fill(items[done:])
                got = batch.attempt(0)
                if not got:
                    left = None if end == math.inf else end - time.monotonic()
                    wait = _Wait(self._producer, batch.attempt, batch.acquire)
                    got = await wait.wait_async(left)
            if got <= 0:
                return done or got
            done += got
        return done

    def record(self, item: Item) -> tuple[bytes, int]:
        """Returns an item as it stands in the box, and the offset of its block, 0 if it has none.

        Raises:
            ArenaFull: there is no room for that block.
        """
        data, buffers = item
        if buffers or len(data) > self._most_inline():
            offset = self._written(data, buffers)
            return _WORD.pack(_BLOCK | 4) + _WORD.pack(offset), offset
        return b"%b%b%b" % (_WORD.pack(len(data)), data, bytes(-len(data) & 3)), 0

    def _written(self, data: bytes, buffers: list[Any]) -> int:
        parts = [memoryview(data), *(memoryview(part).cast("B") for part in buffers)]
        table = [len(part) | (_FROZEN if part.readonly else 0) for part in parts]
        head = struct.pack(f"<{1 + len(parts)}I", len(parts), *table)
        offset = self._arena.allocate(
            _padded(8 + len(head)) + sum(_padded(len(part)) for part in parts)
        )
        try:
            self._arena.write(offset, 8, head)
            position = _padded(8 + len(head))
            for part in parts:
                self._arena.write(offset, position, part)
                position += _padded(len(part))
        except BaseException:
            self.drop(offset)
            raise
        return offset

    def drop(self, offset: int) -> None:
        """Frees a block that was not put."""
        self._producer.ask("drop", offset)

    # Taking

    def get(self, timeout: float | None, is_raw: bool = False) -> Any:
        return self._taken(0, timeout, is_raw)

    def get_many(self, most: int, timeout: float | None) -> Any:
        return self._taken(most, timeout, False)

    def _taken(self, most: int, timeout: float | None, is_raw: bool) -> Any:
        care = self.care
        care.raise_put_off()
        # What is unpickled may take something itself.
        outer, care.puts_off = care.puts_off, True
        try:
            got = self._take_many(most) if most else self._take_one()
            if not got and (timeout is None or timeout > 0):
                wait = _Wait(self._consumer, self._attempt(most), self._acquire(most, outer))
                got = wait.wait(timeout)
            value = self._opened(got, most, is_raw)
        finally:
            care.puts_off = outer
        return value

    def _attempt(self, most: int) -> Callable[[float], int]:
        if not most:
            attempt: Callable[[float], int] = self._take_one
            return attempt
        return lambda waited: int(self._take_many(most, waited))

    def _acquire(self, most: int, puts_off: bool) -> Callable[[float, float], int]:
        care = self.care

        def acquire(milliseconds: float, waited: float) -> int:
            got: int = self._take_for(most, milliseconds, waited)
            if not got:
                care.puts_off = puts_off
                care.raise_put_off()
                care.puts_off = True
            return got

        return acquire

    async def get_async(self, timeout: float | None, is_raw: bool = False) -> Any:
        return await self._taken_async(0, timeout, is_raw)

    async def get_many_async(self, most: int, timeout: float | None) -> Any:
        return await self._taken_async(most, timeout, False)

    async def _taken_async(self, most: int, timeout: float | None, is_raw: bool) -> Any:
        value = self._taken(most, 0, is_raw)
        if value is not NOTHING or (timeout is not None and timeout <= 0):
            return value
        care, consumer = self.care, self._consumer
        attempt = self._attempt(most)
        began = now = time.monotonic()
        end = math.inf if timeout is None else began + timeout
        consumer._shim.enter()
        has_entered = True
        try:
            while True:
                care.raise_put_off()
                care.puts_off = True
                try:
                    got = attempt((now - began) * 1000)
                    if got or now >= end:
                        has_entered = False
                        consumer._shim.leave()
                        value = self._opened(got, most, is_raw)
                        return value
                finally:
                    care.puts_off = False
                await consumer._changed(min(end - now, _SLICE_SECONDS))
                now = time.monotonic()
        finally:
            if has_entered:
                consumer._shim.leave()

    def _opened(self, got: int, most: int, is_raw: bool) -> Any:
        if got == NOT_YET:
            return NOTHING
        if got == ENDED:
            return END
        if most:
            return all_opened(self._items(got))
        if got == _TOOK_BLOCK:
            return opened(self._read(_WORD.unpack_from(self._box)[0]), is_raw)
        # What is unpickled may use the box itself.
        data = self._box[: got - 1]
        if is_raw:
            return bytes(data)
        try:
            return pickle.loads(data)
        except Exception as error:
            raise PayloadError(f"{type(error).__name__}: {error}") from error

    def _items(self, length: int) -> list[Item]:
        items: list[Item] = []
        at = 0
        unpack = _WORD.unpack_from
        # What is unpickled may use the box itself.
        box = bytes(self._view[:length])
        view = memoryview(box)
        while at < length:
            (word,) = unpack(box, at)
            at += 4
            if word & _BLOCK:
                items.append(self._read(unpack(box, at)[0]))
                at += 4
            else:
                # For pickle, a view is as good as bytes.
                items.append((view[at : at + word], []))  # type: ignore[arg-type]
                at += (word + 3) & -4
        return items

    def _read(self, offset: int) -> Item:
        """Copies an item out of its block, and frees that."""
        arena = self._arena
        try:
            (count,) = _WORD.unpack(arena.read(offset, 8, 4, True))
            table = struct.unpack(f"<{count}I", arena.read(offset, 12, 4 * count, True))
            position = _padded(12 + 4 * count)
            parts = []
            for word in table:
                length = word & ~_FROZEN
                parts.append(arena.read(offset, position, length, word >= _FROZEN))
                position += _padded(length)
        finally:
            arena.free(offset)
        # The first is bytes or a view of them; mypy knows one type for all parts.
        return parts[0], parts[1:]  # type: ignore[return-value]


class _Batch(AbstractContextManager["_Batch"]):
    """Items that are put into the box together, as many as fit there.

    Args:
        line: of the queue.
    """

    def __init__(self, line: SharedLine) -> None:
        self._line = line
        self._care = line.care
        self._offsets: list[int] = []
        self._bytes = b""

    def fill(self, items: Sequence[Item]) -> None:
        """Makes them of the first of some items that were not put.

        Raises:
            ArenaFull: there is no room for a large one.
        """
        records: list[bytes] = []
        size = 0
        care = self._care
        outer, care.puts_off = care.puts_off, True
        try:
            for item in items:
                data, buffers = item
                is_small = not buffers and len(data) <= self._line._most_inline()
                if size + (4 + len(data) + 3 if is_small else 8) > _BOX_BYTES:
                    break
                record, offset = self._line.record(item)
                records.append(record)
                if offset:
                    self._offsets.append(offset)
                size += len(record)
        finally:
            care.puts_off = outer
        self._bytes = b"".join(records)

    def attempt(self, waited: float) -> int:
        self._line._box[: len(self._bytes)] = self._bytes
        return int(self._line._put_many(len(self._bytes), waited))

    def acquire(self, milliseconds: float, waited: float) -> int:
        self._line._box[: len(self._bytes)] = self._bytes
        return int(self._line._put_for(len(self._bytes), True, milliseconds, waited))

    @undisturbed
    def __exit__(self, *_: object) -> None:
        care = self._care
        outer, care.puts_off = care.puts_off, True
        try:
            for offset in self._offsets:
                self._line.drop(offset)  # unless it was put
        finally:
            care.puts_off = outer
        care.raise_put_off()
