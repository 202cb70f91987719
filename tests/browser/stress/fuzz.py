"""What no worker says: malformed and illegal frames, said by tasks that go behind their worker.

Runs in a hub and in its workers. Owns the cases: what each says by a ``Voice``, and what must come
of it. What is not fixed there is drawn from the seed of the case.
"""

import asyncio
import math
import pickle
import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pyworkers import WorkerLost, WorkerPool, _worker
from pyworkers._protocol import HEADER, KEEP, MAX_FRAME_BYTES, SPILLED, Kind, padded
from pyworkers.task import progress

SAID: Final = "said"
"""What a task returns after it has said something by hand."""

FORGED: Final = "forged"
NO_LENGTH: Final = b"\xff\xff\xff\xff"
"""A length that no frame has: random bytes might begin with one that is legal."""

SETTLE_SECONDS: Final = 60.0
WILD_NUMBERS: Final = (math.nan, math.inf, -math.inf, -1.0, 1e300, -1e300, 5e-324)


class Voice:
    """Says frames in the name of the worker that runs this task.

    Attributes:
        random: numbers of the case's seed.
        link: of the worker.
        peer: its number.
        task: the id of this task.
    """

    def __init__(self, seed: int) -> None:
        worker = _worker.current_worker()
        assert worker is not None
        self._worker = worker
        self.random = random.Random(seed)
        self.link: Any = worker.link
        self.peer = worker.peer
        self.task = _worker._task.get()

    def say(
        self, kind: int, id: int, payload: bytes = b"", flags: int = 0, number: float = 0.0
    ) -> None:
        self.link.send(self.peer, kind, id, payload, flags, number)
        self.link.flush()

    def noise(self, longest: int) -> bytes:
        return self.random.randbytes(self.random.randrange(1, longest))

    def put(self, length: int) -> int:
        """Puts a bulk part; returns its token."""
        token: int = self.link.put(self.peer, bytearray(self.random.randbytes(length)))
        return token

    def forge(
        self, payload: bytes, kind: Kind = Kind.RESULT, flags: int = 0, number: float = 0.0
    ) -> None:
        """Says something as the result of this task, in place of what it returns."""

        def skip(*_: object) -> None:
            del line.send_encoded

        line: Any = self._worker._line
        line.send_encoded = skip
        self.say(kind, self.task, payload, flags, number)

    def mail(self, data: bytes) -> None:
        """Flushes bytes of the mailbox as they are."""
        self.link.flush()
        self.link._mailbox[: len(data)] = data
        self.link._used = len(data)
        self.link.flush()

    def channel(self) -> Any:
        """Returns what the link knows of its hub, with the ring or port that leads there."""
        from pyodide.code import run_js

        self.link.flush()
        return run_js(
            """(act) => {
                const { get } = Map.prototype;
                let found;
                Map.prototype.get = function (key) {
                    const value = get.call(this, key);
                    if (value?.parts) found = value;
                    return value;
                };
                try { act(); } finally { Map.prototype.get = get; }
                return found;
            }"""
        )(lambda: self.link.drop(self.peer, 1))

    def post(self, message: str) -> None:
        """Posts what JavaScript source describes through the port."""
        from pyodide.code import run_js

        self.channel().port.postMessage(run_js(f"({message})"))

    def write(self, data: bytes) -> None:
        """Sends bytes that are no whole frames, through ring or port."""
        from pyodide.ffi import to_js

        state = self.channel()
        if hasattr(state, "channel"):
            state.channel.outgoing.write(to_js(data))
            state.channel.outgoing.announce()
        else:
            self.post(f"{{frames: new Uint8Array({list(data)}), parts: []}}")


Act = Callable[[Voice], None]


@dataclass(frozen=True, slots=True)
class Case:
    """Something to say.

    Attributes:
        act: says it.
        mode: the only one in which it can be said; None means both.
        reason: pattern of why the worker is ended for it; None means that it lives on.
        outcome: what the task returns, or the name of the error that it raises.
    """

    act: Act
    mode: str | None
    reason: str | None
    outcome: str


CASES: Final[dict[str, Case]] = {}


def harmless(outcome: str = SAID, mode: str | None = None) -> Callable[[Act], Act]:
    """Declares a case that is refused, or of no consequence for others."""

    def declare(act: Act) -> Act:
        CASES[act.__name__] = Case(act, mode, None, outcome)
        return act

    return declare


def lethal(reason: str, mode: str | None = None) -> Callable[[Act], Act]:
    """Declares a case that ends the worker, and why."""

    def declare(act: Act) -> Act:
        CASES[act.__name__] = Case(act, mode, reason, "WorkerLost")
        return act

    return declare


# Frames that are none


ODD_BATCHES: Final = tuple(
    f"{{frames: new {kind}(new Uint32Array([64, 20, 1, ...Array(61).fill(0)]).buffer), parts: []}}"
    for kind in ("BigInt64Array", "BigUint64Array", "Float64Array", "DataView", "Uint16Array")
)


@lethal(r"it sent a malformed frame", "shared")
def chunks_that_claim_more_than_any_memory(voice: Voice) -> None:
    for token in range(1, 400):
        voice.say(Kind.CHUNK, token, bytes(8), 0, 2.0**32 - 1)


@harmless("PayloadError")
def an_error_that_is_no_exception(voice: Voice) -> None:
    inner = pickle.dumps(voice.random.choice([7, "text", None, ValueError]), 5)
    voice.forge(pickle.dumps((inner, [], "a summary", "a trace"), 5), Kind.ERROR)


@lethal(r"worker \d+ parked task \d+ twice")
def a_task_that_is_parked_twice(voice: Voice) -> None:
    # In one batch: after the first, its hub may give the worker a task that would die with it.
    voice.link.send(voice.peer, Kind.PARKED, voice.task, b"")
    voice.say(Kind.PARKED, voice.task)


@lethal("it sent a message that is no batch of frames", "transfer")
def a_batch_of_other_numbers(voice: Voice) -> None:
    voice.post(voice.random.choice(ODD_BATCHES))


@lethal(r"it sent a malformed frame: of 16 bytes, where \d+ are")
def a_frame_that_is_shorter_than_a_header(voice: Voice) -> None:
    voice.mail(struct.pack("<IIII", 16, Kind.OUTPUT, voice.peer, 0))


@lethal(r"it sent a malformed frame: of \d+ bytes, where \d+ are")
def a_frame_that_is_too_long(voice: Voice) -> None:
    length = voice.random.randrange(MAX_FRAME_BYTES + 1, 100_000)
    head = HEADER.pack(length, Kind.OUTPUT, 1, 0, voice.peer, 0, 0.0)
    voice.mail(head.ljust(padded(length), b"\0"))


@lethal(r"it sent a malformed frame: of \d+ bytes, where \d+ are")
def a_frame_that_claims_more_than_there_is(voice: Voice) -> None:
    length = voice.random.randrange(30_000, MAX_FRAME_BYTES)
    head = HEADER.pack(length, Kind.OUTPUT, 1, 0, voice.peer, 0, 0.0)
    voice.write(head + voice.random.randbytes(8 * voice.random.randrange(100)))


@lethal(r"it sent a malformed frame: of \d+ bytes, where \d+ are")
def random_bytes_in_place_of_frames(voice: Voice) -> None:
    voice.write(NO_LENGTH + voice.random.randbytes(8 * voice.random.randrange(4, 1000) - 4))


@lethal(r"it sent a malformed frame: of \d+ bytes, where \d+ are")
def a_frame_of_no_length(voice: Voice) -> None:
    voice.write(bytes(8 * voice.random.randrange(3, 100)))


@harmless()
def frames_for_a_peer_that_is_not_there(voice: Voice) -> None:
    for _ in range(10):
        voice.link.send(voice.random.randrange(1_000, 2**32), Kind.RESULT, voice.task, b"x")
    voice.link.flush()


# Frames that are not legal


@lethal(r"cannot handle kind \d+ while worker \d+ is BUSY")
def an_unknown_kind(voice: Voice) -> None:
    known = {int(kind) for kind in Kind}
    kinds = [kind for kind in range(256) if kind not in known]
    voice.say(voice.random.choice(kinds), voice.task, voice.noise(1_000))


@lethal(r"cannot handle (SETUP|FUNCTION|TASK|OBJECT|FORGET) while worker \d+ is BUSY")
def what_only_a_hub_says(voice: Voice) -> None:
    voice.say(voice.random.randrange(1, 6), voice.task, voice.noise(1_000))


@lethal(r"cannot handle READY while worker \d+ is BUSY")
def ready_in_the_midst_of_a_task(voice: Voice) -> None:
    voice.say(Kind.READY, 0)


@lethal(r"cannot handle SETUP_FAILED while worker \d+ is BUSY")
def a_failed_setup_in_the_midst_of_a_task(voice: Voice) -> None:
    voice.say(Kind.SETUP_FAILED, 0, voice.noise(1_000))


@lethal("^lost by itself")
def its_own_loss(voice: Voice) -> None:
    voice.say(Kind.LOST, 0, b"lost by itself" + voice.noise(100))


@lethal(r"worker \d+ spoke of task \d+, which it does not run")
def something_of_a_foreign_task(voice: Voice) -> None:
    kind = voice.random.choice([Kind.RESULT, Kind.ERROR, Kind.PROGRESS, Kind.PARKED])
    voice.say(kind, voice.task ^ voice.random.randrange(1, 2**32), pickle.dumps(None, 5))


@lethal("what it sent cannot be read: PayloadError")
def progress_that_cannot_be_read(voice: Voice) -> None:
    voice.say(Kind.PROGRESS, voice.task, b"\xff" + voice.noise(1_000))


@lethal("what it sent cannot be read: (TypeError|ValueError)")
def progress_of_another_form(voice: Voice) -> None:
    value = voice.random.choice([None, 7, (), (1,), (1, 2), (1, 2, 3, 4)])
    voice.say(Kind.PROGRESS, voice.task, pickle.dumps(value, 5))


# Frames that say nonsense of what is theirs


@harmless()
def releases_of_what_was_never_retained(voice: Voice) -> None:
    for _ in range(voice.random.randrange(1, 200)):
        voice.link.send(voice.peer, Kind.RELEASE, voice.random.randrange(2**32), voice.noise(50))
    voice.link.flush()


@harmless()
def output_that_is_no_text(voice: Voice) -> None:
    for _ in range(10):
        voice.say(Kind.OUTPUT, voice.random.randrange(2**32), voice.noise(30_000), 1)


@harmless()
def output_of_unknown_streams(voice: Voice) -> None:
    for _ in range(20):
        voice.say(Kind.OUTPUT, 0, voice.noise(100), voice.random.randrange(256))


@harmless()
def a_flood_of_nothing(voice: Voice) -> None:
    for _ in range(3_000):
        voice.link.send(voice.peer, Kind.OUTPUT, 0, b"", 1)
    voice.link.flush()


@harmless()
def wild_progress(voice: Voice) -> None:
    for number in WILD_NUMBERS:
        progress(number, voice.random.choice(WILD_NUMBERS))


@harmless(FORGED)
def a_task_that_took_no_time_it_knows_of(voice: Voice) -> None:
    voice.forge(pickle.dumps(FORGED, 5), number=voice.random.choice(WILD_NUMBERS))


@harmless("PayloadError")
def a_result_that_cannot_be_read(voice: Voice) -> None:
    voice.forge(b"\xff" + voice.noise(30_000))


@harmless("PayloadError")
def a_result_in_no_parts(voice: Voice) -> None:
    voice.forge(struct.pack("<I", 0), flags=SPILLED)


@harmless("PayloadError")
def an_error_that_cannot_be_read(voice: Voice) -> None:
    voice.forge(b"\xff" + voice.noise(30_000), Kind.ERROR)


@harmless("PayloadError")
def an_error_of_another_form(voice: Voice) -> None:
    value: Any = voice.random.choice([None, 7, (), (b"", [], "two"), b"abc"])
    voice.forge(pickle.dumps(value, 5), Kind.ERROR)


@harmless("PayloadError")
def an_error_whose_parts_have_other_types(voice: Voice) -> None:
    inner = voice.random.choice([7, None, "text", [1]])
    voice.forge(pickle.dumps((inner, 7, None, 3.5), 5), Kind.ERROR)


@harmless()
def a_task_that_is_parked_and_goes_on(voice: Voice) -> None:
    voice.say(Kind.PARKED, voice.task)


# Bulk parts


@harmless()
def parts_that_nobody_names(voice: Voice) -> None:
    for _ in range(5):
        voice.put(voice.random.randrange(1, 300_000))


@lethal("a table of parts is cut off")
def a_table_without_a_count(voice: Voice) -> None:
    voice.forge(voice.random.randbytes(voice.random.randrange(4)), flags=SPILLED)


@lethal(r"a table of \d+ parts is cut off")
def a_table_that_claims_more_than_there_is(voice: Voice) -> None:
    count = voice.random.choice([1, 2**32 - 1, voice.random.randrange(1_000, 2**32)])
    voice.forge(struct.pack("<I", count) + voice.random.randbytes(7), flags=SPILLED)


@lethal("what it sent cannot be read: .*(nothing in use begins at|no part|not owned by)")
def a_table_of_wild_tokens(voice: Voice) -> None:
    count = voice.random.randrange(1, 500)
    table = [
        struct.pack("<II", voice.random.getrandbits(32), voice.random.getrandbits(32))
        for _ in range(count)
    ]
    voice.forge(struct.pack("<I", count) + b"".join(table), flags=SPILLED)


@lethal("what it sent cannot be read: .*(part|bytes)")
def a_part_of_another_length(voice: Voice) -> None:
    token = voice.put(40_000)
    length = voice.random.choice([0, 1, 39_999, 40_001, 2**31 - 1])
    voice.forge(struct.pack("<III", 1, token, length), flags=SPILLED)


@lethal("what it sent cannot be read: .*(nothing in use begins at|no part)")
def one_part_twice(voice: Voice) -> None:
    part = struct.pack("<II", voice.put(40_000), 40_000)
    voice.forge(struct.pack("<I", 2) + part + part, flags=SPILLED)


# Only where memory is shared


@lethal(r"what was at \d+ of the shared memory is freed", "shared")
def a_wish_to_retain_what_is_not_there(voice: Voice) -> None:
    voice.say(Kind.RETAIN, 8 + 16 * voice.random.randrange(2**28))


@lethal("what it sent cannot be read: .*(nothing in use begins|not owned by)", "shared")
def a_kept_result_at_a_wild_offset(voice: Voice) -> None:
    offsets = [0, -16, 16, 2**31, 2**33, 1e30, 0.5, math.nan, voice.random.randrange(2**31)]
    kept: Any = voice.random.choice(offsets), ((10, True),), []
    voice.forge(pickle.dumps(kept, 5), flags=KEEP)


@lethal("what it sent cannot be read: (PayloadError|TypeError|ValueError)", "shared")
def a_kept_result_of_another_form(voice: Voice) -> None:
    forms = [b"\xff", pickle.dumps(7, 5), pickle.dumps((), 5), pickle.dumps((1, 2), 5)]
    voice.forge(voice.random.choice(forms), flags=KEEP)


@lethal("of the shared memory is freed", "shared")
def a_kept_result_that_refers_to_nothing(voice: Voice) -> None:
    token = 1
    while token % 2:
        token = voice.put(40_000)
    inner = [8 + 16 * voice.random.randrange(2**28)]
    voice.forge(pickle.dumps((token, ((40_000, True),), inner), 5), flags=KEEP)


@lethal(r"it sent a malformed frame: a part with \d+ bytes of", "shared")
def a_chunk_of_a_wild_total(voice: Voice) -> None:
    totals = [*WILD_NUMBERS, 0.5, 99.0, 2.0**32, 2.0**53]
    voice.say(Kind.CHUNK, 7, bytes(100), 0, voice.random.choice(totals))


@lethal(r"it sent a malformed frame: a part with \d+ bytes of", "shared")
def chunks_that_do_not_agree(voice: Voice) -> None:
    voice.say(Kind.CHUNK, 7, bytes(100), 0, 1_000.0)
    voice.say(Kind.CHUNK, 7, bytes(100), 0, voice.random.choice([999.0, 1_001.0, 100.0]))


@lethal(r"it sent a malformed frame: a part with \d+ bytes of", "shared")
def more_chunks_than_fit(voice: Voice) -> None:
    for _ in range(3):
        voice.say(Kind.CHUNK, 7, bytes(100), 0, 250.0)


@lethal(r"it sent a malformed frame", "shared")
def bytes_that_are_not_aligned(voice: Voice) -> None:
    voice.write(NO_LENGTH + voice.random.randbytes(2 * voice.random.randrange(20, 1_000) + 1))


@harmless("said", "shared")
def chunks_that_nobody_names(voice: Voice) -> None:
    voice.say(Kind.CHUNK, 6, bytes(100), 0, 200.0)
    voice.say(Kind.CHUNK, 6, bytes(100), 0, 200.0)
    voice.say(Kind.CHUNK, 8, b"", 0, 0.0)
    for _ in range(4):
        voice.say(Kind.CHUNK, 11, voice.random.randbytes(100), 0, 200.0)


@harmless("Ref", "shared")
def a_kept_result_that_nobody_asked_for(voice: Voice) -> None:
    token = 1
    while token % 2:
        token = voice.put(40_000)
    length = voice.random.choice([40_000, 7, 2**31, 2**40, -1])
    voice.forge(pickle.dumps((token, ((length, True),), []), 5), flags=KEEP)


# Only where messages are


@lethal("it sent a CHUNK frame, which only travels in shared memory", "transfer")
def a_chunk_in_a_message(voice: Voice) -> None:
    voice.say(Kind.CHUNK, 7, bytes(100), 0, 200.0)


@lethal("mode transfer has no shared memory", "transfer")
def a_wish_to_retain_without_memory(voice: Voice) -> None:
    voice.say(Kind.RETAIN, voice.random.randrange(2**32))


@lethal("mode transfer has no shared memory", "transfer")
def a_kept_result_without_memory(voice: Voice) -> None:
    voice.forge(pickle.dumps((16, (), []), 5), flags=KEEP)


NO_BATCHES: Final = (
    "null",
    "undefined",
    "7",
    "'text'",
    "[]",
    "{}",
    "new Uint8Array(100)",
    "{frames: new Uint8Array(8)}",
    "{frames: [1, 2], parts: []}",
    "{frames: new ArrayBuffer(8), parts: []}",
    "{frames: new Uint8Array(8), parts: {length: 0}}",
    "{frames: new Uint8Array(8), parts: [null]}",
    "{frames: new Uint8Array(8), parts: [{token: 1}]}",
    "{frames: new Uint8Array(8), parts: [{token: 0.5, bytes: new Uint8Array(8)}]}",
    "{frames: new Uint8Array(8), parts: [{token: 1, bytes: new ArrayBuffer(8)}]}",
    "{get frames() { return new Uint8Array(8); }, parts: 7}",
)


@lethal("it sent a message that is no batch of frames", "transfer")
def a_message_that_is_no_batch(voice: Voice) -> None:
    voice.post(voice.random.choice(NO_BATCHES))


@harmless(SAID, "transfer")
def a_batch_of_nothing(voice: Voice) -> None:
    voice.post("{frames: new Uint8Array(0), parts: []}")


@harmless(SAID, "transfer")
def parts_of_no_frame(voice: Voice) -> None:
    voice.post("{frames: new Uint8Array(0), parts: [{token: -7, bytes: new Uint8Array(99)}]}")


# The hub's side


def speak(name: str, seed: int) -> str:
    """A task: says what a case says; if that is harmless, it goes on as if nothing had happened."""
    case = CASES[name]
    case.act(Voice(seed))
    if case.reason is not None:
        # Until it is ended: so it does not begin another task, which would be lost with it.
        time.sleep(2 * SETTLE_SECONDS)
    return SAID


def honest(number: int) -> tuple[int, bytes]:
    """A task that does no harm, and whose result is large enough to go beside its frame."""
    return number, bytes([number % 256]) * (20_000 + 1_000 * number)


def deal(mode: str, place: int, places: int, seed: int, lost: int, kept: int) -> list[Any]:
    """Draws cases for one of the places of a mode, of which each gets others first.

    Args:
        mode: of the place.
        place: its number.
        places: how many there are of that mode.
        seed: the same for all of them.
        lost: how many of the cases end a worker.
        kept: how many do not.

    Returns:
        Pairs of a name and a seed, in the order in which they shall be said.
    """
    rng = random.Random(f"{mode} {seed}")
    fitting = {name: case for name, case in CASES.items() if case.mode in (None, mode)}
    drawn = []
    for is_lethal, count in ((True, lost), (False, kept)):
        names = [name for name, case in fitting.items() if (case.reason is not None) is is_lethal]
        rng.shuffle(names)
        start = place * len(names) // places
        chosen = [names[(start + i) % len(names)] for i in range(count)]
        # Evenly among the others, so that a lost worker is replaced while something is done.
        drawn += [((i + 0.5) / count, name) for i, name in enumerate(chosen)]
    return [(name, rng.getrandbits(31)) for _, name in sorted(drawn)]


async def outcome_of(future: Any) -> tuple[str, str]:
    """Returns what a task returned, or the name and the text of the error that it raised."""
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            value = await future
    except WorkerLost as error:
        return "WorkerLost", error.reason
    except Exception as error:
        return type(error).__name__, str(error)
    return (value, "") if type(value) is str else (type(value).__name__, "")


async def run(cases: list[tuple[str, int]]) -> dict[str, Any]:
    """Says the cases one after the other to a pool, in the midst of honest tasks.

    Returns:
        What came of each case, what was wrong with the honest tasks, and what is left behind.
    """
    outcomes: list[list[Any]] = []
    wrong: list[str] = []
    async with WorkerPool(2, modules=["fuzz"], on_output=lambda *_: None) as pool:
        await asyncio.gather(*[pool.submit(honest, n) for n in range(4)])
        for name, seed in cases:
            tasks = [pool.submit(honest, n) for n in range(3)]
            spoken = pool.submit(speak, name, seed)
            tasks += [pool.submit(honest, n) for n in range(3, 6)]
            outcomes.append([name, seed, *await outcome_of(spoken)])
            for n, task in enumerate(tasks):
                try:
                    async with asyncio.timeout(SETTLE_SECONDS):
                        if await task != honest(n):
                            wrong.append(f"{name}: task {n} has another result")
                except Exception as error:
                    wrong.append(f"{name}: task {n}: {type(error).__name__}: {error}")
            del task, tasks, spoken
        mapped = [n async for n in pool.map(abs, range(-500, 0))]
        if mapped != list(range(500, 0, -1)):
            wrong.append("map has another result")
        outstanding = len(pool._engine.tasks)
    return {
        "outcomes": outcomes,
        "wrong": wrong,
        "outstanding": outstanding,
        "handlers": len(pool._hub._handlers),
        "blocks": await blocks_left(pool),
    }


async def blocks_left(pool: WorkerPool) -> int:
    """Returns how much of the arena is still in use once the last workers have ended."""
    end = time.monotonic() + SETTLE_SECONDS
    memory = pool.memory()
    while memory is not None and memory.blocks and time.monotonic() < end:
        await asyncio.sleep(0.01)  # for the broker, which frees what an ended worker had
        memory = pool.memory()
    return memory.blocks if memory else 0
