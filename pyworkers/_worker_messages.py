"""Messages of a worker: how they reach its hub, and how a task waits for an answer.

Owns what came before the worker was ready. A plain function that waits for its hub's answer blocks
its worker: other frames that arrive meanwhile stay in order, to be handled after it.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Final

from pyworkers import _codec, _js
from pyworkers._cancel import Interruptions
from pyworkers._channels import Link
from pyworkers._codec import Encoded
from pyworkers._messages import DirectChannel, Messenger
from pyworkers._pickled import Pickled
from pyworkers._protocol import Frame, Kind
from pyworkers._sides import PARTNER, Alarm
from pyworkers.errors import ModeError

_ANSWERS: Final = frozenset({Kind.RESPONSE, Kind.FAILURE, Kind.REPORT})

_SLICE_SECONDS: Final = 0.2
"""Blocking waits return to Python so often, so that a signal is seen."""

Beside = Callable[
    [Coroutine[Any, Any, Any], Callable[[Callable[[], Any]], None]], "asyncio.Task[Any] | None"
]


class WorkerMessages(Pickled):
    """A worker's side of its conversation with the hub, and the waiter of its requests.

    Args:
        link: leads to the hub.
        peer: the number of this worker.
        interruptions: of its tasks.
        frames: that have arrived and are still to be handled.
        payload: takes the payload out of a frame, with its parts out of band.
        send: sends kind, id, what is encoded, and number.
        beside: awaits a coroutine beside what the worker does.
        apart: calls outside of any task.
        hear: has the hub handle what it was told, where it shares this thread; else None.
    """

    def __init__(
        self,
        link: Link,
        peer: int,
        interruptions: Interruptions,
        frames: deque[Frame],
        payload: Callable[[Frame], tuple[Any, list[bytes | bytearray]]],
        send: Callable[[Kind, int, Encoded, float], None],
        beside: Beside,
        apart: Callable[[Callable[[], object]], None],
        hear: Callable[[], bool] | None,
    ) -> None:
        self.name = f"worker {peer}"
        self.waiter = self
        self.messenger: Messenger = Messenger(self)
        self.beside = beside
        self._link = link
        self.undisturbed: Callable[[], AbstractContextManager[None]] = interruptions.held_off
        self._interruptions = interruptions
        self._frames = frames
        self._payload = payload
        self._send = send
        self._apart = apart
        self._hear = hear
        self._early: list[Frame] | None = []
        self._settles: deque[Callable[[], object]] = deque()
        self.after = self._settles.append
        self.remind = Alarm(self._tick).set
        self._arrived: Callable[[float], Any] | None = None

    def channel(self, name: str) -> DirectChannel:
        """Returns the channel of a name, made at the first call."""
        channel = self.messenger.channels.get(name)
        if channel is None:
            channel = self.messenger.channels[name] = DirectChannel(name, self.messenger)
        assert isinstance(channel, DirectChannel)
        return channel

    def switch_by(self, arrived: Callable[[float], Any]) -> None:
        """Has plain functions wait by switching stacks, where this thread cannot block.

        Args:
            arrived: gets milliseconds; returns what is to be awaited until something has arrived.
        """
        self._arrived = arrived

    def open(self) -> None:
        """The worker is set up, and so has the handlers of its initializer."""
        early, self._early = self._early, None
        for frame in early or ():
            self.handle(frame)

    def handle(self, frame: Frame) -> None:
        """Acts on a frame that is a message."""
        if self._early is not None and frame.kind not in _ANSWERS:
            self._early.append(_owned(frame))
            return
        self._take(frame)
        self._settle()

    def _take(self, frame: Frame) -> None:
        self.messenger.handle(
            Kind(frame.kind),
            PARTNER,
            frame.id,
            frame.number,
            lambda: _codec.decode(*self._payload(frame)),
        )

    def _settle(self) -> None:
        while self._settles:
            self._settles.popleft()()

    # What a Side does.

    def send(self, peer: int, kind: Kind, id: int, value: Encoded, number: float) -> None:
        with self.undisturbed():
            self._send(kind, id, value, number)

    def flush(self) -> None:
        with self.undisturbed():
            self._link.flush()
        if self._hear is not None:
            self._soon(self._hear)

    def apart(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(KeyboardInterrupt):  # the hub's user is told of it
            self._apart(call)

    def _soon(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # no event loop runs
            asyncio.get_running_loop().call_soon(call)

    def _tick(self) -> float | None:
        due = self.messenger.tick(time.monotonic())
        self._settle()
        self._link.flush()
        return due

    def called(self, peer: int) -> str:
        return "the hub"

    def number_of(self, peer: int) -> int | None:
        return None

    def hub_spoke(self) -> None:
        """The hub, in this thread, has sent something: perhaps to a coroutine whose event loop
        was started in the middle of what the hub does, and which nobody else would wake."""
        if self.messenger.requests:
            self._soon(self._look)

    def look(self) -> None:
        """Handles the answers that have arrived, in the middle of a plain function."""
        for index, frame in enumerate(self._frames):  # their payloads die with the next receive
            self._frames[index] = _owned(frame)
        with self.undisturbed():
            self._look()

    def _look(self) -> None:
        if self._take_answers(0.0):
            self._settle()
            self._link.flush()

    # What a Waiter does.

    def wait(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Blocks until a request is answered; what else arrives is kept for later.

        Raises:
            ModeError: answers cannot be waited for here.
            TaskCancelled: the task that waits is to end.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        for index, frame in enumerate(self._frames):  # their payloads die with the next receive
            self._frames[index] = _owned(frame)
        while not is_done():
            now = time.monotonic()
            if now >= end:
                return False
            with self.undisturbed():
                due = self.messenger.tick(now)
                self._link.flush()
                seconds = min(end, math.inf if due is None else due) - now
                found = self._take_in(seconds)
                self._settle()
            self._interruptions.raise_told()
            if not found and self._arrived is not None and not is_done():
                _js.block_on(self._arrived(max(seconds, 0.0) * 1000))
        return True

    def _take_in(self, seconds: float) -> bool:
        """Takes in what arrives within a time: answers are handled, all else is put off.

        Returns:
            Whether anything has arrived.
        """
        found = False
        if self._hear is not None:
            found = self._hear()
        elif not self._link.can_block and not (self._arrived and _js.can_block_by_jspi()):
            raise ModeError(
                "a plain function cannot wait for its hub in mode transfer, as it hears of the "
                "answer by a message, and this browser or this call cannot switch stacks: make it "
                "an `async def`, and `await` the request"
            )
        found |= self._take_answers(min(max(seconds, 0.0), _SLICE_SECONDS))
        if self._hear is not None and not found and not self._settles:
            raise ModeError(
                "this task waits for something that this thread itself has to do: make it an "
                "`async def`, and `await` the request"
            )
        return found

    def _take_answers(self, seconds: float) -> bool:
        found = False
        for frame in self._link.receive(seconds * 1000):
            found = True
            if frame.kind in _ANSWERS:
                self._take(frame)
            else:
                self._frames.append(_owned(frame))
                if frame.kind == Kind.CANCEL:
                    self._interruptions.cancel(frame.id)
        return found

    def wait_briefly(self, is_done: Callable[[], bool]) -> bool:
        return False

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(callback)


def _owned(frame: Frame) -> Frame:
    """Returns a frame whose payload does not die with the next receive."""
    if type(frame.payload.obj) is bytes:
        return frame
    return frame._replace(payload=memoryview(bytes(frame.payload)))
