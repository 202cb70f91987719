"""Interpreters that start from the site's memory snapshot: as good as any other, and their own."""

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from pyworkers.cli import _compress
from pyworkers.cli.build import build_site
from pyworkers.cli.serve import serving
from tests.hubs import Hub, NodeHub, PageHub

pytestmark = pytest.mark.timeout(240)

# Imported by the shim in a restored interpreter, and by nothing else.
IS_RESTORED = """
def is_restored():
    import sys
    return "pyworkers._snapshot" in sys.modules
"""

STATE = """
def state():
    import asyncio, gc, locale, logging, os, signal, sys, threading, time, warnings
    return {
        "modules": sorted(sys.modules),
        "path": sys.path,
        "finders": [type(finder).__name__ for finder in sys.meta_path],
        "argv": sys.argv,
        "prefix": sys.prefix,
        "flags": str(sys.flags),
        "streams": [
            [stream.encoding, stream.errors, stream.line_buffering, stream.isatty()]
            for stream in (sys.stdout, sys.stderr)
        ],
        # The name of the program is in Node a path of the site.
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name != "_"},
        "folder": os.getcwd(),
        "user": os.getuid(),
        "zone": [time.timezone, time.altzone, time.daylight, *time.tzname],
        "moment": time.strftime("%c %Z", time.localtime(0)),
        "locale": locale.getlocale(),
        "recursion": sys.getrecursionlimit(),
        "garbage": [gc.isenabled(), *gc.get_threshold()],
        "loop": type(asyncio.new_event_loop()).__name__,
        "warnings": len(warnings.filters),
        "logging": logging.getLogger().level,
        "signal": str(signal.getsignal(signal.SIGINT)),
        "thread": threading.main_thread().name,
    }
"""

PROGRAMS = r"""
def programs():
    import contextlib, ctypes, datetime, io, json, os, re, tempfile, traceback
    import fractions, sqlite3, statistics, xml.dom.minidom, zlib  # none is in the snapshot
    results = {}
    results["arithmetic"] = [str(2**200), 0.1 + 0.2, statistics.median([3, 1, 2])]
    results["text"] = re.sub(r"(a)(b)?", r"<\1>", "abab") + json.dumps({"x": [None, 1.5]})
    results["fraction"] = str(fractions.Fraction("0.125"))
    database = sqlite3.connect(":memory:")
    results["database"] = database.execute("select 40 + 2").fetchone()[0]
    results["xml"] = xml.dom.minidom.parseString("<a><b/></a>").toxml()
    results["compressed"] = zlib.decompress(zlib.compress(b"x" * 9)).decode()
    increment = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: number + 1)
    results["callback"] = increment(41)
    results["moment"] = str(datetime.datetime.fromtimestamp(0, datetime.UTC))
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        print("captured")
    results["output"] = output.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        with open(path, "w") as file:
            file.write("kept")
        with open(path) as file:
            results["file"] = file.read()
    for text in ("{", b"\xff"):
        try:
            json.loads(text)
        except ValueError:
            results[f"traceback of {text!r}"] = traceback.format_exc()
    return results

def own_traceback():
    import traceback
    from pyworkers import WorkerPool
    try:
        WorkerPool(1)  # in a worker
    except Exception:
        return traceback.format_exc()

async def waits():
    import asyncio
    done = []
    async def one(number):
        await asyncio.sleep(0.05 * number)
        done.append(number)
    await asyncio.gather(*(one(number) for number in (3, 1, 2)))
    return done
"""

ADDRESSES = """
def addresses():
    import ctypes, js
    from pyodide_js import _module as module
    library = ctypes.PyDLL(None)
    def address(name):
        return ctypes.cast(library[name], ctypes.c_void_p).value
    places = module.wasmTable.length
    known = {name: getattr(module.GOT, name).value for name in js.Object.keys(module.GOT)}
    getattro, setattro = (ctypes.c_size_t * 20).from_address(id(object))[18:]
    known |= {"PyObject_GenericGetAttr": getattro, "PyObject_GenericSetAttr": setattro}
    library.PyLong_FromLong.restype = ctypes.py_object
    return {
        "other": {name: address(name) for name in known if address(name) != known[name]},
        "called": library.PyLong_FromLong(7),
        "places": places,
        "known": len(known),
    }
"""

IDENTITY = """
def identity():
    import os, random, secrets, tempfile, uuid
    return [
        str(os.getpid()),
        str(random.random()),
        str(random.Random().random()),
        str(random.getrandbits(64)),
        secrets.token_hex(8),
        str(uuid.uuid1()),
        str(uuid.uuid4()),
        tempfile.mktemp(),
    ]
"""


def variant(site: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a site in which a function has changed ``pyworkers.json``."""
    shutil.copytree(site, folder, copy_function=os.link)
    path = folder / "pyworkers.json"
    config = json.loads(path.read_bytes())
    change(config)
    path.unlink()
    path.write_text(json.dumps(config))
    return folder


def without_snapshot(config: dict[str, Any]) -> None:
    config["snapshotURL"] = None


@pytest.fixture(scope="module")
def plain_site(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site without its snapshot."""
    return variant(site, tmp_path_factory.mktemp("sites") / "plain", without_snapshot)


@pytest.fixture(scope="module", params=["chromium", "node"])
def both(request: pytest.FixtureRequest, site: Path, plain_site: Path) -> Iterator[tuple[Hub, Hub]]:
    """A hub of the site with a snapshot, and one of that without."""
    if request.param == "node":
        hubs = [NodeHub(each, "shared") for each in (site, plain_site)]
        yield hubs[0], hubs[1]
        for hub in hubs:
            hub.close()
        return
    browser: Browser = request.getfixturevalue("chromium")
    with serving(site) as url, serving(plain_site) as plain_url:
        context = browser.new_context(timezone_id="Asia/Kolkata", locale="de-DE")
        yield (
            PageHub(context.new_page(), url, "shared"),
            PageHub(context.new_page(), plain_url, "shared"),
        )
        context.close()


def in_worker(source: str, call: str) -> str:
    return f"{source}\nasync with WorkerPool(1) as pool:\n    return await pool.submit({call})"


def test_hub_and_workers_start_from_the_snapshot(hub: Hub) -> None:
    """X-03"""
    body = f"{IS_RESTORED}\nreturn [is_restored(), (await WorkerPool(1).submit(is_restored))]"
    assert hub.run(body) == [True, True]


def test_a_site_without_a_snapshot_starts_plainly(both: tuple[Hub, Hub]) -> None:
    assert [each.run(in_worker(IS_RESTORED, "is_restored")) for each in both] == [True, False]


def test_a_restored_worker_is_in_the_state_of_a_plain_one(both: tuple[Hub, Hub]) -> None:
    restored, plain = (each.run(in_worker(STATE, "state")) for each in both)
    modules, fewer = set(restored.pop("modules")), set(plain.pop("modules"))
    assert fewer <= modules
    assert restored == plain


def test_a_restored_worker_runs_programs_as_a_plain_one(both: tuple[Hub, Hub]) -> None:
    for call in ("programs", "own_traceback", "waits"):
        restored, plain = (each.run(in_worker(PROGRAMS, call)) for each in both)
        assert restored == plain
        assert restored


def test_a_function_of_the_core_has_one_address(both: tuple[Hub, Hub]) -> None:
    """Whoever asks; those of which nobody has asked have none."""
    for each in both:
        found = each.run(in_worker(ADDRESSES, "addresses"))
        assert found.pop("places") < 10_000  # it exports 7,400 functions, most in no place of 8,733
        assert found.pop("known") > 250
        assert found == {"other": {}, "called": 7}


def test_tracebacks_show_the_source_of_modules_in_the_snapshot(hub: Hub) -> None:
    """X-03"""
    trace = hub.run(in_worker(PROGRAMS, "own_traceback"))
    assert "/lib/pyworkers.zip/pyworkers/_pool.py" in trace
    assert "raise ModeError(" in trace


def test_restored_workers_differ_where_they_must(hub: Hub) -> None:
    """X-03: random numbers, identifiers, names of files, numbers of processes."""
    body = f"""
{IDENTITY}
found = [identity()]
for _ in range(3):
    async with WorkerPool(1) as pool:
        found.append(await pool.submit(identity))
return found
"""
    found = hub.run(body)
    for values in zip(*found, strict=True):
        assert len(set(values)) == len(found), values


def test_modules_and_files_reach_restored_workers(hub: Hub) -> None:
    """X-03 X-07"""
    body = """
with open("brought_along.py", "w") as file:
    file.write("answer = 42")
sys.path.insert(0, os.getcwd())
def use():
    import brought_along
    with open("data.txt") as file:
        return [brought_along.answer, file.read()]
files = {"data.txt": b"here"}
async with WorkerPool(1, modules=["brought_along"], files=files) as pool:
    return await pool.submit(use)
"""
    assert hub.run(body) == [42, "here"]


@pytest.mark.parametrize("place", ["chromium", "node"])
def test_a_package_with_a_shared_library_works_in_every_restored_worker(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    site = build_site(tmp_path / "site", extra=["msgspec==0.22.0"])
    body = f"""
{IS_RESTORED}
def encode(number):
    import msgspec
    time.sleep(0.2)
    return [os.getpid(), is_restored(), msgspec.json.encode([number]).decode()]
async with WorkerPool(2, packages=["msgspec"]) as pool:
    await pool.warm_up()
    return [result async for result in pool.map(encode, range(6), chunksize=1)]
"""
    if place == "node":
        with closing(NodeHub(site, "shared")) as hub:
            results = hub.run(body)
    else:
        with serving(site) as url:
            results = PageHub(request.getfixturevalue("page"), url, "shared").run(body)
    assert [text for _, _, text in results] == [f"[{number}]" for number in range(6)]
    assert all(restored for _, restored, _ in results)
    assert len({process for process, _, _ in results}) == 2


def test_a_script_in_node_sees_its_folders(site: Path, tmp_path: Path) -> None:
    """A-12: the hub starts from the snapshot, and still imports what lies beside the script."""
    (tmp_path / "beside.py").write_text("def answer():\n    return 42\n")
    script = tmp_path / "script.py"
    script.write_text(
        f"{IS_RESTORED}\n"
        "import beside, os, time\n"
        "from pyworkers import WorkerPool\n"
        "with WorkerPool(1) as pool:\n"
        "    print(is_restored(), pool.submit(is_restored).result())\n"
        "    print(beside.answer(), pool.submit(beside.answer).result())\n"
        "print(os.getcwd(), os.environ['PYTHONPATH'], time.tzname[0])\n"
    )
    done = subprocess.run(
        ["node", str(site / "node.mjs"), str(script)],
        cwd=tmp_path,
        env={**os.environ, "TZ": "Asia/Kolkata"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split("\n")[:3] == [
        "True True",
        "42 42",
        f"{tmp_path} {tmp_path} UTC+0530",
    ]
    assert done.stderr == ""


def changed(place: int, byte: int) -> Callable[[bytes], bytes]:
    """Changes a byte of the unpacked snapshot, which stays well packed."""

    def change(data: bytes) -> bytes:
        content = bytearray(gzip.decompress(data))
        assert content[place] != byte
        content[place] = byte
        return gzip.compress(bytes(content), 1)

    return change


def flipped(data: bytes) -> bytes:
    content = bytearray(data)
    content[len(content) // 2] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    ("place", "change", "reason"),
    [
        pytest.param("chromium", flipped, "", id="chromium-damaged"),
        pytest.param("chromium", lambda data: None, "exchanged.bin", id="chromium-missing"),
        pytest.param("node", lambda data: b"<html>", "", id="no gzip"),
        pytest.param("node", lambda data: None, "exchanged.bin", id="missing"),
        pytest.param("node", changed(44, 0), "another version of pyworkers", id="stale"),
    ],
)
def test_an_unusable_snapshot_is_a_warning(
    request: pytest.FixtureRequest,
    site: Path,
    tmp_path: Path,
    place: str,
    change: Callable[[bytes], bytes | None],
    reason: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It is told why, and all start plainly."""

    def exchange(config: dict[str, Any]) -> None:
        data = change((site / config["snapshotURL"]).read_bytes())
        config["snapshotURL"] = "./exchanged.bin"
        if data is not None:
            (tmp_path / "site" / "exchanged.bin").write_bytes(data)

    other = variant(site, tmp_path / "site", exchange)
    body = in_worker(IS_RESTORED, "is_restored")
    if place == "node":
        with closing(NodeHub(other, "shared")) as hub:
            assert hub.run(body) is False
        warnings = capfd.readouterr().err
    else:
        page: Page = request.getfixturevalue("page")
        told: list[str] = []
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        with serving(other) as url:
            assert PageHub(page, url, "shared").run(body) is False
        warnings = "\n".join(told)
        assert "warning: pyworkers: " in warnings
    assert "the snapshot" in warnings
    assert reason in warnings


@pytest.fixture(scope="module")
def compressed_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site for hosts that send compressed copies; of the snapshot alone, as each takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_compress, "_SUFFIXES", {".memory"})
        return build_site(tmp_path_factory.mktemp("sites") / "compressed", compress=True)


@pytest.mark.thorough
@pytest.mark.parametrize("place", ["chromium", "node"])
def test_an_uncompressed_snapshot_travels_as_its_brotli_copy(
    request: pytest.FixtureRequest, compressed_site: Path, place: str
) -> None:
    """With 5 MB or less, and is compressed once only."""
    name = Path(json.loads((compressed_site / "pyworkers.json").read_bytes())["snapshotURL"]).name
    body = f"""
{IS_RESTORED}
travelled = {{asset.name: asset.bytes for asset in boot_report().assets}}
return [is_restored(), await WorkerPool(1).submit(is_restored), travelled[{name!r}]]
"""
    if place == "node":
        hub = NodeHub(compressed_site, "shared")
        found = hub.run(body)
        hub.close()
        copy = compressed_site / "pyodide" / name
    else:
        with serving(compressed_site) as url:
            found = PageHub(request.getfixturevalue("page"), url, "shared").run(body)
        copy = compressed_site / "pyodide" / f"{name}.br"
        assert copy.stat().st_size <= 5_000_000
    assert found == [True, True, copy.stat().st_size]


def test_a_damaged_uncompressed_snapshot_is_a_warning(
    page: Page, site: Path, tmp_path: Path
) -> None:
    def damage(config: dict[str, Any]) -> None:
        whole = gzip.decompress((site / config["snapshotURL"]).read_bytes())
        config["snapshotURL"] = "./damaged.memory"
        (tmp_path / "site" / "damaged.memory").write_bytes(flipped(whole))

    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    with serving(variant(site, tmp_path / "site", damage)) as url:
        hub = PageHub(page, url, "shared")
        assert hub.run(in_worker(IS_RESTORED, "is_restored")) is False
    assert any("damaged.memory is not used: it is damaged" in line for line in told)


@pytest.mark.parametrize("name", ["pyodide.asm.wasm", "python_stdlib.zip", "pyodide.mjs"])
def test_a_missing_asset_is_an_error_that_names_it(
    page: Page, site: Path, tmp_path: Path, name: str
) -> None:
    other = variant(site, tmp_path / "site", lambda config: None)
    (other / "pyodide" / name).unlink()
    with serving(other) as url:
        page.goto(f"{url}/pyworkers.json")
        message = page.evaluate(
            """(url) => import(`${url}/page.mjs`)
                .then(({ connect }) => connect())
                .then(() => "", ({ message }) => message)""",
            url,
        )
        assert f"cannot load {url}/pyodide/{name}: HTTP 404" in message
