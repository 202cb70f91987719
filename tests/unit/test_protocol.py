"""Frames and messages: what is written is read, what the tables do not allow is refused."""

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyworkers._events import KINDS
from pyworkers._js import check_version
from pyworkers._protocol import (
    HEADER,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    MESSAGES,
    PROTOCOL_VERSION,
    TRANSITIONS,
    Frame,
    Kind,
    WorkerState,
    check_kind,
    padded,
    read_frames,
    write_frame,
)
from pyworkers.errors import ProtocolError
from tests.unit.node_host import NodeError, NodeHost

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def shim() -> Iterator[NodeHost]:
    with NodeHost("protocol_driver.mjs") as host:
        yield host


def written(*frames: Frame) -> bytearray:
    """The bytes of frames that follow each other."""
    target = bytearray(sum(padded(HEADER_BYTES + len(frame.payload)) for frame in frames))
    at = 0
    for kind, flags, epoch, peer, id, number, payload in frames:
        at = write_frame(target, at, kind, flags, peer, id, number, payload, epoch)
    assert at == len(target)
    return target


def frame(kind: Kind, id: int = 0) -> Frame:
    return Frame(kind, 0, 0, 1, id, 0.0, memoryview(b""))


u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
sizes = st.integers(0, 40) | st.integers(0, MAX_FRAME_BYTES - HEADER_BYTES)
payloads = st.builds(lambda seed, size: memoryview(random.Random(seed).randbytes(size)), u32, sizes)
frames = st.builds(Frame, u8, u8, u16, u32, u32, st.floats(allow_nan=False), payloads)


@given(st.lists(frames, max_size=6))
def test_frames_are_read_as_they_were_written(sent: list[Frame]) -> None:
    """A-05"""
    buffer = written(*sent)
    assert list(read_frames(memoryview(buffer), len(buffer))) == sent


@given(id=st.integers(0, 2**70))
def test_an_id_travels_modulo_2_to_the_32(id: int) -> None:
    buffer = written(frame(Kind.TASK, id))
    (read,) = read_frames(memoryview(buffer), len(buffer))
    assert read.id == id % 2**32


def test_a_frame_is_laid_out_as_the_table_says() -> None:
    """A-05"""
    payload = memoryview(b"abc")
    buffer = written(Frame(Kind.RESULT, 0x80, 0x1234, 0x01020304, 0x05060708, 1.5, payload))
    header = "1b000000 11 80 3412 04030201 08070605 000000000000f83f"
    assert buffer == bytes.fromhex(header) + b"abc" + bytes(5)


def claiming(length: int, size: int) -> memoryview:
    buffer = bytearray(size)
    HEADER.pack_into(buffer, 0, length, Kind.RESULT, 0, 0, 1, 1, 0.0)
    return memoryview(buffer)


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES - 1, 81, MAX_FRAME_BYTES, 2**32 - 1])
def test_a_length_that_no_frame_has_is_refused(length: int) -> None:
    """A-07"""
    with pytest.raises(ProtocolError, match=f"at offset 0 claims {length} bytes of 80"):
        list(read_frames(claiming(length, 80), 80))


def test_a_frame_above_the_maximum_is_refused_though_its_bytes_are_there() -> None:
    """A-07"""
    size = MAX_FRAME_BYTES + 8
    with pytest.raises(ProtocolError, match=f"claims {MAX_FRAME_BYTES + 1} bytes"):
        list(read_frames(claiming(MAX_FRAME_BYTES + 1, size), size))


@given(rest=st.integers(1, HEADER_BYTES - 1))
def test_less_than_a_header_is_refused_after_the_frames_before_it(rest: int) -> None:
    """A-07"""
    buffer = written(frame(Kind.READY)) + bytes(rest)
    reading = read_frames(memoryview(buffer), len(buffer))
    assert next(reading).kind == Kind.READY
    with pytest.raises(ProtocolError, match=f"{rest} bytes at offset 24 are no frame"):
        next(reading)


@given(st.binary(max_size=400))
@example(bytes(24))
def test_any_bytes_are_frames_or_a_protocol_error(data: bytes) -> None:
    """A-07"""
    read = 0
    try:
        for found in read_frames(memoryview(data), len(data)):
            read += padded(HEADER_BYTES + len(found.payload))
    except ProtocolError:
        assert read < len(data)
    else:
        assert read in (len(data), padded(len(data)))


@pytest.mark.parametrize("state", WorkerState)
def test_a_worker_says_only_what_its_state_allows(state: WorkerState) -> None:
    """A-07: refusals name the kind, the worker and its state."""
    for kind in range(256):
        if kind in TRANSITIONS[state]:
            assert check_kind(3, state, kind) is Kind(kind)
            continue
        name = Kind(kind).name if kind in set(Kind) else f"kind {kind}"
        with pytest.raises(ProtocolError) as refusal:
            check_kind(3, state, kind)
        assert str(refusal.value) == f"cannot handle {name} while worker 3 is {state.name}"


def test_every_living_worker_may_die_and_no_dead_one_may_speak() -> None:
    for state in WorkerState:
        if state is WorkerState.TERMINATED:
            assert TRANSITIONS[state] == {}
        else:
            assert TRANSITIONS[state][Kind.LOST] is WorkerState.TERMINATED


def test_what_only_a_hub_says_is_legal_for_no_worker() -> None:
    """A-07"""
    said = {kind for legal in TRANSITIONS.values() for kind in legal}
    assert said == {kind for kind in Kind if kind >= 16} - {Kind.CHUNK}


def test_both_languages_have_the_same_tables(shim: NodeHost) -> None:
    assert shim.ask("table") == {
        "version": PROTOCOL_VERSION,
        "headerBytes": HEADER_BYTES,
        "maxFrameBytes": MAX_FRAME_BYTES,
        "kinds": {kind.name: kind.value for kind in Kind},
        "messages": MESSAGES,
        "events": [*KINDS],
    }


def special(name: str) -> dict[str, str]:
    """Stands for a value that JSON cannot hold."""
    return {"$special": name}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
counts = st.integers(0, 2**53 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
records = st.dictionaries(texts.filter(lambda text: text != "$special"), counts, max_size=3)
RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "any": st.none() | texts | numbers | records | st.just(special("bigint")),
    "string": texts,
    "number": numbers,
    "id": counts,
    "count": counts,
    "level": counts | texts,
    "event": st.sampled_from(KINDS),
    "array": st.lists(numbers | texts, max_size=3),
    "object": records | st.just(special("buffer")),
    "strings": st.lists(texts, max_size=3),
}

broken_numbers = st.sampled_from([special("nan"), special("infinity"), special("bigint")])
no_object = st.none() | st.booleans() | texts | numbers | broken_numbers
no_number: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | texts | records | st.just([]) | broken_numbers
)
no_count = no_number | st.integers(max_value=-1, min_value=-(2**53)) | st.just(0.5)
no_array = no_object | records | st.just(special("buffer")) | st.just(special("cycle"))
WRONG: dict[str, st.SearchStrategy[Any]] = {
    "string": no_array.filter(lambda value: not isinstance(value, str)) | st.just([]),
    "number": no_number,
    "id": no_count,
    "count": no_count,
    "level": no_count.filter(lambda value: not isinstance(value, str)),
    "event": no_array,
    "array": no_array,
    "object": no_object,
    "strings": no_array | st.just(["a", 1]) | st.just([None]),
}


def messages(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Messages of a kind as its table wants them; what is optional may be absent or undefined."""
    required = {"kind": st.just(kind)}
    optional = {}
    for field, type in MESSAGES[kind].items():
        if type.endswith("?"):
            optional[field] = RIGHT[type[:-1]] | st.just(special("undefined"))
        else:
            required[field] = RIGHT[type]
    return st.fixed_dictionaries(required, optional=optional)


FIELDS = [(kind, field) for kind, table in MESSAGES.items() for field in table]
few = settings(max_examples=20)


def refusal(shim: NodeHost, message: Any, kinds: list[str]) -> str:
    with pytest.raises(NodeError) as thrown:
        shim.ask("checked", message=message, kinds=kinds)
    assert thrown.value.name == "ProtocolError", thrown.value
    return thrown.value.text


@pytest.mark.parametrize("kind", MESSAGES)
@few
@given(data=st.data())
def test_a_message_in_its_right_form_is_accepted(
    shim: NodeHost, kind: str, data: st.DataObject
) -> None:
    """A-07"""
    shim.ask("checked", message=data.draw(messages(kind)), kinds=[*MESSAGES])


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@few
@given(data=st.data())
def test_a_field_that_is_missing_or_mistyped_is_refused_by_its_name(
    shim: NodeHost, kind: str, field: str, data: st.DataObject
) -> None:
    """A-07"""
    type = MESSAGES[kind][field]
    message = data.draw(messages(kind))
    message.pop(field, None)
    name = type.removesuffix("?")
    refused = f"message {kind}: field {field} must be {name}"
    if type in ("any", name + "?"):
        shim.ask("checked", message=message, kinds=[kind])
    else:
        assert refusal(shim, message, [kind]) == refused
        message[field] = special("undefined")
        assert refusal(shim, message, [kind]) == refused
    if name != "any":
        message[field] = data.draw(WRONG[name])
        assert refusal(shim, message, [kind]) == refused


# Names that every object inherits are as unknown as others.
names = texts.filter(lambda name: name != "$special")
inherited = st.sampled_from(["constructor", "hasOwnProperty", "toString", "__proto__"])


@pytest.mark.parametrize("kind", MESSAGES)
@few
@given(data=st.data())
def test_a_field_that_is_not_in_the_table_is_refused_by_its_name(
    shim: NodeHost, kind: str, data: st.DataObject
) -> None:
    """A-07"""
    message = data.draw(messages(kind))
    name = data.draw((names | inherited).filter(lambda name: name not in message))
    if name in MESSAGES[kind]:
        return
    message[name] = data.draw(RIGHT["any"])
    assert refusal(shim, message, [kind]) == f"message {kind}: unknown field {name}"


@pytest.mark.parametrize(("kind", "legal"), [("run", "died"), ("ready", "run"), ("died", "run")])
def test_a_kind_that_is_legal_elsewhere_is_refused_here(
    shim: NodeHost, kind: str, legal: str
) -> None:
    """A-07"""
    text = refusal(shim, {"kind": kind, "peer": 1, "reason": ""}, [legal])
    assert re.fullmatch(rf'unknown message kind "?{kind}"?; legal here: {legal}', text)


@given(message=RIGHT["any"] | st.fixed_dictionaries({"kind": RIGHT["any"] | WRONG["string"]}))
@example(message={"kind": special("bigint")})
@example(message={"kind": special("cycle")})
@example(message={"kind": "toString"})
@example(message=special("undefined"))
def test_what_is_no_message_is_refused(shim: NodeHost, message: Any) -> None:
    """A-07"""
    if isinstance(message, dict) and message.get("kind") in (*MESSAGES,):
        return
    text = refusal(shim, message, ["run", "cancel"])
    assert text.startswith("unknown message kind ")
    assert text.endswith("; legal here: run,cancel")


def test_a_shim_of_another_release_is_refused_with_both_versions_named() -> None:
    """A-07"""
    check_version(PROTOCOL_VERSION, PROTOCOL_VERSION)
    with pytest.raises(ProtocolError, match=rf"protocol 999, .* {PROTOCOL_VERSION}:"):
        check_version(999, PROTOCOL_VERSION)
