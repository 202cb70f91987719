"""MessageChannelSync: the same keys and values on several sides, without shared memory.

Owns which of two values of a key is the later one. Each has a version: a count that is higher than
all that its side had seen, and a number of that side, which decides where counts are equal. So all
sides end with the same values, in whatever order they hear of them. ``js_shim/state.mjs`` is the
same in JavaScript.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from pyworkers import _js
from pyworkers._answers import Message
from pyworkers._futures import Future
from pyworkers._messages import Channel, DirectChannel
from pyworkers._pool_messages import PoolChannel


class _Entry(NamedTuple):
    value: Any
    version: int
    side: int


_Entries = list[list[Any]]
"""Key, value, count and side of each."""

Listener = Callable[[str, Any], object]


class MessageChannelSync:
    """Values by key, which all sides of a channel can set, and all get.

    The last one to set a key wins. Each side makes one of these over its end of the channel; the
    first words between two of them are all that they know. Between workers the hub passes it on.

    Args:
        channel: ``pool.channel(name)``, ``task.channel(name)`` or ``page.channel(name)``, or a
            JavaScript MessagePort. Values are what can travel there.
    """

    def __init__(self, channel: Channel | Any) -> None:
        self._entries: dict[str, _Entry] = {}
        self._count = 0
        self._side: Final = secrets.randbelow(2**52)
        self._listeners: list[tuple[str | None, Listener]] = []
        self._line = _Line(self, channel) if isinstance(channel, Channel) else _Port(self, channel)
        self._line.greet()

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key, as far as this side has heard."""
        entry = self._entries.get(key)
        return default if entry is None else entry.value

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterates over the keys."""
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, key: str, value: Any) -> None:
        """Sets a key, here at once and elsewhere soon.

        Raises:
            PayloadError: the value cannot travel.
        """
        self._count += 1
        entry = _Entry(value, self._count, self._side)
        self._line.tell([[key, *entry]])
        self._entries[key] = entry
        self._changed(key, value)

    def subscribe(self, key: str | None, listener: Listener) -> Callable[[], None]:
        """Has a function called with key and value after each change, whoever made it.

        Args:
            key: the one; None means all.
            listener: the function.

        Returns:
            What ends it.
        """
        own = key, listener
        self._listeners.append(own)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(own)

        return end

    def close(self) -> None:
        """Hears and tells no more; what is known here stays."""
        self._line.close()

    def __repr__(self) -> str:
        return f"<MessageChannelSync of {len(self)} keys over {self._line.name}>"

    def _changed(self, key: str, value: Any) -> None:
        for wanted, listener in list(self._listeners):
            if wanted is None or wanted == key:
                listener(key, value)

    def all(self) -> _Entries:
        """Returns all entries, with their versions."""
        return [[key, *entry] for key, entry in self._entries.items()]

    def all_but(self, known: _Entries) -> _Entries:
        """Returns the entries that another side does not have, by those that it has."""
        versions = {key: (int(count), int(side)) for key, _, count, side in known}
        return [entry for entry in self.all() if versions.get(entry[0]) != (*entry[2:],)]

    def merge(self, entries: _Entries) -> _Entries:
        """Takes in what another side knows; returns what of it was new."""
        new = []
        for key, value, count, side in entries:
            entry = _Entry(value, int(count), int(side))
            self._count = max(self._count, entry.version)
            own = self._entries.get(key)
            if own is None or own[1:] < entry[1:]:
                self._entries[key] = entry
                new.append([key, *entry])
        for key, value, *_ in new:
            self._changed(key, value)
        return new


class _Line:
    """A named channel to others that may have such an object, or not yet."""

    def __init__(self, state: MessageChannelSync, channel: Channel) -> None:
        self._state = state
        self._channel = channel
        self._partners: set[int | None] = set()
        self._ends = [
            channel.on("hello", lambda message: self._heard(message, True)),
            channel.on("entries", lambda message: self._heard(message, False)),
        ]

    @property
    def name(self) -> str:
        return f"channel {self._channel.name!r}"

    def greet(self) -> None:
        entries = self._state.all()
        asked: dict[int | None, Future[Any]] = {}
        if isinstance(self._channel, DirectChannel):
            asked[None] = self._channel.request("hello", entries, timeout=None)
        else:
            assert isinstance(self._channel, PoolChannel)
            for worker in self._channel.workers():
                request = self._channel.request
                asked[worker] = request("hello", entries, worker=worker, timeout=None)
        for partner, answer in asked.items():
            answer.add_done_callback(partial(self._answered, partner))

    def _answered(self, partner: int | None, answer: Any) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # it has no such object yet, and will greet when it has
        self._partners.add(partner)
        known = answer.result()
        self._pass_on(self._state.merge(known))
        # What was set here since the greeting.
        unknown = self._state.all_but(known)
        if unknown:
            self._post(unknown, partner)

    def _heard(self, message: Message, greets: bool) -> _Entries | None:
        self._partners.add(message.worker)
        self._pass_on(self._state.merge(message.payload))
        return self._state.all() if greets else None

    def _pass_on(self, new: _Entries) -> None:
        if new and isinstance(self._channel, PoolChannel):
            self.tell(new)

    def tell(self, entries: _Entries) -> None:
        if isinstance(self._channel, PoolChannel):
            self._partners &= {*self._channel.workers()}
        for partner in self._partners:
            self._post(entries, partner)

    def _post(self, entries: _Entries, partner: int | None) -> None:
        if isinstance(self._channel, PoolChannel):
            self._channel.post("entries", entries, worker=partner)
        else:
            assert isinstance(self._channel, DirectChannel)
            self._channel.post("entries", entries)

    def close(self) -> None:
        for end in self._ends:
            end()
        self._partners.clear()


class _Port:
    """A MessagePort to one other side."""

    name = "a MessagePort"

    def __init__(self, state: MessageChannelSync, port: Any) -> None:
        self._state = state
        self._port = port
        self._end = _js.listen(port, self._heard)

    def greet(self) -> None:
        self._post("hello", self._state.all())

    def _heard(self, kind: str, entries: _Entries) -> None:
        self._state.merge(entries)
        if kind == "hello":
            self.tell(self._state.all())

    def tell(self, entries: _Entries) -> None:
        self._post("entries", entries)

    def _post(self, kind: str, entries: _Entries) -> None:
        _js.post(self._port, kind, entries=_js.to_page(entries, lambda _: None))

    def close(self) -> None:
        self._end()
