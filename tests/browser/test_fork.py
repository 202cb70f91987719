"""Workers that start from the memory of one which was set up: as good as any other."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from pyworkers.cli.build import build_site
from pyworkers.cli.serve import serving
from tests.hubs import Hub, NodeHub, PageHub

pytestmark = pytest.mark.timeout(240)

FORKED = """
async def settled(pool):
    "Waits until it is known whether further workers can start from what is set up."
    while pool.stats().fork.state in ("waiting", "making"):
        await asyncio.sleep(0.02)
    return pool.stats().fork

def phases(number):
    "How a worker started."
    for each in boot_report().interpreters:
        if each.name == f"worker {number}":
            return [name for name, _ in each.phases]
"""

SET_UP = """
from pathlib import Path
Path("fork_helper.py").write_text("loaded = []\\nloaded.append(len(loaded))\\n")
def prepare(size):
    import builtins, decimal, fork_helper, os, statistics, time
    from os import getpid
    builtins.calls = getattr(builtins, "calls", 0) + 1
    builtins.table = {n: str(n) for n in range(size)}
    builtins.process, builtins.began = getpid, time.monotonic()
    os.makedirs("made/below")
    with open("made/below/text", "w") as file:
        file.write("written")
    os.symlink("text", "made/below/link")
    os.chmod("made/below/text", 0o640)
    os.utime("made/below/text", (86400, 86400))
    os.remove("given/gone.txt")
    os.environ["SET_UP"] = "here"
    os.chdir("made")
def look():
    import builtins, ctypes, fork_helper, os, sys, time
    text = os.stat("below/text")
    getattro = ctypes.cast(ctypes.pythonapi.PyObject_GenericGetAttr, ctypes.c_void_p).value
    return {
        "calls": builtins.calls,
        "table": len(builtins.table),
        "modules": [name in sys.modules for name in ("decimal", "statistics", "fork_helper")],
        "loaded": fork_helper.loaded,
        "folder": os.getcwd(),
        "given": sorted(os.listdir("../given")),
        "text": [open("below/link").read(), text.st_mode, text.st_mtime, os.readlink("below/link")],
        "variable": os.environ["SET_UP"],
        "process": builtins.process() == os.getpid(),
        "time": builtins.began < time.monotonic() < builtins.began + 600,
        "path": sys.path,
        "address": getattro == ctypes.c_size_t.from_address(id(object) + 72).value,
    }
options = dict(
    modules=["fork_helper"],
    files={"given/kept.txt": b"1", "given/gone.txt": "2"},
    initializer=prepare,
    initargs=(1000,),
    fork=True,
    standby=0,
)
"""


def test_a_forked_worker_is_as_one_that_was_set_up(hub: Hub) -> None:
    """X-03: it has the modules, files, folder, variables and globals of one that ran the set-up."""
    plain, state, forked, workers, started = hub.run(
        FORKED
        + SET_UP
        + """
async with WorkerPool(1, max_tasks_per_child=1, **options) as pool:
    plain = await pool.submit(look)
    fork = await settled(pool)
    assert fork.bytes > 2**20 and fork.seconds > 0 and fork.workers == 0, fork
    forked = [await pool.submit(look) for _ in range(2)]
    [number] = [int(each.name.split()[-1]) for each in boot_report().interpreters[-1:]]
    return plain, [fork.state, fork.reason], forked, pool.stats().fork.workers, phases(number)
"""
    )
    assert state == ["ready", ""]
    assert plain["calls"] == 1
    assert plain["text"][0] == "written"
    assert plain["given"] == ["kept.txt"]
    assert forked == [plain, plain]
    assert workers == 2
    assert started.count("fork") == 1


def test_the_set_up_runs_once_for_all_that_are_forked(hub: Hub) -> None:
    """X-03: it prints in the first worker and where the memory is taken, and nowhere else."""
    lines, forked = hub.run(
        FORKED
        + """
lines = []
def note(worker, stream, text):
    lines.append(text)
def prepare():
    print("set up")
async with WorkerPool(
    1, initializer=prepare, fork=True, standby=0, max_tasks_per_child=1, on_output=note
) as pool:
    await pool.submit(len, "")
    await settled(pool)
    for _ in range(3):
        await pool.submit(len, "")
    return "".join(lines), pool.stats().fork.workers
"""
    )
    assert lines == "set up\n" * 2
    assert forked == 3


def test_what_must_differ_between_forked_workers_does(hub: Hub) -> None:
    """X-03: random numbers, identifiers, temporary names and process numbers are each worker's
    own.
    """
    found = hub.run(
        FORKED
        + """
def prepare():
    import random, secrets, tempfile, uuid
    uuid.uuid1(), random.random(), secrets.token_hex(), tempfile.mktemp()
def identify():
    import random, secrets, tempfile, uuid
    return [
        os.getpid(), random.random(), secrets.token_hex(), tempfile.mktemp(),
        str(uuid.uuid4()), uuid.getnode(),
    ]
async with WorkerPool(
    1, initializer=prepare, fork=True, standby=0, max_tasks_per_child=1
) as pool:
    await pool.submit(len, "")
    assert (await settled(pool)).state == "ready"
    return [await pool.submit(identify) for _ in range(3)]
"""
    )
    for column in zip(*found, strict=True):
        assert len(set(column)) == len(found), column


REFUSED = {
    "an open file": (
        "import builtins; builtins.log = open('/tmp/log', 'w')",
        "the set-up left /tmp/log open",
    ),
    "an object of JavaScript": (
        "import builtins, js; builtins.held = js.Object.new()",
        "the set-up holds an object of JavaScript: Object",
    ),
    "a variable of JavaScript": (
        "import js; js.ofTheSetUp = 1",
        "the set-up made the global variable ofTheSetUp of JavaScript",
    ),
    "a timer": (
        "import asyncio; asyncio.get_running_loop().call_later(99, print)",
        "the set-up left a timer",
    ),
    "a timer of JavaScript": (
        "import js, pyodide; js.setInterval(pyodide.ffi.create_proxy(print), 99000)",
        "the set-up left a timer",
    ),
    "a coroutine": (
        "import asyncio, builtins; builtins.running = asyncio.create_task(asyncio.sleep(99))",
        "the set-up left sleep running in the event loop",
    ),
    "a callback": (
        "import builtins, ctypes; builtins.called = ctypes.CFUNCTYPE(ctypes.c_int)(int)",
        "the set-up made a function that C code can call, as callbacks of ctypes are",
    ),
    "a handler": (
        "from pyworkers import task; task.channel('own').on('event', print)",
        "the set-up has handlers of messages",
    ),
    "a message": (
        "from pyworkers import task; task.channel('own').post('event', 1)",
        "the set-up spoke to its hub (POST)",
    ),
    "an error": (
        "import sys; assert 'pyworkers._forking' not in sys.modules, 'not here'",
        "the set-up, where it was run to be copied, raised AssertionError: not here",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_set_up_that_leaves_what_no_memory_holds_runs_in_each_worker(hub: Hub, what: str) -> None:
    """X-03: nothing fails: the reason is logged once, and is in the statistics."""
    source, reason = REFUSED[what]
    state, found, calls, warned = hub.run(
        FORKED
        + f"""
import logging
warned = []
class Note(logging.Handler):
    def emit(self, record):
        warned.append(record.getMessage())
note = Note(logging.WARNING)
logging.getLogger("pyworkers").addHandler(note)
def prepare():
    import builtins
    builtins.calls = getattr(builtins, "calls", 0) + 1
    {source}
def look():
    import builtins
    return builtins.calls
async with WorkerPool(
    1, initializer=prepare, fork=True, standby=0, max_tasks_per_child=1
) as pool:
    await pool.submit(look)
    fork = await settled(pool)
    calls = await pool.submit(look)
    assert pool.stats().fork == fork
logging.getLogger("pyworkers").removeHandler(note)
return fork.state, fork.reason, calls, warned
"""
    )
    assert (state, found) == ("refused", reason)
    assert calls == 1
    assert len(warned) == 1
    assert reason in warned[0]


def test_what_ended_before_the_set_up_did_is_no_reason(hub: Hub) -> None:
    """X-03: A timer that was cancelled, a file that was closed, and an object that was dropped."""
    state, reason = hub.run(
        FORKED
        + """
async def prepare():
    import js
    await asyncio.wait_for(asyncio.sleep(0.01), 99)
    with open("/tmp/closed", "w") as file:
        print(js.Object.new(), file=file)
    js.clearTimeout(js.setTimeout(js.Object, 99000))
async with WorkerPool(1, initializer=prepare, fork=True, standby=0) as pool:
    await pool.submit(len, "")
    fork = await settled(pool)
    return fork.state, fork.reason
"""
    )
    assert (state, reason) == ("ready", "")


def test_a_worker_in_place_of_one_that_died_is_forked(hub: Hub) -> None:
    """X-03: A reserve starts beside the fork, from it or not."""
    found = hub.run(
        FORKED
        + """
def prepare():
    import builtins
    builtins.table = list(range(1000))
def look():
    return len(table)
def die():
    os._exit(1)
async with WorkerPool(1, initializer=prepare, fork=True, standby=0) as pool:
    await pool.submit(look)
    await settled(pool)
    try:
        await pool.submit(die)
    except WorkerLost:
        pass
    found = [await pool.submit(look), pool.stats().fork.workers]
async with WorkerPool(1, initializer=prepare, fork=True, standby=1) as pool:
    await pool.submit(look)
    await settled(pool)
    while not pool.standby:
        await asyncio.sleep(0.02)
        await pool.submit(look)
    return found + [await pool.submit(look)]
"""
    )
    assert found == [1000, 1, 1000]


def test_a_forked_worker_learns_what_has_changed_since(hub: Hub) -> None:
    """X-03: it keeps what the set-up has found; it is told the difference, as older ones are."""
    found = hub.run(
        FORKED
        + """
from pathlib import Path
os.environ["FIRST"], os.environ["THEN"] = "old", "old"
def prepare():
    import builtins
    builtins.seen = os.environ["FIRST"]
def look():
    import later_module
    return [seen, os.environ["FIRST"], os.environ.get("THEN"), later_module.value]
async with WorkerPool(
    1, initializer=prepare, fork=True, standby=0, max_tasks_per_child=1
) as pool:
    await pool.submit(len, "")
    await settled(pool)
    os.environ["FIRST"] = "new"
    del os.environ["THEN"]
    Path("later_module.py").write_text("value = 5")
    import importlib
    importlib.invalidate_caches()
    import later_module
    return [await pool.submit(look), pool.stats().fork.workers]
"""
    )
    assert found == [["old", "new", None, 5], 1]


def test_a_pool_that_ends_while_its_fork_is_made_ends(hub: Hub) -> None:
    """X-03."""
    state = hub.run(
        """
def prepare():
    import statistics
async with WorkerPool(1, initializer=prepare, fork=True, standby=0) as pool:
    await pool.submit(len, "")
    while pool.stats().fork.state == "waiting":
        await asyncio.sleep(0)
return pool.stats().fork.state
"""
    )
    assert state == "making"


def test_a_pool_that_has_nothing_to_set_up_has_no_fork(hub: Hub) -> None:
    """X-03."""
    assert hub.run("return WorkerPool(1, fork=True).stats().fork") is None


def test_inline_there_is_no_fork(hub: Hub) -> None:
    """X-03."""
    body = (
        "return WorkerPool(fork=True, mode='inline', initializer=len, initargs=('',)).stats().fork"
    )
    assert hub.run(body) is None


DAMAGE = """
const set = Map.prototype.set;
Map.prototype.set = function (key, value) {
    if (value?.memory && value.packages) {
        const { memory } = value;
        if (memory instanceof Uint8Array) memory[memory.length - 1] ^= 1;
        else value = { ...value, memory: memory.slice(0, memory.size - 1) };
    }
    return set.call(this, key, value);
};
"""


@pytest.fixture(params=["chromium-shared", "chromium-transfer", "node-shared", "node-transfer"])
def damaging(request: pytest.FixtureRequest, site: Path) -> Iterator[Hub]:
    """A hub whose broker damages each fork that it keeps."""
    place, mode = request.param.split("-")
    with ExitStack() as stack:
        if place == "node":
            node = NodeHub(site, mode, quote(DAMAGE))
            stack.callback(node.close)
            yield node
            return
        url = request.getfixturevalue("isolated_url" if mode == "shared" else "plain_url")
        browser: Browser = request.getfixturevalue("chromium")
        context = browser.new_context()
        stack.callback(context.close)
        page = context.new_page()
        page.add_init_script(DAMAGE)
        yield PageHub(page, url, mode)


def test_a_damaged_fork_is_dropped(damaging: Hub) -> None:
    """Who was to start from it starts plainly, and so do all others."""
    found = damaging.run(
        FORKED
        + """
def prepare():
    import builtins
    builtins.table = list(range(1000))
def look():
    return len(table)
async with WorkerPool(
    1, initializer=prepare, fork=True, standby=0, max_tasks_per_child=1
) as pool:
    await pool.submit(look)
    fork = await settled(pool)
    found = [fork.state, await pool.submit(look), await pool.submit(look)]
    fork = pool.stats().fork
    return [*found, fork.state, fork.reason, fork.workers]
"""
    )
    assert found[:4] == ["ready", 1000, 1000, "refused"]
    assert found[4] in ("it is damaged", "it is cut short")
    assert found[5] == 0


@pytest.mark.parametrize("place", ["chromium", "node"])
def test_a_shared_library_is_loaded_by_each_worker(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    """Packages of pure Python are in the memory, and what loads a library is not taken."""
    site = build_site(tmp_path / "site", extra=["msgspec==0.22.0", "joblib==1.6.0"])
    body = (
        FORKED
        + """
def use(name):
    import importlib
    module = importlib.import_module(name)
    return module.json.encode([1]).decode() if name == "msgspec" else module.hash([1])
found = []
for name in ("msgspec", "joblib"):
    async with WorkerPool(
        1, packages=[name], fork=True, standby=0, max_tasks_per_child=1
    ) as pool:
        plain = await pool.submit(use, name)
        fork = await settled(pool)
        found.append([fork.state, fork.reason, await pool.submit(use, name) == plain])
return found
"""
    )
    with ExitStack() as stack:
        if place == "node":
            node = NodeHub(site, "shared")
            stack.callback(node.close)
            library, pure = node.run(body)
        else:
            url = stack.enter_context(serving(site))
            library, pure = PageHub(request.getfixturevalue("page"), url, "shared").run(body)
    assert library[0] == "refused"
    assert "loaded the shared library" in library[1]
    assert "msgspec" in library[1]
    assert library[2]
    assert pure == ["ready", "", True]


def test_the_end_of_a_pool_frees_its_fork(page: object, isolated_url: str) -> None:
    hub = PageHub(page, isolated_url, "shared")  # type: ignore[arg-type]
    hub.run(
        FORKED
        + """
global pool
pool = WorkerPool(1, initializer=len, initargs=("",), fork=True, standby=0)
await pool.submit(len, "")
await settled(pool)
"""
    )
    assert hub.page.evaluate("py.line.broker.forks.size") == 1
    hub.run("pool.shutdown()")
    hub.page.evaluate(
        """async () => {
            const { forks } = py.line.broker;
            while (forks.size) await new Promise((resolve) => setTimeout(resolve, 20));
        }"""
    )
