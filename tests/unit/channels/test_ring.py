"""One ring of the shim, in Node, against a model of it."""

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyworkers._protocol import HEADER_BYTES, padded
from tests.unit.channels.ends import RING_BYTES, content, seeds, text
from tests.unit.node_host import NodeHost

pytestmark = pytest.mark.timeout(60)


class ModelRing:
    """What a ring holds, what its bells have counted, and whether its producer starves."""

    def __init__(self) -> None:
        self.held = bytearray()
        self.known = bytearray()  # 0 where a byte of padding stands, whose value nobody knows
        self.rung = {"producer": 0, "consumer": 0}
        self.starved = False
        self.unannounced = False

    @property
    def room(self) -> int:
        return RING_BYTES - len(self.held)

    @property
    def counts(self) -> dict[str, Any]:
        return {"readable": len(self.held), "writable": self.room, "rung": dict(self.rung)}

    def write(self, frames: bytes, payload: bytes = b"") -> None:
        size = padded(len(frames) + len(payload))
        self.held += (frames + payload).ljust(size, b"\0")
        self.known += (b"\xff" * len(frames + payload)).ljust(size, b"\0")
        self.unannounced = True

    def announce(self) -> None:
        self.rung["consumer"] += self.unannounced
        self.unannounced = False

    def reserve(self, count: int) -> bool:
        self.starved = self.starved or count > self.room
        return count <= self.room

    def copy(self, at: int, size: int) -> tuple[bytes, bytes]:
        """Returns what is there, and which of it is known."""
        return bytes(self.held[at : at + size]), bytes(self.known[at : at + size])

    def word(self, at: int) -> tuple[bytes, bytes]:
        return self.copy(at, 4)

    def consume(self, count: int) -> None:
        del self.held[:count], self.known[:count]
        self.rung["producer"] += self.starved
        self.starved = False


def masked(data: bytes, known: bytes) -> int:
    return int.from_bytes(data, "little") & int.from_bytes(known, "little")


sizes = st.integers(0, 8) | st.integers(0, 10_000) | st.integers(0, RING_BYTES // 8)


parts = st.floats(0, 1)
ring_steps = st.lists(
    st.tuples(st.just("write"), sizes, seeds)
    | st.tuples(st.just("write frame"), sizes, seeds)
    | st.tuples(st.just("copy"), parts, parts)
    | st.tuples(st.just("word"), parts)
    | st.tuples(st.just("consume"), parts)
    | st.tuples(st.just("consume"), st.just(1.0))
    | st.tuples(st.just("reserve"), st.integers(0, RING_BYTES))
    | st.tuples(st.just("announce")),
    min_size=15,
    max_size=40,
)


def possible(model: ModelRing, what: str, args: list[Any]) -> tuple[Any, ...] | None:
    """A step for what a ring holds now; None if there is nothing to write to or to read."""
    held = len(model.held)
    if what in ("write", "write frame"):
        size, seed = args
        data = [content(seed, size * 8)]
        if what == "write frame":
            data = [content(seed, HEADER_BYTES), content(seed, size)]
        return ("write", *data) if padded(sum(map(len, data))) <= model.room else None
    if what == "copy":
        at = int(args[0] * held)
        return what, at, int(args[1] * (held - at))
    if what == "word":
        return (what, int(args[0] * (held - 4)) & ~3) if held else None
    if what == "consume":
        return what, int(args[0] * held) & ~7
    return what, *args


@settings(max_examples=100)
@given(
    to=st.sampled_from(["hub", "worker"]),
    start=st.sampled_from([0, 8, RING_BYTES - 8, 2**31 - 4096, 2**32 - 8, 2**32 - 100_000]),
    drawn=ring_steps,
)
def test_a_ring_hands_on_what_was_written(
    shim: NodeHost, to: str, start: int, drawn: list[tuple[Any, ...]]
) -> None:
    """A-05: also where its bytes or its counters wrap around, and where it is full."""
    assert shim.ask("ringBytes") == RING_BYTES
    shim.ask("newRing", to=to, start=start)
    model = ModelRing()
    steps = []
    hopes = []
    for what, *drawn_args in drawn:
        step = possible(model, what, drawn_args)
        if step is not None:
            name, *args = step
            steps.append([text(arg) if isinstance(arg, bytes) else arg for arg in step])
            hopes.append((getattr(model, name)(*args), model.counts))
    for asked, answer, (hope, counts) in zip(
        steps, shim.ask("onRing", steps=steps), hopes, strict=True
    ):
        result = answer.pop("result")
        assert answer == counts
        if asked[0] in ("copy", "word"):
            data, known = hope
            got = result.to_bytes(4, "little") if asked[0] == "word" else base64.b64decode(result)
            assert masked(got, known) == masked(data, known)
        else:
            assert result == hope
