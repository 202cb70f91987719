"""Where primitives are made: by the hub, so that those that a worker creates outlive it.

Owns what is done with their memory at its beginning and end, and both ends of the conversation of
a worker with its hub. In shared memory the worker waits for the place, and then says
that it keeps it, as it does of all that it goes on using. Without, it names a number of its own and
goes on; the hub keeps what it made as long as that worker lives.
"""

import itertools
import weakref
from typing import Any, Final

from pyworkers._answers import SERVICES, Message
from pyworkers._arena import SharedArena
from pyworkers._env import Mode
from pyworkers._hub import hub_for
from pyworkers._store import ArenaStore, Block, stores
from pyworkers._worker import Worker
from pyworkers.errors import ModeError, NoHandler
from pyworkers.sync import _hosted
from pyworkers.sync._local import KINDS

_CHANNEL: Final = "pyworkers.sync.create"
_WORKER: Final = 2**32
"""The numbers that a worker gives begin at minus that, times its own."""

_DISPOSED: Final = frozenset({"Queue"})
"""Kinds in shared memory that keep more than their own place, which ``dispose`` frees."""

_numbers: Final = itertools.count(1)
_made: Final[dict[int, list[Any]]] = {}
"""In the hub, by worker: what it may go on using, without having said so."""


def place(store: ArenaStore, kind: str, size: int, beyond: int) -> Block:
    """Makes room for a primitive in the shared memory of this hub.

    Args:
        store: of this hub.
        kind: of the primitive.
        size: bytes that are zero at first.
        beyond: bytes behind them that need no initial value.

    Raises:
        ArenaFull: there is none.
    """
    arena = store.arena
    block = store.own(arena.allocate(size + beyond))
    arena.write(block.id, 0, bytes(size))
    if kind in _DISPOSED:
        assert isinstance(arena, SharedArena)
        # What it keeps has to be freed before it; the finalizer that was made last is called first.
        dispose = arena.primitive(kind, block.id).dispose
        weakref.finalize(block, dispose).atexit = False
    return block


def create_from(worker: Worker, kind: str, size: int, beyond: int) -> tuple[Mode, Block]:
    """Has the hub make a primitive for a worker, which is called there.

    Args:
        worker: this one.
        kind: of the primitive.
        size: in shared memory, of what is zero at first.
        beyond: bytes behind that.

    Returns:
        Where it is.

    Raises:
        ModeError: the hub does not know of primitives.
        ArenaFull: there is no room.
    """
    channel = worker.messages.channel(_CHANNEL)
    store = stores.get("shared")
    if not isinstance(store, ArenaStore):
        number = -(worker.peer * _WORKER + next(_numbers))
        channel.post("number", (kind, number))
        return "transfer", Block(number)
    try:
        offset = channel.request("place", (kind, size, beyond), timeout=None).result()
    except NoHandler:
        text = f"import pyworkers.sync where the pool is, to create a {kind} in a worker"
        raise ModeError(text) from None
    block = store.attach(offset)
    worker.retain()
    channel.post("kept", offset)
    return "shared", block


def _number(message: Message) -> None:
    kind, number = message.payload
    primitive = KINDS[kind]()
    _hosted.host(primitive, "transfer")
    _hosted.known[number] = primitive
    _of_worker(message, "transfer").append(primitive)


def _place(message: Message) -> int:
    store = hub_for("shared").store
    assert isinstance(store, ArenaStore)
    block = place(store, *message.payload)
    _of_worker(message, "shared").append(block)
    return block.id


def _kept(message: Message) -> None:
    made = _of_worker(message, "shared")
    made[:] = [block for block in made if block.id != message.payload]


def _of_worker(message: Message, mode: Mode) -> list[Any]:
    store = hub_for(mode).store
    if _lost not in store.on_peer_lost:
        store.on_peer_lost.append(_lost)
    assert message.worker is not None
    return _made.setdefault(message.worker, [])


def _lost(worker: int) -> None:
    _made.pop(worker, None)


for _serve in (_number, _place, _kept):
    SERVICES[_CHANNEL, _serve.__name__[1:]] = _serve
