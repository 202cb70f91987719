"""Memory that a page has made, as the store sees it."""

import gc
from types import SimpleNamespace
from typing import Any

from pyworkers import Ref, _codec
from pyworkers._arena import HUB, SharedArena
from pyworkers._store import ArenaStore, Block


class Lending:
    """What the shim offers of memory beside the arena: it notes what is done."""

    def __init__(self) -> None:
        self.arena = SimpleNamespace()
        self.memories = self
        self.done: list[tuple[Any, ...]] = []

    def add(self, buffer: object, name: int) -> int:
        return 2 * name + 1

    def lend(self, peer: int, id: int) -> None:
        self.done.append(("lend", peer, id))

    def delete(self, id: int) -> None:
        self.done.append(("delete", id))


class Named(_codec.Handle):
    """A handle of such memory."""

    def __init__(self, block: Block) -> None:
        self.block = block

    @property
    def id(self) -> int:
        return self.block.id

    @property
    def mode(self) -> str:
        return "shared"

    def reduced(self) -> tuple[Any, ...]:
        return Block, (self.block.id,)


def test_memory_of_a_page_is_lent_once_to_each_worker_that_needs_it() -> None:
    """D-02: also where it is part of something kept; and given up when nobody needs it."""
    link = Lending()
    arena = SharedArena(link, None, None, None, HUB)
    found = ArenaStore(arena, is_hub=True)
    first, second = (Named(found.own(arena.add(None, name))) for name in (1, 2))
    ref: Ref[Any] = Ref("shared", Block(16), (), [first, second.block], 1)

    def sent(peer: int, *handles: _codec.Handle) -> list[int]:
        return [id for id, encoded in found.missing(peer, handles) if encoded == (b"", [], ())]

    assert sent(1, first, first) == [3]
    assert sent(1, first, ref) == [5]
    assert sent(2, ref) == [3, 5]
    assert link.done == [("lend", 1, 3), ("lend", 1, 5), ("lend", 2, 3), ("lend", 2, 5)]
    found.peer_lost(2)
    assert sent(2, second) == [5]
    del link.done[:]
    del ref, first
    gc.collect()
    assert link.done == [("delete", 3)]
    assert found.forgotten() == [(1, 3)]
    found.peer_lost(1)
    del second
    gc.collect()
    assert found.forgotten() == [(2, 5)]
    assert found.attached() == set()
