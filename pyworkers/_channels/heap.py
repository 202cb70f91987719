"""Links whose channels are in the shim: a mailbox out, an inbox in, one crossing for a batch.

Owns the two buffers in the heap. Knows nothing of what travels below (rings or ports), nor of
what the frames mean above.
"""

from collections.abc import Iterator
from typing import Any, Final

from pyworkers import _js
from pyworkers._channels import Payload
from pyworkers._protocol import HEADER_BYTES, Frame, read_frames, write_frame

_MAILBOX_BYTES: Final = 131_072
_INBOX_BYTES: Final = 262_144
_LEAST_ROOM: Final = HEADER_BYTES + 8
"""A frame needs at most so much beside its payload, with the padding."""


class HeapLink:
    """A link over a link of the shim.

    Args:
        shim: a RingLink or PortLink of ``js_shim/link.mjs``.
        can_block: whether this thread may wait in Atomics.wait.
    """

    def __init__(self, shim: Any, can_block: bool) -> None:
        self.can_block = can_block
        self._mailbox = bytearray(_MAILBOX_BYTES)
        self._used = 0
        self._inbox = bytearray(_INBOX_BYTES)
        self._view = memoryview(self._inbox)
        shim.configure(_js.address(self._mailbox), _js.address(self._inbox), _INBOX_BYTES)
        self._shim_flush = shim.flush
        self._shim_receive = shim.receive
        self._shim_put = shim.put
        self._shim_view = shim.view
        self._shim_drop = shim.drop
        self._shim_claim = shim.claim
        self._shim_recall = getattr(shim, "recall", None)
        self._shim_interrupt = getattr(shim, "interrupt", None)
        self._shim_uninterrupt = getattr(shim, "uninterrupt", None)
        self._shim_pulse = getattr(shim, "pulse", None)
        self._shim_close = shim.close

    def send(
        self,
        peer: int,
        kind: int,
        id: int,
        payload: Payload,
        flags: int = 0,
        number: float = 0.0,
        epoch: int = 0,
    ) -> None:
        if self._used + len(payload) > _MAILBOX_BYTES - _LEAST_ROOM:
            self.flush()
        self._used = write_frame(
            self._mailbox, self._used, kind, flags, peer, id, number, payload, epoch
        )

    def flush(self) -> None:
        if self._used:
            used, self._used = self._used, 0
            self._shim_flush(used)

    def receive(self, milliseconds: float) -> Iterator[Frame]:
        return read_frames(self._view, self._shim_receive(milliseconds))

    def put(self, peer: int, buffer: Any) -> int:
        return int(self._shim_put(peer, buffer))

    def take(self, peer: int, token: int, length: int, frozen: bool) -> bytes | bytearray:
        part = _js.copied(self._shim_view(peer, token, length), length, frozen)
        self._shim_drop(peer, token)
        return part

    def drop(self, peer: int, token: int) -> None:
        self._shim_drop(peer, token)

    def claim(self, peer: int, epoch: int) -> bool:
        used, self._used = self._used, 0
        return bool(self._shim_claim(peer, used, epoch))

    def recall(self, peer: int) -> int | None:
        self.flush()
        return int(self._shim_recall(peer)) if self._shim_recall is not None else None

    def interrupt(self, peer: int, task: int) -> None:
        if self._shim_interrupt is not None:
            self._shim_interrupt(peer, task & 0xFFFFFFFF)

    def uninterrupt(self, peer: int) -> None:
        if self._shim_uninterrupt is not None:
            self._shim_uninterrupt(peer)

    def pulse(self, peer: int) -> int | None:
        return int(self._shim_pulse(peer)) if self._shim_pulse is not None else None

    def close(self, peer: int) -> None:
        self.flush()
        self._shim_close(peer)
