"""What hub and workers say to each other, without any I/O.

Owns the frame kinds, the header, the messages of a page, and which kind is legal in which state
of a worker. Knows nothing of how frames travel or what their payloads mean. The same words stand
in ``js_shim/protocol.mjs``; a test compares the two.

A frame is a header of 24 bytes and a payload, and starts at a multiple of 8:

======  ======  ========================================================================
offset  type    field
======  ======  ========================================================================
0       u32     length of header and payload in bytes, without padding
4       u8      kind
5       u8      flags: TASK priority 0-10; OUTPUT 1 stdout, 2 stderr; bit 6 (KEEP) of a TASK
                that its result shall be kept, of a RESULT that it is; bit 5 (FULL) of a RESULT
                or ERROR that the worker is over its heap limit; bit 7 (SPILLED) says that the
                payload is a table of bulk parts
6       u16     epoch: TASK when it was sent, for ``Link.claim``; else 0
8       u32     peer: the number of the worker at the other end of the channel, never reused
12      u32     id: of the task, modulo 2**32; of a function, or of something kept; of a request,
                among those of the side that makes it, from 1; 0 of a POST, and of its FAILURE
16      f64     number: TASK seconds since the epoch when it was submitted, or its delay was
                over; RESULT and ERROR seconds that the task ran; POST and REQUEST seconds since
                the epoch when it was sent; RESPONSE and FAILURE seconds that the handler took;
                CHUNK bytes of the whole part
======  ======  ========================================================================
"""

import enum
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from pyworkers.errors import ProtocolError

PROTOCOL_VERSION: Final = 2
HEADER: Final = struct.Struct("<IBBHIId")
HEADER_BYTES: Final = HEADER.size
MAX_FRAME_BYTES: Final = 65_536
SPILLED: Final = 0x80
KEEP: Final = 0x40
FULL: Final = 0x20


class Kind(enum.IntEnum):
    """Frame kinds: below 16 from hub to worker, from 16 on from worker to hub, from 32 on both."""

    SETUP = 1
    FUNCTION = 2
    TASK = 3
    OBJECT = 4
    """Something kept, for a worker that has no other way to it."""
    FORGET = 5
    """Such an object is not needed any more."""
    CANCEL = 6
    """The task is not wanted any more; for one that awaits, and so reads frames meanwhile."""
    ENVIRONMENT = 7
    """What the worker shall find as its hub does."""
    PING = 8
    """Whether the worker lives; it says PONG once it has done what came before."""
    READY = 16
    RESULT = 17
    ERROR = 18
    PROGRESS = 19
    OUTPUT = 20
    SETUP_FAILED = 21
    LOST = 22
    """Written by the shim of the hub in the name of a worker that is gone."""
    PARKED = 23
    """The task is a coroutine that awaits something: its worker goes on with the next task."""
    RETAIN = 24
    """The worker goes on using something kept, beyond the task that it came with."""
    RELEASE = 25
    """It does not use it any more."""
    MISSING = 26
    """A task imports a module that the worker lacks, and waits for it; id is where in the arena."""
    PONG = 27
    CHUNK = 31
    """Piece of a bulk part, either way; the shim puts them together, Python never sees one."""
    POST = 32
    """A message on a named channel, which is not answered."""
    REQUEST = 33
    """A message whose handler's result is the answer."""
    RESPONSE = 34
    """What the handler of a request returned."""
    FAILURE = 35
    """What the handler of a message raised, or that there is none."""
    REPORT = 36
    """How far the handler of a request is."""
    WITHDRAW = 37
    """The request is not wanted any more."""


MESSAGES: Final[dict[str, dict[str, str]]] = {
    "configure": {"size": "count?", "packages": "strings", "modules": "object", "mode": "string?"},
    "run": {
        "id": "id",
        "target": "string",
        "args": "array",
        "priority": "level?",
        "timeout": "number?",
        "memories": "array?",
        "twins": "array?",
    },
    "exec": {"id": "id", "source": "string", "filename": "string", "argv": "strings?"},
    "warm": {"id": "id"},
    "cancel": {"id": "id"},
    "drop": {"id": "id"},
    "subscribe": {"event": "event"},
    "unsubscribe": {"event": "event"},
    "answer": {"id": "id", "payload": "any", "memories": "array?", "twins": "array?"},
    "refuse": {
        "id": "id",
        "channel": "string",
        "name": "string",
        "error": "string",
        "message": "string",
        "stack": "string",
    },
    "report": {"id": "id", "done": "number", "total": "number?", "message": "string"},
    "post": {
        "channel": "string",
        "name": "string",
        "payload": "any",
        "time": "number",
        "memories": "array?",
        "twins": "array?",
    },
    "request": {
        "id": "id",
        "channel": "string",
        "name": "string",
        "payload": "any",
        "time": "number",
        "memories": "array?",
        "twins": "array?",
    },
    "withdraw": {"id": "id"},
    "assets": {"assets": "object"},
    "ready": {"mode": "string", "reason": "string", "arena": "object?", "bell": "object?"},
    "result": {"id": "id", "value": "any", "memories": "array?", "twins": "array?"},
    "error": {"id": "id", "name": "string", "message": "string", "pythonTraceback": "string"},
    "progress": {"id": "id", "done": "number", "total": "number?", "message": "string"},
    "output": {"id": "id?", "stream": "string", "text": "string"},
    "event": {"event": "object"},
    "join": {"lock": "string", "port": "object"},
    "ended": {"name": "string", "message": "string"},
    "welcome": {"lock": "string"},
    "keep": {},
    "company": {"tabs": "count"},
    "lost": {},
    "admit": {"lock": "string", "port": "object"},
    "spawn": {
        "peer": "id",
        "name": "string",
        "channel": "object",
        "archive": "object",
        "fork": "id?",
        "setup": "object?",
    },
    "terminate": {"peer": "id"},
    "retire": {"peer": "id"},
    "died": {"peer": "id", "reason": "string"},
}
"""Messages between page, hub and broker: fields and their types, ``?`` where one may be absent."""


class WorkerState(enum.Enum):
    """What a worker is doing, as its hub knows it."""

    INITIALIZING = "initializing"
    IDLE = "idle"
    BUSY = "busy"
    ERROR = "error"
    TERMINATED = "terminated"


MESSAGE_KINDS: Final = tuple(kind for kind in Kind if kind >= Kind.POST)
"""What users' code says to users' code."""


def _messages(state: WorkerState) -> dict[Kind, WorkerState]:
    """Messages are legal as long as a worker speaks, and change nothing."""
    return dict.fromkeys(MESSAGE_KINDS, state)


_RUNNING = {
    Kind.RESULT: WorkerState.IDLE,
    Kind.ERROR: WorkerState.IDLE,
    Kind.PROGRESS: WorkerState.BUSY,
    Kind.PARKED: WorkerState.BUSY,
    Kind.OUTPUT: WorkerState.BUSY,
    Kind.RETAIN: WorkerState.BUSY,
    Kind.RELEASE: WorkerState.BUSY,
    Kind.MISSING: WorkerState.BUSY,
    **_messages(WorkerState.BUSY),
    Kind.PONG: WorkerState.BUSY,
    Kind.LOST: WorkerState.TERMINATED,
}

TRANSITIONS: Final[dict[WorkerState, dict[Kind, WorkerState]]] = {
    WorkerState.INITIALIZING: {
        Kind.READY: WorkerState.IDLE,
        Kind.SETUP_FAILED: WorkerState.ERROR,
        Kind.OUTPUT: WorkerState.INITIALIZING,
        Kind.RETAIN: WorkerState.INITIALIZING,
        Kind.RELEASE: WorkerState.INITIALIZING,
        Kind.MISSING: WorkerState.INITIALIZING,
        **_messages(WorkerState.INITIALIZING),
        Kind.LOST: WorkerState.TERMINATED,
    },
    WorkerState.IDLE: {
        Kind.OUTPUT: WorkerState.IDLE,
        Kind.RETAIN: WorkerState.IDLE,
        Kind.RELEASE: WorkerState.IDLE,
        Kind.MISSING: WorkerState.IDLE,
        **_messages(WorkerState.IDLE),
        Kind.PONG: WorkerState.IDLE,
        Kind.LOST: WorkerState.TERMINATED,
    },
    WorkerState.BUSY: _RUNNING,
    WorkerState.ERROR: {
        Kind.OUTPUT: WorkerState.ERROR,
        Kind.RETAIN: WorkerState.ERROR,
        Kind.RELEASE: WorkerState.ERROR,
        Kind.MISSING: WorkerState.ERROR,
        **_messages(WorkerState.ERROR),
        Kind.LOST: WorkerState.TERMINATED,
    },
    WorkerState.TERMINATED: {},
}
"""What a worker may say in each state, and its state afterwards. RESULT and ERROR leave a worker
that holds further tasks BUSY: the scheduler knows how many."""


_LEGAL: Final[dict[str, dict[int, Kind]]] = {
    state.value: {int(kind): kind for kind in kinds} for state, kinds in TRANSITIONS.items()
}
"""By the name of the state: a member of an Enum is hashed in Python, once for each frame."""


def check_kind(worker: int, state: WorkerState, kind: int) -> Kind:
    """Checks that a worker may say this now.

    Raises:
        ProtocolError: it may not; the message names kind, worker and state.
    """
    known = _LEGAL[state._value_].get(kind)
    if known is None:
        named = {int(kind): kind.name for kind in Kind}
        name = named.get(kind, f"kind {kind}")
        raise ProtocolError(f"cannot handle {name} while worker {worker} is {state.name}")
    return known


class Frame(NamedTuple):
    """A received frame. Its payload is a view that dies with the next receive."""

    kind: int
    flags: int
    epoch: int
    peer: int
    id: int
    number: float
    payload: memoryview


def padded(length: int) -> int:
    """Returns the length with its padding to a multiple of 8."""
    return (length + 7) & ~7


def write_frame(
    target: bytearray | memoryview,
    offset: int,
    kind: int,
    flags: int,
    peer: int,
    id: int,
    number: float,
    payload: bytes | bytearray | memoryview,
    epoch: int = 0,
) -> int:
    """Writes a frame into a buffer that has room for it.

    Returns:
        The offset behind it, padded.

    Raises:
        ProtocolError: it would be longer than a frame may be.
    """
    length = HEADER_BYTES + len(payload)
    if length > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {length} bytes is too long")
    HEADER.pack_into(target, offset, length, kind, flags, epoch, peer, id & 0xFFFFFFFF, number)
    target[offset + HEADER_BYTES : offset + length] = payload
    return offset + ((length + 7) & ~7)


def read_frames(source: memoryview, end: int) -> Iterator[Frame]:
    """Reads the frames in the first ``end`` bytes of a buffer.

    Raises:
        ProtocolError: a length that no frame has.
    """
    at = 0
    unpack_from = HEADER.unpack_from
    new = tuple.__new__  # half of what calling Frame takes
    while at < end:
        if end - at < HEADER_BYTES:
            raise ProtocolError(f"{end - at} bytes at offset {at} are no frame")
        length, kind, flags, epoch, peer, id, number = unpack_from(source, at)
        if length < HEADER_BYTES or length > MAX_FRAME_BYTES or length > end - at:
            raise ProtocolError(f"a frame at offset {at} claims {length} bytes of {end - at}")
        payload = source[at + HEADER_BYTES : at + length]
        yield new(Frame, (kind, flags, epoch, peer, id, number, payload))
        at += (length + 7) & ~7
