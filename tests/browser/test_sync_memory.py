"""B-12: what multiprocessing shares: values, arrays, named memory and lists, in hub and workers."""

from tests.gaps import skip_if
from tests.hubs import Hub

IMPORTS = """
import ctypes, gc
from pyworkers.sync import (
    Array, Lock, RawArray, RawValue, ShareableList, SharedMemory, Value)
"""


def run(hub: Hub, body: str) -> object:
    """Runs the body of an ``async def`` in a hub that has a pool and imports."""
    skip_if("memory", hub)
    lines = "\n".join(f"    {line}" for line in body.strip("\n").split("\n"))
    return hub.run(f"{IMPORTS}async with WorkerPool(2) as pool:\n{lines}")


def test_values_and_arrays_are_those_of_multiprocessing(hub: Hub) -> None:
    """X-05: their types and locks; additions under the lock are exact."""
    assert run(
        hub,
        """
def add(value, array, n):
    for _ in range(n):
        with value.get_lock():
            value.value += 1
        with array:
            array[-1] += 0.5
value, array = Value(ctypes.c_longlong, 2**40), Array("d", [1, 2, 3])
await asyncio.gather(*[pool.submit(add, value, array, 50) for _ in range(4)])
lock = Lock()
guarded = Value("i", 7, lock=lock)
return (value.value - 2**40, array[:], array[::-2], len(array), sum(array),
    guarded.get_lock() is lock, guarded.get_obj().value, type(Value("b", lock=False)).__name__,
    repr(value), repr(array))
        """,
    ) == [
        200,
        [1.0, 2.0, 103.0],
        [103.0, 1.0],
        3,
        106.0,
        True,
        7,
        "RawValue",
        f"<Synchronized around <RawValue 'q' {2**40 + 200}>>",
        "<SynchronizedArray around <RawArray of 3 'd'>>",
    ]


def test_arrays_of_characters_hold_text(hub: Hub) -> None:
    """X-05: up to the first zero, and all bytes by ``raw``; what does not fit is refused."""
    assert run(
        hub,
        """
def change(text, wide, flags):
    text.value = b"new"
    wide[1] = "ø"
    flags[1:] = [0, "x"]
    return text.value.decode()
text, wide = Array(ctypes.c_char, b"hello!"), RawArray("u", "abc")
flags = RawArray(ctypes.c_bool, 3)
flags[0] = 5
changed = await pool.submit(change, text, wide, flags)
text.raw = b"raw"
refused = []
for bad in (
    lambda: Value(ctypes.Structure), lambda: Array("i", -1), lambda: RawValue("b", 128),
    lambda: wide.raw, lambda: flags.__setitem__(slice(0, 2), [1]), lambda: RawArray("i", [1])[1],
    lambda: setattr(text, "value", b"too long"), lambda: text.__setitem__(0, "a"),
    lambda: Value("i", lock=5),
):
    try:
        bad()
    except Exception as error:
        refused.append(type(error).__name__)
return (changed, text.raw.decode("latin1"), text[0].decode(), wide.value, wide[1:], flags[:],
    refused)
        """,
    ) == [
        "new",
        "raw\0o!",
        "r",
        "aøc",
        "øc",
        [True, False, True],
        [
            "TypeError",
            "ValueError",
            "OverflowError",
            "AttributeError",
            "ValueError",
            "IndexError",
            "ValueError",
            "TypeError",
            "TypeError",
        ],
    ]


def test_memory_is_found_by_its_name_from_any_worker(hub: Hub) -> None:
    """X-05: one that a worker made, too; after ``unlink`` it is there for those who have it."""
    assert run(
        hub,
        """
def fill(name):
    with SharedMemory(name) as memory:
        memory.buf[:5] = b"hello"
        with memory.checkout(5, 7) as part:
            part[:] = b"!?"
    made = SharedMemory(create=True, size=8)
    made.buf[7] = 42
    return made.name
def use_after_unlink(memory):
    same = SharedMemory(memory.name)
    same.unlink()
    same.buf[0] = ord("J")
    try:
        SharedMemory(memory.name)
    except FileNotFoundError:
        return same.size
def look(name):
    return SharedMemory(name).buf[7]
with SharedMemory("mine", create=True, size=10) as memory:
    made = await pool.submit(fill, "mine")
    found = await asyncio.gather(*[pool.submit(look, made) for _ in range(4)])
    refused = []
    for bad in (lambda: SharedMemory("mine", True, 4), lambda: SharedMemory("none"),
                lambda: SharedMemory(create=True), lambda: SharedMemory()):
        try:
            bad()
        except (OSError, ValueError) as error:
            refused.append(type(error).__name__)
    size = await pool.submit(use_after_unlink, memory)
    text = bytes(memory.buf[:7]).decode()
shown = repr(memory)
try:
    memory.buf
except ValueError as error:
    closed = str(error)
SharedMemory(made).unlink()
return text, found, refused, size, shown, closed
        """,
    ) == [
        "Jello!?",
        [42] * 4,
        ["FileExistsError", "FileNotFoundError", "ValueError", "ValueError"],
        10,
        "SharedMemory('mine', size=10)",
        "SharedMemory('mine', size=10) is closed",
    ]


def test_a_list_in_shared_memory_is_changed_by_workers(hub: Hub) -> None:
    """X-05: of all its types; what does not fit into its place is refused."""
    assert run(
        hub,
        """
def change(items):
    items[0] += 1
    items[1] = None
    items[-1] = b"\\0bytes\\0"
    return ShareableList(name=items.shm.name)
items = ShareableList([1, 2.5, True, "text", None, b"12345678"], name="items")
back = await pool.submit(change, items)
shown = repr(back)
try:
    items[3] = "much too long"
except ValueError as error:
    refused = str(error)
found = items.count(None), items.index("text"), len(items)
items.shm.unlink()
return shown, refused, found
        """,
    ) == [
        "ShareableList([2, None, True, 'text', None, b'\\x00bytes\\x00'], name='items')",
        "'much too long' needs 13 bytes, and element 3 has 8",
        [2, 3, 6],
    ]


def test_memory_without_name_and_users_is_freed(hub: Hub) -> None:
    """A-03: though workers have had it, and one has died with it."""
    assert (
        run(
            hub,
            """
def use(name):
    memory = SharedMemory(name)
    memory.buf[0] = 1
def die(name):
    import os
    use(name)
    kept = SharedMemory(name)
    os._exit(1)
def nothing():
    import gc
    gc.collect()
async def once():
    memory = SharedMemory(create=True, size=100_000)
    await asyncio.gather(*[pool.submit(use, memory.name) for _ in range(4)])
    try:
        await pool.submit(die, memory.name)
    except WorkerLost:
        pass
    memory.unlink()
await pool.submit(nothing)
async def used():
    while True:
        await asyncio.gather(*[pool.submit(nothing) for _ in range(4)])
        gc.collect()
        yield pool.memory().used
before = await anext(used())
await once()
async for now in used():
    if now < before + 50_000:
        return "freed"
        """,
        )
        == "freed"
    )
