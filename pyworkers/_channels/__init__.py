"""How frames travel: the one interface, and where its implementations are.

A *link* is a Python heap's end of all its channels. A hub has one link with a channel for each
worker; a worker has a link with one channel. Pools and workers use nothing but this interface.

``heap``    frames cross into the shim in batches; the shim moves them through rings in shared
            memory or through message ports
``memory``  both ends in one interpreter: mode inline, and tests
"""

from collections.abc import Iterator
from typing import Any, Protocol

from pyworkers._protocol import Frame

Payload = bytes | bytearray | memoryview


class Link(Protocol):
    """One end of channels to peers, which are numbered and never reused."""

    can_block: bool
    """Whether ``receive`` may wait."""

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
        """Queues a frame; it leaves with the next ``flush``, or earlier."""

    def flush(self) -> None:
        """Hands on what is queued. Never waits: what finds no room is kept in order."""

    def receive(self, milliseconds: float) -> Iterator[Frame]:
        """Returns frames that have arrived, in order for each peer.

        The payloads are valid until the next call.

        Args:
            milliseconds: how long to wait while there are none; 0 only looks. What cannot block
                does not wait.
        """

    def put(self, peer: int, buffer: Any) -> int:
        """Copies a bulk part out, ahead of the frame that will name it; returns its token."""

    def take(self, peer: int, token: int, length: int, frozen: bool) -> bytes | bytearray:
        """Copies a bulk part in, once: into a ``bytes`` if it shall be frozen."""

    def drop(self, peer: int, token: int) -> None:
        """Forgets a bulk part that nobody will take."""

    def claim(self, peer: int, epoch: int) -> bool:
        """Says whether a task may be started: False if the hub has taken it back.

        Also flushes, so that no result waits behind a task that may be long.

        Args:
            peer: the hub's.
            epoch: of the task's frame.
        """

    def recall(self, peer: int) -> int | None:
        """Takes back every task that a worker was sent and has not started.

        From now on, tasks for it must bear the next epoch.

        Returns:
            How many it has started since it lives, modulo 2**16; None where nothing that was sent
            can be taken back.
        """

    def interrupt(self, peer: int, task: int) -> None:
        """Has a worker interrupt a task, if it is running just then, and if this can be told to it.

        What the worker has been told and not yet seen stands first: so ask again.

        Args:
            peer: the worker.
            task: number of the task.
        """

    def uninterrupt(self, peer: int) -> None:
        """Takes back what the worker was told to interrupt and has not seen yet."""

    def pulse(self, peer: int) -> int | None:
        """Returns a count that goes on while a worker runs Python; None where nobody can tell."""

    def close(self, peer: int) -> None:
        """Forgets a peer; what it still says is dropped."""
