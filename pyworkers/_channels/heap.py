"""Links whose channels are in the shim: a mailbox out, an inbox in, one crossing for a batch.

Owns the two buffers in the heap. Knows nothing of what travels below (rings or ports), nor of
what the frames mean above.
"""

from collections.abc import Iterator
from typing import Any, Final

from pyworkers import _js
from pyworkers._channels import Payload
from pyworkers._protocol import HEADER_BYTES, Frame, padded, read_frames, write_frame

_MAILBOX_BYTES: Final = 131_072
_INBOX_BYTES: Final = 262_144


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
        self._shim_take = shim.take
        self._shim_claim = shim.claim
        self._shim_recall = getattr(shim, "recall", None)
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
        if self._used + padded(HEADER_BYTES + len(payload)) > _MAILBOX_BYTES:
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

    def take(self, peer: int, token: int, length: int) -> bytearray:
        target = bytearray(length)
        self._shim_take(peer, token, target)
        return target

    def claim(self, peer: int, epoch: int) -> bool:
        used, self._used = self._used, 0
        return bool(self._shim_claim(peer, used, epoch))

    def recall(self, peer: int) -> int | None:
        self.flush()
        return int(self._shim_recall(peer)) if self._shim_recall is not None else None

    def close(self, peer: int) -> None:
        self.flush()
        self._shim_close(peer)
