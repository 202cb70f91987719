"""How workers come to be: what their start took, and what they have of the hub's environment."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from pyworkers.cli.build import build_site
from pyworkers.cli.serve import serving
from tests.hubs import Hub, PageHub

pytestmark = pytest.mark.timeout(240)


def test_the_start_of_hub_and_workers_is_reported(hub: Hub) -> None:
    """A-07: by phase, and the bytes of each asset."""
    assets, interpreters, table = hub.run(
        """
        async with WorkerPool(1, initializer=time.sleep, initargs=(0.05,)) as pool:
            await pool.submit(abs, -1)
        report = boot_report()
        return (
            [[asset.name, asset.bytes, asset.milliseconds] for asset in report.assets],
            [[each.name, dict(each.phases), each.total] for each in report.interpreters],
            str(report),
        )
        """
    )
    sizes = {name.partition("-")[0]: size for name, size, _ in assets}
    assert {"pyodide.asm.wasm", "python_stdlib.zip", "start", "snapshot"} <= set(sizes)
    assert 5_000_000 < sizes["pyodide.asm.wasm"] < 20_000_000
    assert all(took > 0 for _, _, took in assets)
    (own, phases, total), *workers = interpreters
    assert (own, next(iter(phases))) == ("hub", "assets")
    assert total == pytest.approx(sum(phases.values()))
    steps = ["loader", "instantiate", "restore", "archive", "import"]
    assert list(phases)[1:] == steps
    name, phases, total = workers[-1]
    assert name.startswith("worker ")
    assert list(phases) == [*steps, "setup"]
    assert phases["setup"] >= 50
    assert total >= sum(phases.values())
    assert name in table
    assert "pyodide.asm.wasm" in table


MODULES = """
from pathlib import Path
def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
"""

WHEEL = """
import zipfile
def make_wheel(name):
    path = f"/tmp/{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    parts = {
        f"{name}/__init__.py": "from .inner import answer\\n",
        f"{name}/inner.py": "def answer(): return 42\\n",
        f"{name}_beside.py": "value = 7\\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    parts[f"{info}/RECORD"] = "".join(f"{part},,\\n" for part in [*parts, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for part, text in parts.items():
            wheel.writestr(part, text)
    return "emfs:" + path
async def install(name):
    import pyodide_js
    await pyodide_js.loadPackage("micropip")
    import micropip
    await micropip.install(make_wheel(name))
"""


def test_own_modules_of_the_hub_are_found_by_its_workers(hub: Hub) -> None:
    """X-07: by reference and inside of functions, by running workers too, and as they are now."""
    body = f"""{MODULES}
folder = Path("/tmp/own1")
write(folder / "shapes.py", "import sizes\\ndef area(a, b): return a * b * sizes.unit")
write(folder / "sizes.py", "unit = 1")
write(folder / "pack/__init__.py", "from pack.deep import name")
write(folder / "pack/deep.py", "name = 'deep'")
sys.path.insert(0, str(folder))
import shapes, pack
def inside():
    import pack.deep
    return pack.deep.name, pack.__file__
async with WorkerPool(1) as pool:
    found = [await pool.submit(shapes.area, 2, 3), *(await pool.submit(inside))]
    write(folder / "later.py", "def late(): return 'late'")
    import later
    found.append(await pool.submit(later.late))
for unit in ("1", "10 + 0"):
    write(folder / "sizes.py", f"unit = {{unit}}")
    async with WorkerPool(1) as pool:
        found.append(await pool.submit(shapes.area, 2, 3))
sys.path.remove(str(folder))
return found
"""
    assert hub.run(body) == [6, "deep", "/tmp/own1/pack/__init__.py", "late", 6, 60]


def test_packages_that_the_hub_installs_are_found_by_its_workers(hub: Hub) -> None:
    """X-07: before the first task, and by workers that run already; fetched once."""
    body = f"""{WHEEL}
def use(name):
    import importlib
    from importlib.metadata import version
    package = importlib.import_module(name)
    beside = importlib.import_module(name + "_beside")
    return package.answer(), beside.value, version(name)
await install("early_one")
async with WorkerPool(2) as pool:
    found = [await pool.submit(use, "early_one")]
    try:
        await pool.submit(use, "late_one")
    except ModuleNotFoundError as error:
        found.append(error.name)
    await install("late_one")
    found += [await pool.submit(use, "late_one")]
    import late_one
    found.append(await pool.submit(late_one.answer))
return found
"""
    assert hub.run(body) == [[42, 7, "1.0"], "late_one", [42, 7, "1.0"], 42]


def test_variables_filters_arguments_and_paths_are_those_of_the_hub(hub: Hub) -> None:
    """X-07: on the start, and when they change; each worker keeps its own number."""
    body = """
    import warnings
    def state():
        import os, sys, warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("told", UserWarning)
        return (
            [os.environ.get(name) for name in ("FIRST", "SECOND")],
            sys.argv,
            [folder for folder in sys.path if folder.startswith("/tmp/of_")],
            len(caught),
            os.getpid() == 42,
        )
    argv = sys.argv
    os.environ["FIRST"] = "1"
    sys.argv = ["program", "x"]
    sys.path.insert(0, "/tmp/of_hub")
    filters = warnings.filters[:]
    warnings.simplefilter("ignore", UserWarning)
    async with WorkerPool(1) as pool:
        found = [await pool.submit(state)]
        del os.environ["FIRST"]
        os.environ["SECOND"] = "2"
        sys.argv = argv
        sys.path[0] = "/tmp/of_another"
        sys.path.append("/tmp/of_last")
        warnings.filters[:] = filters
        found.append(await pool.submit(state))
    del os.environ["SECOND"], sys.path[0], sys.path[-1]
    return found, argv
    """
    (first, second), argv = hub.run(body)
    assert first == [["1", None], ["program", "x"], ["/tmp/of_hub"], 0, False]
    assert second == [[None, "2"], argv, ["/tmp/of_another", "/tmp/of_last"], 1, False]


def test_filters_of_what_workers_have_not_imported_hold_by_name(hub: Hub) -> None:
    """X-07: a filter alone has no worker import the package that defines its category."""
    body = """
    import types, warnings
    here = types.ModuleType("of_the_hub_alone")
    exec("class Strange(UserWarning): pass", vars(here))
    sys.modules["of_the_hub_alone"] = here
    def state():
        import warnings
        class Strange(UserWarning):
            __module__ = "of_the_hub_alone"
            __qualname__ = "Strange"
        class Stranger(Strange):
            pass
        with warnings.catch_warnings(record=True) as caught:
            for category in (Strange, Stranger, UserWarning):
                warnings.warn("told", category)
        return [each.category.__name__ for each in caught]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", here.Strange)
        async with WorkerPool(1) as pool:
            return await pool.submit(state)
    """
    assert hub.run(body) == ["UserWarning"]


def test_what_the_hub_does_not_have_is_missing_at_once(hub: Hub) -> None:
    """X-07: also while the hub computes: libraries look for modules that are optional."""
    body = """
    def look():
        started = time.perf_counter()
        for _ in range(3):
            try:
                import no_such_module
            except ImportError as error:
                text = str(error)
        return text, time.perf_counter() - started
    async with WorkerPool(1) as pool:
        await pool.submit(abs, 1)
        quick = await pool.submit(look)
        future = pool.submit(look)
        time.sleep(2)  # nobody answers meanwhile
        return quick, await future
    """
    for text, seconds in hub.run(body):
        assert text == "No module named 'no_such_module'"
        assert seconds < 1


def test_an_initializer_may_use_the_modules_of_the_hub(hub: Hub) -> None:
    """X-07"""
    body = f"""{MODULES}
write(Path("/tmp/own2/prepared.py"), "notes = []\\ndef prepare(): notes.append(1)")
sys.path.append("/tmp/own2")
import prepared
async with WorkerPool(1, initializer=prepared.prepare) as pool:
    return await pool.submit(lambda: __import__("prepared").notes)
"""
    assert hub.run(body) == [1]


def test_a_package_with_a_shared_library_comes_from_the_hub(page: Page, tmp_path: Path) -> None:
    """X-07: its files are handed over; nothing is fetched again."""
    site = build_site(tmp_path / "site", extra=["msgspec==0.22.0"])
    body = """
    import pyodide_js
    await pyodide_js.loadPackage("msgspec")
    def encode(n):
        import msgspec
        return msgspec.json.encode([n]).decode()
    async with WorkerPool(2) as pool:
        return [text async for text in pool.map(encode, range(4), chunksize=1)]
    """
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for isolation in ("require-corp", "off"):
        with serving(site, isolation=isolation) as url:
            hub = PageHub(page, url, "shared" if isolation == "require-corp" else "transfer")
            assert hub.run(body) == ["[0]", "[1]", "[2]", "[3]"]
    assert len([url for url in asked if "msgspec" in url]) <= 2


FILLED = """
async def filled(pool):
    async with asyncio.timeout(60):
        while pool.standby < 1:
            await asyncio.sleep(0.02)
def pid():
    return os.getpid()
def forever():
    from pyworkers import task
    task.progress(1)
    while True:
        pass
async def begun(future):
    told = asyncio.Event()
    future.add_progress_callback(lambda *_: told.set())
    async with asyncio.timeout(60):
        await told.wait()
"""


def test_a_worker_in_reserve_takes_the_place_of_one_that_was_ended(hub: Hub) -> None:
    """B-18: it is set up already, counts as none of the pool's, and the reserve is filled again."""
    body = f"""{FILLED}
async with WorkerPool(1, standby=1, initializer=os.putenv, initargs=("A", "B")) as pool:
    first = await pool.submit(pid)
    await filled(pool)
    alone = {{await pool.submit(pid) for _ in range(20)}} == {{first}}
    future = pool.submit(forever)
    await begun(future)
    pool.kill(future)
    behind = pool.submit(pid)
    left = pool.standby  # at once: no other worker can have become ready meanwhile
    second = await behind
    await filled(pool)
return alone, left, first, second, pool.standby, repr(pool)
"""
    alone, left, first, second, after, text = hub.run(body)
    assert alone
    assert (left, after) == (0, 0)
    assert second == first + 1, "a worker was started for it"
    assert "0 of 1 workers" in text


def test_a_pool_grows_by_its_reserve(hub: Hub) -> None:
    """B-18"""
    body = f"""{FILLED}
async with WorkerPool(2, standby=1) as pool:
    first = await pool.submit(pid)
    await filled(pool)
    holder = pool.submit(time.sleep, 3600)
    while not holder.running():
        await asyncio.sleep(0.01)
    second = await pool.submit(pid)
    return second - first, pool.kill(holder)
"""
    assert hub.run(body) == [1, True]


def test_a_reserve_that_cannot_be_set_up_harms_nobody(hub: Hub) -> None:
    """B-18"""
    body = """
    def only_once(first):
        if os.getpid() != first:
            raise ValueError("not again")
    import itertools
    async with WorkerPool(1) as probe:
        number = await probe.submit(os.getpid)
    async with WorkerPool(1, standby=1, initializer=only_once, initargs=(number + 1,)) as pool:
        found = [await pool.submit(abs, -1)]
        async with asyncio.timeout(60):
            while pool._engine.crew.reserve.size:
                await asyncio.sleep(0.02)
        found.append(await pool.submit(abs, -2))
    return found
    """
    assert hub.run(body) == [1, 2]


def test_all_workers_are_started_ahead_of_the_first_task(hub: Hub) -> None:
    """B-18: awaited, and blocking where that is possible; a second time there is nothing to do."""
    body = """
    async with WorkerPool(2) as pool:
        await pool.warm_up()
        text = repr(pool)
        again = pool.warm_up().done()
    async with WorkerPool(1) as other:
        blocked = None
        if pool.mode == "shared":
            blocked = other.warm_up().result(timeout=60)
    return text.partition(": ")[2], again, blocked
    """
    assert hub.run(body) == ["2 idle of 2 workers, 0 tasks queued>", True, None]


def test_who_waits_for_workers_that_cannot_start_is_told(hub: Hub) -> None:
    """A-08 B-18"""
    body = """
    found = []
    pool = WorkerPool(2, initializer=lambda: 1 / 0)
    try:
        await pool.warm_up()
    except BrokenWorkerPool as error:
        found.append(str(error))
    pool = WorkerPool(2)
    future = pool.warm_up()
    await pool.aclose()
    found.append(future.cancelled())
    pool = WorkerPool(1, initializer=os._exit, initargs=(3,))
    try:
        await pool.warm_up()
    except BrokenWorkerPool as error:
        found.append("3 workers in a row" in str(error))
    return found
    """
    assert hub.run(body) == ["the pool is broken: division by zero", True, True]


def test_a_page_waits_for_all_workers(page: Page, isolated_url: str) -> None:
    """E-02"""
    page.goto(f"{isolated_url}/pyworkers.json")
    found = page.evaluate(
        """async (url) => {
            const { connect } = await import(`${url}/page.mjs`);
            const py = await connect({ size: 2, warmUp: true });
            const names = await py.exec(
                "from pyworkers import boot_report\\n" +
                "[each.name for each in boot_report().interpreters]"
            );
            await py.warmUp();
            py.close();
            return [names.sort(), await py.warmUp().catch(({ name }) => name)];
        }""",
        isolated_url,
    )
    assert found == [["hub", "worker 1", "worker 2"], "ConnectionClosed"]
