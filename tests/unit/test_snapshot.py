"""The form of a memory snapshot: what is packed is what is restored, and what is refused."""

import base64
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.node_host import NodeError, NodeHost

pytestmark = pytest.mark.timeout(60)

PAGE = 4096
BUILD = "0123456789abcdef" * 4
ARCHIVE = b"a zip of packages"
OWN = struct.pack("<4I", 0x706F6E00, 128, 2, 0) + bytes(112)
"""A header as Pyodide writes it: its second word is its length."""


@pytest.fixture(scope="module")
def shim() -> Iterator[NodeHost]:
    with NodeHost("snapshot_driver.mjs") as host:
        yield host


def text(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


def a_memory(seed: int, pages: int) -> bytes:
    """A memory in which about every third page is used, some by a single byte."""
    chance = random.Random(seed)
    content = []
    for _ in range(pages):
        page = bytearray(PAGE)
        if chance.random() < 0.2:
            page[:] = chance.randbytes(PAGE)
        elif chance.random() < 0.2:
            page[chance.randrange(PAGE)] = 1
        content.append(page)
    return b"".join(content)


def packed(
    shim: NodeHost, memory: bytes, fresh: tuple[int, ...] = (), places: tuple[int, ...] = ()
) -> bytes:
    answer = shim.ask(
        "pack",
        raw=text(OWN + memory),
        fresh=list(fresh),
        buildId=BUILD,
        archive=text(ARCHIVE),
        places=list(places),
    )
    return base64.b64decode(answer)


def restored(shim: NodeHost, data: bytes, memory: bytes, limit: int = 1 << 24) -> bytes:
    answer = shim.ask("restore", data=text(data), memory=text(memory), limit=limit)
    return base64.b64decode(answer)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_packed_is_restored(shim: NodeHost, seed: int) -> None:
    memory = a_memory(seed, 64)
    places = tuple(range(seed))
    data = packed(shim, memory, places=places)
    assert restored(shim, data, bytes(len(memory))) == memory
    assert base64.b64decode(shim.ask("pyodideHeader", data=text(data))) == OWN
    assert tuple(shim.ask("places", data=text(data))) == places


def test_pages_of_zeros_take_no_room(shim: NodeHost) -> None:
    assert len(packed(shim, bytes(64 * PAGE))) < PAGE


def test_a_page_that_is_used_before_the_restore_becomes_zeros(shim: NodeHost) -> None:
    memory = a_memory(7, 16)
    before = bytearray(len(memory))
    before[3 * PAGE] = before[9 * PAGE + 5] = 1
    fresh = tuple(shim.ask("usedPages", memory=text(before)))
    assert fresh == (3, 9)
    assert restored(shim, packed(shim, memory, fresh), bytes(before)) == memory


def test_a_smaller_memory_is_grown_first(shim: NodeHost) -> None:
    memory = a_memory(3, 64)
    data = packed(shim, memory)
    assert restored(shim, data, bytes(16 * PAGE)) == memory
    with pytest.raises(NodeError, match="there is no memory for its 262144 bytes"):
        restored(shim, data, bytes(16 * PAGE), limit=32 * PAGE)


@pytest.mark.parametrize("size", [1, 7, 64, 5000, 1 << 20])
def test_it_is_collected_from_pieces_of_any_size(shim: NodeHost, size: int) -> None:
    data = packed(shim, a_memory(1, 16))
    assert base64.b64decode(shim.ask("collect", data=text(data), size=size)) == data


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1], "it is cut short"),
        (lambda data: data[:20], "it is cut short"),
        (lambda data: b"", "it is cut short"),
        (lambda data: data + b"x", "it is longer than it says"),
        (lambda data: b"x" + data[1:], "it is no snapshot"),
        (lambda data: data[:4] + b"\x09" + data[5:], "it has form 9, not 3"),
    ],
    ids=["one byte short", "a part of the header", "nothing", "longer", "foreign", "another form"],
)
def test_what_is_no_whole_snapshot_is_refused(shim: NodeHost, change: Any, reason: str) -> None:
    data = change(packed(shim, a_memory(2, 8)))
    with pytest.raises(NodeError, match=reason):
        shim.ask("collect", data=text(data), size=1000)


def test_a_changed_byte_is_noticed(shim: NodeHost) -> None:
    data = packed(shim, a_memory(2, 8))
    shim.ask("verify", data=text(data))
    for place in (52, 60, 64, 68, 72, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 4
        with pytest.raises(NodeError, match="it is damaged"):
            shim.ask("verify", data=text(changed))


def test_it_matches_the_parts_that_it_was_made_of(shim: NodeHost) -> None:
    data = text(packed(shim, a_memory(2, 8)))
    shim.ask("match", data=data, buildId=BUILD, archive=text(ARCHIVE))
    with pytest.raises(NodeError, match="another build of Pyodide"):
        shim.ask("match", data=data, buildId=BUILD[:-1] + "0", archive=text(ARCHIVE))
    with pytest.raises(NodeError, match="another version of pyworkers"):
        shim.ask("match", data=data, buildId=BUILD, archive=text(ARCHIVE + b"."))


def test_the_checksum_tells_changes_of_any_byte(shim: NodeHost) -> None:
    data = random.Random(5).randbytes(37)
    sums = {tuple(shim.ask("checksum", data=text(data)))}
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        sums.add(tuple(shim.ask("checksum", data=text(changed))))
    sums.add(tuple(shim.ask("checksum", data=text(data + b"\0"))))
    assert len(sums) == len(data) + 2
