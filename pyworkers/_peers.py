"""What is said to the workers of a pool, and what each was told so far.

Owns a worker's share of functions, environment and epochs, what it goes on using, and its output.
Knows nothing of futures, nor of who runs what.
"""

import codecs
import logging
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pyworkers import _codec
from pyworkers._arena import SharedArena
from pyworkers._codec import Encoded, Handle
from pyworkers._fork import Fork
from pyworkers._functions import Functions
from pyworkers._hub import Handler, Hub
from pyworkers._mirror import answer
from pyworkers._output import Output
from pyworkers._protocol import HEADER_BYTES, MAX_FRAME_BYTES, SPILLED, Frame, Kind
from pyworkers._store import ArenaStore, Block, Buffers
from pyworkers.errors import ProtocolError

NOTHING: Final[Encoded] = (b"", [], ())

_MOST: Final = MAX_FRAME_BYTES - HEADER_BYTES
"""So many bytes have room in a frame."""

_MAX_ID: Final = 0xFFFFFFFF

_STREAMS: Final = {1: "stdout", 2: "stderr"}

_logger: Final = logging.getLogger("pyworkers")


@dataclass(slots=True)
class _Told:
    """What one worker was told.

    Attributes:
        functions: those that it knows.
        epoch: that the next task bears; it moves on when tasks are taken back.
        tasks: how many tasks it was sent and not given back.
        retained: what it goes on using beyond the tasks that it came with.
        environment: the epoch of the hub's environment of which it knows.
        is_ready: whether it reads what it is sent.
        asked: number of the last question whether it has read all that came before.
        held: what messages name that it may not have read, with the number of such a question.
    """

    functions: set[int] = field(default_factory=set)
    epoch: int = 0
    tasks: int = 0
    retained: dict[int, Block] = field(default_factory=dict)
    environment: int = 0
    is_ready: bool = False
    asked: int = 0
    held: deque[tuple[int, tuple[Handle, ...]]] = field(default_factory=deque)


class Peers:
    """The workers of one pool, as partners of a conversation.

    Args:
        hub: where they come from.
        name: of the pool, for people.
        functions: of the pool.
        setup: what each is prepared with.
        on_output: gets what they print: number, stream and text.
        forks: whether further ones start from the memory of one that was set up.
    """

    def __init__(
        self,
        hub: Hub,
        name: str,
        functions: Functions,
        setup: Encoded,
        on_output: Output,
        forks: bool,
    ) -> None:
        self.told: dict[int, _Told] = {}
        self.bytes_sent = 0
        self.bytes_received = 0
        """Of payloads and what belongs to them; not of headers."""
        self._hub = hub
        self._link = hub.link
        self._name = name
        self._functions = functions
        self._setup = setup
        self._on_output = on_output
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}
        self.fork = Fork(hub, name, setup, self.print) if forks else None

    def spawn(self, handler: Handler) -> int:
        """Starts a worker and has it set up; returns its number."""
        fork = None if self.fork is None else self.fork.maker
        worker = self._hub.spawn(handler, self._name, fork)
        self.told[worker] = _Told()
        environment = self._hub.environment
        if environment is not None:
            self._tell_environment(worker, environment.look_closely())
        self.send(worker, Kind.SETUP, 0, self._setup)
        return worker

    def close(self, worker: int, is_idle: bool) -> None:
        """Ends a worker, at once unless it ``is_idle``; what it used is let go."""
        self._hub.terminate(worker, is_idle)
        self._hub.store.peer_lost(worker)
        del self.told[worker]
        for stream in _STREAMS:
            self._decoders.pop((worker, stream), None)

    def look(self) -> int:
        """Returns the epoch of this interpreter's environment, for ``send_task``."""
        environment = self._hub.environment
        return 0 if environment is None else environment.look()

    def send_task(
        self,
        worker: int,
        number: int,
        function: int,
        call: Encoded,
        flags: int,
        since: float,
        environment: int,
    ) -> None:
        """Sends a task, after what the worker must know for it.

        Args:
            worker: that is to run it.
            number: of the task.
            function: number of its function.
            call: the arguments.
            flags: priority and whether the result is kept.
            since: when it could run first, in seconds since the epoch.
            environment: what ``look`` returned.
        """
        told = self.told[worker]
        if told.environment != environment:
            self._tell_environment(worker, environment)
        if function not in told.functions:
            told.functions.add(function)
            self.send(worker, Kind.FUNCTION, function, self._functions.encoded[function])
        told.tasks += 1
        payload, buffers, handles = call
        if buffers or handles or len(payload) > _MOST:
            self.send(worker, Kind.TASK, number, call, flags, since, told.epoch)
        else:
            self.bytes_sent += len(payload)
            self._link.send(worker, Kind.TASK, number, payload, flags, since, told.epoch)

    def forget_function(self, function: int) -> None:
        """Has workers forget a function that no task needs any more."""
        for worker, told in self.told.items():
            if function in told.functions:
                told.functions.remove(function)
                self.send(worker, Kind.FUNCTION, function, NOTHING)

    def _tell_environment(self, worker: int, epoch: int) -> None:
        environment = self._hub.environment
        if environment is not None:
            told = self.told[worker]
            self.send(worker, Kind.ENVIRONMENT, 0, environment.since(told.environment))
            told.environment = epoch

    def interrupt(self, worker: int, number: int) -> None:
        """Asks a task that a worker has started to end."""
        self.send(worker, Kind.CANCEL, number, NOTHING)
        self._link.interrupt(worker, number)

    def interrupt_again(self, worker: int, number: int) -> None:
        """Asks once more, should the first signal have come between two tasks."""
        self._link.interrupt(worker, number)

    def run_again(self, worker: int) -> None:
        """A task was interrupted and may come again: no late signal shall hit it then."""
        self._link.uninterrupt(worker)

    def send(
        self,
        worker: int,
        kind: Kind,
        id: int,
        value: Encoded,
        flags: int = 0,
        number: float = 0.0,
        epoch: int = 0,
    ) -> None:
        """Sends a frame, after the objects that it refers to and the worker has not got."""
        payload, buffers, handles = value
        self.bytes_sent += len(payload) + sum(map(len, buffers))
        if handles:
            for missing, encoded in self._hub.store.missing(worker, handles):
                self.send(worker, Kind.OBJECT, missing, encoded)
        if buffers or len(payload) > _MOST:
            payload = _codec.spill(payload, buffers, partial(self._link.put, worker))
            flags |= SPILLED
        self._link.send(worker, kind, id, payload, flags, number, epoch)

    def ping(self, worker: int) -> None:
        """Asks a worker for a sign of life."""
        self.send(worker, Kind.PING, self.told[worker].asked, NOTHING)

    def send_message(self, worker: int, kind: Kind, id: int, value: Encoded, number: float) -> None:
        """Sends a message; what it names is held until the worker has read it."""
        self.send(worker, kind, id, value, 0, number)
        if value[2]:
            told = self.told[worker]
            told.asked = told.asked % _MAX_ID + 1
            told.held.append((told.asked, value[2]))
            if told.is_ready:
                self.ping(worker)

    def ready(self, worker: int) -> None:
        """A worker reads now what it was sent."""
        told = self.told[worker]
        told.is_ready = True
        if told.held:
            self.ping(worker)

    def answered(self, worker: int, question: int) -> None:
        """A worker has answered a ``ping``: it has read all messages that came before."""
        held = self.told[worker].held
        if any(number == question for number, _ in held):
            while held.popleft()[0] != question:
                pass

    def recall(self, worker: int, held: int) -> int | None:
        """Has a worker not start what it has not started.

        Args:
            worker: its number.
            held: how many tasks it holds, above 0.

        Returns:
            How many of these it has started; None if nobody can tell, so that all stay with it.
        """
        told = self.told[worker]
        self._link.flush()
        total = self._link.recall(worker)
        if total is None:
            return None
        told.epoch = (told.epoch + 1) & 0xFFFF
        started = held - ((told.tasks - total) & 0xFFFF)
        told.tasks -= held - started
        return started

    def read(self, frame: Frame) -> tuple[bytes, Buffers]:
        """Takes the payload out of a frame, with its parts out of band."""
        if frame.flags & SPILLED:
            data, buffers = _codec.gather(frame.payload, partial(self._link.take, frame.peer))
            self.bytes_received += len(data) + sum(map(len, buffers))
            return data, buffers
        self.bytes_received += len(frame.payload)
        return bytes(frame.payload), []

    def decode(self, frame: Frame) -> Any:
        """Reads the payload of a frame that is not a task's result."""
        data, buffers = self.read(frame)
        return _codec.decode(data, buffers)

    def arena_store(self) -> ArenaStore:
        """Returns what is kept in shared memory.

        Raises:
            ProtocolError: there is none, so no worker should speak of it.
        """
        store = self._hub.store
        if not isinstance(store, ArenaStore):
            raise ProtocolError(f"mode {self._hub.mode} has no shared memory")
        return store

    def retain(self, worker: int, block: int) -> None:
        """A worker goes on using a block of the shared memory."""
        self.told[worker].retained[block] = self.arena_store().attach(block)

    def release(self, worker: int, block: int) -> None:
        """A worker, if it still lives, does not use a block any more."""
        if worker in self.told:
            self.told[worker].retained.pop(block, None)

    def send_module(self, frame: Frame) -> None:
        """Answers a worker that waits for a module which it has not found."""
        arena = self.arena_store().arena
        assert isinstance(arena, SharedArena)
        answer(arena, frame.peer, frame.id, str(frame.payload, "utf-8"))

    def print(self, frame: Frame) -> None:
        """Passes on what a worker printed."""
        stream = frame.peer, frame.flags
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        self.bytes_received += len(frame.payload)
        text = decoder.decode(frame.payload)
        if text:
            name = _STREAMS.get(frame.flags, "stderr")
            self._hub.after(partial(self._pass_on, frame.peer, name, text))

    def _pass_on(self, worker: int, stream: str, text: str) -> None:
        try:
            self._on_output(worker, stream, text)
        except Exception:
            _logger.exception("exception in on_output of %s", self._name)
