"""The static site: what a build writes, what it refuses, and that Pyodide runs from it in Node.

Needs the package index and npm's registry the first time; later runs find all in the user's cache.
"""

import base64
import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from click.testing import CliRunner, Result
from packaging.requirements import Requirement

import pyworkers
from pyworkers.cli import _common, _compress, _core, _resolve, _wheels
from pyworkers.cli._common import BadArgument, BuildError, cache_directory
from pyworkers.cli._snapshot import make_snapshot
from pyworkers.cli.build import build, build_site

pytestmark = pytest.mark.timeout(300)

CDN = "https://cdn.example/pyodide/full/"
INFO = {
    "abi_version": "2026_0",
    "arch": "wasm32",
    "platform": "emscripten_5_0_3",
    "python": "3.14.2",
}
TARGET = _wheels.Target.of({"info": INFO})

BOOT = """
const [folder, names, code] = process.argv.slice(2);
const { loadPyodide } = await import(`${folder}/pyodide.mjs`);
const pyodide = await loadPyodide({ lockFileURL: `${folder}/pyodide-lock.json` });
await pyodide.loadPackage(JSON.parse(names), { messageCallback() {} });
console.log(await pyodide.runPythonAsync(code));
"""


def make_wheel(
    folder: Path, name: str = "tiny", tag: str = "py3-none-any", needs: tuple[str, ...] = ()
) -> Path:
    """A wheel with one module; equal arguments give an equal file."""
    files = {
        f"{name}.py": "answer = 42\n",
        f"{name}-1.0.dist-info/METADATA": "".join(
            f"{line}\n"
            for line in (
                "Metadata-Version: 2.1",
                f"Name: {name}",
                "Version: 1.0",
                "Provides-Extra: more",
                *(f"Requires-Dist: {need}" for need in needs),
            )
        ),
        f"{name}-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in files)
    files[f"{name}-1.0.dist-info/RECORD"] = f"{record}{name}-1.0.dist-info/RECORD,,\n"
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(zipfile.ZipInfo(inside), text)
    return path


def read_lock(site: Path) -> dict[str, Any]:
    lock: dict[str, Any] = json.loads((site / "pyodide" / "pyodide-lock.json").read_bytes())
    return lock


def read_config(site: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((site / "pyworkers.json").read_bytes())
    return config


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_build(*arguments: str | Path) -> Result:
    return CliRunner().invoke(build, [str(argument) for argument in arguments])


def boot(site: Path, packages: list[str], code: str) -> str:
    """What `code` evaluates to in the site's Pyodide, in Node."""
    folder = str(site / "pyodide")
    command = ["node", "--input-type=module", "-", folder, json.dumps(packages), code]
    done = subprocess.run(
        command, input=BOOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with all defaults."""
    return build_site(tmp_path_factory.mktemp("build") / "site")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A site without Pyodide's core, which is quickly made."""
    return build_site(tmp_path / "out" / "site", pyodide_url=CDN)


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pyworkers"


@pytest.fixture
def no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package lies alone, without a shim and npm packages beside it."""
    monkeypatch.setattr(_core, "_PACKAGE_ROOT", tmp_path / "alone" / "pyworkers")


def test_a_site_holds_the_shim_pyodide_and_the_wheels(site: Path) -> None:
    names = contents(site).keys()
    assert {path.name for path in _core.shim_files()} <= names
    assert {f"pyodide/{name}" for name in (*_core.CORE_FILES, _core.LOCK_FILE)} <= names
    assert sorted(read_config(site)["files"]) == sorted(names - {"pyworkers.json"})


def test_the_configuration_names_versions_and_places(site: Path) -> None:
    config = read_config(site)
    assert {"archiveURL", "snapshotURL"} <= config.keys()
    for name in ("archiveURL", "snapshotURL"):
        assert config.pop(name).removeprefix("./") in config["files"]
    del config["files"]
    assert config == {
        "version": pyworkers.__version__,
        "pyodide": _core.PYODIDE_VERSION,
        "indexURL": "./pyodide/",
        "lockURL": "./pyodide/pyodide-lock.json",
    }


def test_a_snapshot_tells_nothing_of_the_machine_that_made_it(
    site: Path, tmp_path: Path, no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/secret-home")
    monkeypatch.setenv("SECRET", "secret-value")
    archive = Path(shutil.copy(site / read_config(site)["archiveURL"], tmp_path))
    made = make_snapshot(site, [], archive)
    assert made is not None
    content = gzip.decompress(made.read_bytes())
    for text in ("secret-home", "secret-value", str(site), str(tmp_path), sys.prefix):
        assert text.encode() not in content


def test_without_node_there_is_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    site = build_site(tmp_path / "site")
    assert read_config(site)["snapshotURL"] is None
    assert not list((site / "pyodide").glob("snapshot-*"))


def test_a_snapshot_that_cannot_be_made_is_a_build_error(
    site: Path, tmp_path: Path, no_cache: Path
) -> None:
    archive = tmp_path / "start.zip"
    archive.write_text("no zip")
    with pytest.raises(BuildError, match="no snapshot could be made"):
        make_snapshot(site, [], archive)


def test_the_start_archive_holds_what_the_wheels_hold_without_the_shim(site: Path) -> None:
    with zipfile.ZipFile(site / read_config(site)["archiveURL"]) as archive:
        names = archive.namelist()
    assert {"pyworkers/__init__.py", "cloudpickle/__init__.py"} <= set(names)
    assert any(name.endswith(".dist-info/METADATA") for name in names)
    assert not [name for name in names if "_shim/" in name or "/cli/" in name]


def test_the_lock_file_lists_exactly_the_wheels_that_are_there(site: Path) -> None:
    """E-08: each entry names a file of the site, with its digest and what it depends on."""
    lock = read_lock(site)
    assert lock["info"] == INFO
    assert lock["packages"].keys() == {"pyworkers", "cloudpickle", "micropip"}
    assert lock["packages"]["pyworkers"]["depends"] == ["cloudpickle"]
    wheels = {path.name: path.read_bytes() for path in (site / "pyodide").glob("*.whl")}
    assert {entry["file_name"] for entry in lock["packages"].values()} == wheels.keys()
    for name, entry in lock["packages"].items():
        assert entry["imports"] == [name]
        assert entry["sha256"] == hashlib.sha256(wheels[entry["file_name"]]).hexdigest()


def test_entries_have_the_fields_of_pyodides_own(site: Path) -> None:
    own = _core.pyodide_lock(None)["packages"]["cloudpickle"]
    entry = read_lock(site)["packages"]["cloudpickle"]
    assert entry.keys() == own.keys() - {"tool"}
    assert {key: type(value) for key, value in entry.items()} == {
        key: type(value) for key, value in own.items() if key != "tool"
    }


def test_pyodide_boots_from_a_site_and_imports_its_packages(site: Path) -> None:
    """E-08: loadPackage installs from the site, and micropip finds its packages."""
    code = (
        "import cloudpickle, micropip, pyworkers\n"
        "assert cloudpickle.loads(cloudpickle.dumps(lambda: 42))() == 42\n"
        "await micropip.install('pyworkers')\n"
        "from importlib.metadata import version\n"
        "f'{pyworkers.__version__} {version(\"pyworkers\")}'"
    )
    version = pyworkers.__version__
    assert boot(site, ["pyworkers", "micropip"], code) == f"{version} {version}"


def test_a_second_build_runs_no_tool_and_is_equal(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*command: object) -> None:
        pytest.fail(f"{command} was run")

    monkeypatch.setattr(_core, "run_tool", fail)
    monkeypatch.setattr(_resolve, "run_tool", fail)
    assert contents(build_site(tmp_path / "again")) == contents(site)


class TestOwnWheel:
    def test_it_holds_the_package_and_the_shim_but_no_native_tools(self, site: Path) -> None:
        """E-08: the wheel is all that a browser needs."""
        (path,) = (site / "pyodide").glob("pyworkers-*.whl")
        names = zipfile.ZipFile(path).namelist()
        assert {"pyworkers/__init__.py", "pyworkers/py.typed"} <= set(names)
        assert {f"pyworkers/_shim/{file.name}" for file in _core.shim_files()} <= set(names)
        assert not [
            name for name in names if "/cli/" in name or name.endswith((".pyc", "main__.py"))
        ]
        assert names == sorted(names)

    def test_its_record_lists_every_file_with_its_digest(self, site: Path) -> None:
        (path,) = (site / "pyodide").glob("pyworkers-*.whl")
        with zipfile.ZipFile(path) as archive:
            (record,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
            rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
            assert sorted(row[0] for row in rows) == archive.namelist()
            for name, digest, size in rows:
                if name != record:
                    data = archive.read(name)
                    expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()
                    assert (digest, int(size)) == (f"sha256={expected.rstrip('=')}", len(data))

    def test_an_installed_package_gives_the_same_wheel_as_a_checkout(
        self, site: Path, tmp_path: Path
    ) -> None:
        """E-08: pip installs the command line tools, which pack what they were installed with."""
        (path,) = (site / "pyodide").glob("pyworkers-*.whl")
        installed = tmp_path / "site-packages"
        with zipfile.ZipFile(path) as archive:
            archive.extractall(installed)
        shutil.copytree(Path(_core.__file__).parent, installed / "pyworkers" / "cli")
        code = (
            "import sys; from pathlib import Path; from pyworkers.cli import _core, _wheels\n"
            "print(_core.shim_directory())\n"
            f"_wheels.make_own_wheel(Path(sys.argv[1]), {pyworkers.__version__!r})"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path],
            env={**os.environ, "PYTHONPATH": str(installed)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert Path(done.stdout.strip()) == installed / "pyworkers" / "_shim"
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()

    def test_without_an_installation_there_is_one_clear_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "path", [])
        with pytest.raises(BuildError, match="pyworkers is not installed"):
            _wheels.make_own_wheel(tmp_path, "1.0")


class TestWith:
    def test_a_wheel_brings_its_dependencies_for_pyodide(self, tmp_path: Path) -> None:
        """E-08: markers are those of Pyodide, not of the Python that builds."""
        needs = (
            "cloudpickle>=3",
            'msgspec==0.22.0; sys_platform == "emscripten"',
            'pywin32; sys_platform != "emscripten"',
            'nothing; extra == "more"',
        )
        wheel = make_wheel(tmp_path, "Tiny.Name", needs=needs)
        site = build_site(tmp_path / "site", extra=[str(wheel)], pyodide_url="/py")
        packages = read_lock(site)["packages"]
        assert packages["tiny-name"] == {
            "name": "Tiny.Name",
            "version": "1.0",
            "file_name": wheel.name,
            "install_dir": "site",
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "package_type": "package",
            "imports": [],  # "Tiny.Name" is no name that can be imported
            "depends": ["cloudpickle", "msgspec"],
            "unvendored_tests": False,
        }
        binary = f"msgspec-0.22.0-cp314-cp314-{TARGET.platforms[0]}.whl"
        assert packages["msgspec"]["file_name"] == binary
        assert (site / "pyodide" / binary).is_file()

    def test_added_packages_can_be_imported_in_pyodide(self, tmp_path: Path) -> None:
        """E-08: a pure wheel from a file and a WebAssembly wheel from the package index."""
        extra = [str(make_wheel(tmp_path)), "msgspec==0.22.0"]
        site = build_site(tmp_path / "site", extra=extra)
        code = "import tiny, msgspec; msgspec.json.encode(tiny.answer).decode()"
        assert boot(site, ["tiny", "msgspec"], code) == "42"

    def test_dependencies_of_dependencies_and_extras_are_found(self, tmp_path: Path) -> None:
        more = make_wheel(tmp_path, "more", needs=('tiny; extra == "x"',))
        tiny = make_wheel(tmp_path, "tiny", needs=('more[x]; python_version >= "3.14"',))
        site = build_site(tmp_path / "site", extra=[str(tiny), str(more)], pyodide_url="/py")
        packages = read_lock(site)["packages"]
        assert packages["tiny"]["depends"] == ["more"]
        assert packages["more"]["depends"] == ["tiny"]

    def test_it_may_replace_the_version_of_micropip(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, "micropip")
        site = build_site(tmp_path / "site", extra=[str(wheel)], pyodide_url=CDN)
        assert read_lock(site)["packages"]["micropip"]["version"] == "1.0"

    def test_a_package_that_needs_another_pyworkers_is_refused(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, needs=("pyworkers>=1000",))
        with pytest.raises(BuildError, match=r"pyworkers>=1000 is required, but this is pyworkers"):
            build_site(tmp_path / "site", extra=[str(wheel)])

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("absent.whl", "there is no such file"),
            ("tiny=1", "neither a requirement like name==1.0 nor the path of a .whl file"),
            ("-r requirements.txt", "neither a requirement"),
            ("", "neither a requirement"),
            ("tiny; sys_platform == 'win32'", "its marker excludes Pyodide"),
            ("PyWorkers==0.1", "pyworkers itself is in every site already"),
        ],
    )
    def test_a_bad_argument_is_one_line_and_exit_code_2(
        self, tmp_path: Path, argument: str, message: str
    ) -> None:
        result = run_build(tmp_path / "site", "--with", argument)
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].startswith(f"Error: --with {argument}: {message}")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "tag", ["cp314-cp314-manylinux_2_17_x86_64", "cp313-cp313-pyodide_2025_0_wasm32"]
    )
    def test_a_wheel_of_another_platform_is_refused_by_name(self, tmp_path: Path, tag: str) -> None:
        wheel = make_wheel(tmp_path, tag=tag)
        result = run_build(tmp_path / "site", "--with", wheel)
        assert result.exit_code == 2
        assert f"{wheel.name} is built for {tag}; Pyodide" in result.stderr
        assert not (tmp_path / "site").exists()

    def test_a_file_that_is_no_wheel_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "tiny-1.0-py3-none-any.whl"
        path.write_text("nothing")
        result = run_build(tmp_path / "site", "--with", path)
        assert result.exit_code == 1
        assert f"Error: not a wheel: {path}" in result.stderr

    def test_what_pip_cannot_find_is_one_line_and_exit_code_1(self, tmp_path: Path) -> None:
        """A package of Pyodide's own distribution is pointed out."""
        result = run_build(tmp_path / "site", "--with", "scipy")
        assert result.exit_code == 1
        assert "Error: pip: Could not find a version that satisfies" in result.stderr
        assert "Pyodide's own distribution has scipy" in result.stderr
        assert "Traceback" not in result.output
        assert list(tmp_path.iterdir()) == []


class TestPyodideUrl:
    def test_the_core_is_not_copied_and_the_lock_lists_the_distribution(self, small: Path) -> None:
        assert not (small / "pyodide" / "pyodide.mjs").exists()
        assert read_config(small)["indexURL"] == CDN
        lock = read_lock(small)
        own = _core.pyodide_lock(None)["packages"]
        assert lock["packages"].keys() == own.keys() | {"pyworkers"}
        assert lock["packages"]["numpy"] == {
            **own["numpy"],
            "file_name": CDN + own["numpy"]["file_name"],
        }
        assert (small / "pyodide" / lock["packages"]["cloudpickle"]["file_name"]).is_file()

    def test_what_the_distribution_has_is_not_downloaded(self, tmp_path: Path) -> None:
        site = build_site(tmp_path / "site", pyodide_url=CDN, extra=["numpy>=2", "msgspec==0.22.0"])
        packages = read_lock(site)["packages"]
        assert packages["numpy"]["file_name"].startswith(CDN)
        assert packages["msgspec"]["version"] == "0.22.0"
        assert (site / "pyodide" / packages["msgspec"]["file_name"]).is_file()

    @pytest.mark.parametrize(
        ("url", "index", "numpy"),
        [
            (
                "https://cdn.example/full//",
                "https://cdn.example/full/",
                "https://cdn.example/full/",
            ),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
            ("/static/py", "/static/py/", "/static/py/"),
            ("../py/", "../py/", "../../py/"),
            (".", "./", ".././"),
        ],
    )
    def test_urls_are_normalised(self, tmp_path: Path, url: str, index: str, numpy: str) -> None:
        site = build_site(tmp_path / "site", pyodide_url=url)
        assert read_config(site)["indexURL"] == index
        entry = read_lock(site)["packages"]["numpy"]
        assert entry["file_name"].rpartition("/")[0] + "/" == numpy

    @pytest.mark.parametrize(
        ("url", "fault"),
        [
            ("", "is empty"),
            ("ftp://cdn.example/", "begins neither with http:// nor https://"),
            ("localhost:8000/py", "begins neither with http:// nor https://"),
            ("https:///py", "needs both a scheme and a host"),
            ("//cdn.example/py", "needs both a scheme and a host"),
            ("https://cdn.example/a b", "holds a blank"),
            ("C:\\pyodide", "holds a blank, a backslash"),
            ("https://cdn.example/?v=1", "has a query"),
            ("https://cdn.example/pyodide.mjs", "names a file"),
            ("http://[::1/", "Invalid IPv6 URL"),
        ],
    )
    def test_a_bad_url_is_one_line_and_exit_code_2(
        self, tmp_path: Path, url: str, fault: str
    ) -> None:
        result = run_build(tmp_path / "site", "--pyodide-url", url)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"Error: --pyodide-url {url}: ")
        assert fault in line
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_checkout", "no_cache")
class TestWithoutALocalCopy:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[tuple[str, Path]]:
        folder = tmp_path / "served"
        folder.mkdir()

        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

        handler = partial(Quiet, directory=str(folder))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
            thread = Thread(target=http.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{http.server_port}/", folder
            http.shutdown()
            thread.join()

    def test_npm_brings_the_core_into_the_cache(self, no_cache: Path) -> None:
        folder = _core.core_directory()
        assert folder == no_cache / f"pyodide-{_core.PYODIDE_VERSION}"
        assert {path.name for path in folder.iterdir()} == {
            *_core.CORE_FILES,
            _core.LOCK_FILE,
            "package.json",
        }
        assert _core.pyodide_lock(None)["info"] == INFO

    def test_without_npm_the_line_names_the_way_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        result = run_build(tmp_path / "site")
        assert result.exit_code == 1
        assert "npm is needed to fetch pyodide@" in result.stderr
        assert "--pyodide-url" in result.stderr
        assert not (tmp_path / "site").exists()

    def test_an_error_of_npm_is_one_line(
        self, no_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_core, "PYODIDE_VERSION", "0.0.999")
        with pytest.raises(BuildError, match=r"^npm pack pyodide@0.0.999: \w.*0.0.999"):
            _core.core_directory()
        assert list(no_cache.iterdir()) == []

    def test_the_lock_file_is_fetched_from_the_url_once(self, server: tuple[str, Path]) -> None:
        url, folder = server
        lock = {"info": INFO, "packages": {}}
        (folder / "pyodide-lock.json").write_text(json.dumps(lock))
        assert _core.pyodide_lock(url) == lock
        (folder / "pyodide-lock.json").unlink()
        assert _core.pyodide_lock(url) == lock

    def test_a_url_without_a_lock_file_is_one_line(
        self, server: tuple[str, Path], no_cache: Path
    ) -> None:
        url, folder = server
        with pytest.raises(
            BuildError, match=f"cannot fetch {url}pyodide-lock.json: HTTP Error 404"
        ):
            _core.pyodide_lock(url)
        (folder / "pyodide-lock.json").write_text("<html>")
        with pytest.raises(BuildError, match="not a lock file of Pyodide"):
            _core.pyodide_lock(url)
        assert list(no_cache.iterdir()) == []


class TestCompress:
    def test_copies_are_smaller_and_hold_the_same(self, tmp_path: Path) -> None:
        site = build_site(tmp_path / "site", pyodide_url=CDN, compress=True)
        files = contents(site)
        assert {"pyodide/pyodide-lock.json.gz", "pyodide/pyodide-lock.json.br"} <= files.keys()
        assert "pyworkers.json.gz" not in files
        for name, data in files.items():
            original = files.get(name.rpartition(".")[0], b"")
            if name.endswith((".gz", ".br")):
                expand = gzip.decompress if name.endswith(".gz") else brotli.decompress
                assert expand(data) == original
                assert len(data) < len(original)
                assert len(original) > 1024
        assert sorted(read_config(site)["files"]) == sorted(files.keys() - {"pyworkers.json"})

    def test_what_does_not_get_smaller_and_what_is_small_has_no_copy(self, tmp_path: Path) -> None:
        files = {
            "a.zip": os.urandom(5000),
            "b.js": b" " * 1024,
            "c.js": b" " * 1025,
            "d.txt": b" " * 5000,
        }
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        _compress.add_copies([tmp_path / name for name in files], lambda _done, _total: None)
        assert contents(tmp_path).keys() == {*files, "c.js.gz", "c.js.br"}

    @pytest.mark.usefixtures("no_cache")
    def test_copies_of_large_files_are_cached(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large = tmp_path / "large.js"
        large.write_bytes(b"let x = 1;\n" * 100_000)
        told: list[tuple[int, int]] = []
        _compress.add_copies([large], lambda done, total: told.append((done, total)))
        assert told == sorted(told)
        assert told[-1] == (1_100_000, 1_100_000)
        first = contents(tmp_path)
        monkeypatch.setattr(_compress, "brotli", None)
        _compress.add_copies([large], lambda _done, _total: None)
        assert contents(tmp_path) == first


class TestPlace:
    def test_an_earlier_site_is_replaced_and_foreign_files_are_kept(
        self, small: Path, tmp_path: Path
    ) -> None:
        (small / "index.html").write_text("mine")
        (small / "assets").mkdir()
        (small / "assets" / "a.css").write_text("mine too")
        (small / "link").symlink_to("index.html")
        (small / "pyodide" / "cloudpickle-3.1.2-py3-none-any.whl").write_text("changed")
        wheel = make_wheel(tmp_path)
        build_site(small, pyodide_url=CDN, extra=[str(wheel)])
        assert (small / "pyodide" / wheel.name).is_file()

        build_site(small, pyodide_url=CDN)
        assert not (small / "pyodide" / wheel.name).exists()
        assert (small / "index.html").read_text() == "mine"
        assert (small / "assets" / "a.css").read_text() == "mine too"
        assert (small / "link").readlink() == Path("index.html")
        assert "index.html" not in read_config(small)["files"]
        assert zipfile.is_zipfile(small / "pyodide" / "cloudpickle-3.1.2-py3-none-any.whl")
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    def test_a_foreign_file_in_the_way_is_not_overwritten(
        self, small: Path, tmp_path: Path
    ) -> None:
        wheel = make_wheel(tmp_path)
        (small / "pyodide" / wheel.name).write_text("mine")
        before = contents(small)
        with pytest.raises(BadArgument, match="was not written by a build; it is in the way"):
            build_site(small, pyodide_url=CDN, extra=[str(wheel)])
        assert contents(small) == before
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    @pytest.mark.parametrize("step", ["packages", "compressed copies"])
    def test_an_interrupt_leaves_an_earlier_site_as_it_was(self, small: Path, step: str) -> None:
        before = contents(small)

        def interrupt(name: str, done: int, total: int) -> None:
            if name == step and done == total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_site(small, compress=True, pyodide_url="/other", progress=interrupt)
        assert contents(small) == before
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    def test_an_interrupt_between_the_two_renames_brings_the_earlier_site_back(
        self, small: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = contents(small)
        rename = Path.rename

        def interrupted(path: Path, target: Path) -> Path:
            if path.name == "new" and target == small:
                raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_site(small, pyodide_url="/other")
        assert contents(small) == before
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    def test_an_empty_folder_and_missing_parents_are_fine(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir(mode=0o750)
        for out in (tmp_path / "empty", tmp_path / "a" / "b"):
            assert run_build(out, "--pyodide-url", CDN).exit_code == 0
            assert (out / "pyworkers.json").is_file()
        assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o750
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]

    def test_a_link_to_a_folder_stays_a_link(self, small: Path, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(small)
        build_site(link, pyodide_url="/other")
        assert link.is_symlink()
        assert read_config(small)["indexURL"] == "/other/"

    @pytest.mark.parametrize("found", ["notes.txt", "pyworkers.json"])
    def test_a_folder_of_someone_else_is_refused(self, tmp_path: Path, found: str) -> None:
        out = tmp_path / "site"
        out.mkdir()
        (out / found).write_text("{}")
        result = run_build(out)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"Error: {out}")
        assert contents(out) == {found: b"{}"}

    def test_a_file_and_the_current_directory_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        for out, message in (("../file", "is a file"), (".", "holds the current directory")):
            result = run_build(out)
            assert result.exit_code == 2
            assert message in result.stderr

    def test_an_error_of_the_system_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        result = run_build(tmp_path / "file" / "site", "--pyodide-url", CDN)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith(f"Error: {tmp_path}")


def test_steps_are_lines_in_a_pipe_and_the_last_line_says_what_to_do(tmp_path: Path) -> None:
    out = tmp_path / "my site"
    result = run_build(out, "--pyodide-url", CDN, "--compress")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"Pyodide {_core.PYODIDE_VERSION}",
        "packages",
        "compressed copies",
    ]
    (line,) = result.stdout.splitlines()
    assert re.match(rf"{re.escape(str(out))}: \d+\.\d MB in ", line)
    assert line.endswith(
        f" MB in {len(contents(out))} files; serve it with: pyworkers serve '{out}'"
    )


class TestCache:
    def test_it_lies_where_the_platform_keeps_caches(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_directory() == tmp_path / "pyworkers"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        monkeypatch.setattr(sys, "platform", "linux")
        assert cache_directory() == Path.home() / ".cache" / "pyworkers"
        monkeypatch.setattr(sys, "platform", "darwin")
        assert cache_directory() == Path.home() / "Library" / "Caches" / "pyworkers"
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setenv("LOCALAPPDATA", "local")
        assert cache_directory() == Path("local", "pyworkers")

    def test_a_failed_fill_leaves_nothing(self, no_cache: Path) -> None:
        def fail(folder: Path) -> None:
            (folder / "half").write_text("")
            raise BuildError("no")

        with pytest.raises(BuildError):
            _common.cached("thing", fail)
        assert list(no_cache.iterdir()) == []

    def test_of_two_builds_at_once_one_fills_and_both_get_it(self, no_cache: Path) -> None:
        def fill(folder: Path) -> None:
            _common.cached("thing", lambda other: None if other == folder else _touch(other))
            _touch(folder)

        assert _common.cached("thing", fill) == no_cache / "thing"
        assert [path.name for path in no_cache.iterdir()] == ["thing"]


def _touch(folder: Path) -> None:
    (folder / "file").write_text("")


@pytest.mark.parametrize(
    ("requirement", "applies"),
    [
        ("a", True),
        ("a; sys_platform == 'emscripten' and platform_machine == 'wasm32'", True),
        ("a; platform_system == 'Emscripten' and os_name == 'posix'", True),
        ("a; python_version >= '3.14' and python_full_version == '3.14.2'", True),
        ("a; implementation_name == 'cpython'", True),
        ("a; platform_release == '5.0.3'", True),
        ("a; sys_platform == 'linux'", False),
        ("a; python_version < '3.12'", False),
        ("a; extra == 'x'", False),
    ],
)
def test_markers_are_those_of_pyodide(requirement: str, applies: bool) -> None:
    assert TARGET.applies(Requirement(requirement)) is applies
    assert TARGET.applies(Requirement("a; extra == 'x'"), {"x"})


def test_the_target_is_what_pyodide_says_of_itself(site: Path) -> None:
    code = (
        "import json, sysconfig, micropip\n"
        "from micropip._utils import sys_tags\n"
        "from micropip._vendored.packaging.src.packaging.markers import default_environment\n"
        "json.dumps([sorted(map(str, sys_tags())), default_environment()])"
    )
    tags, environment = json.loads(boot(site, ["micropip"], code))
    assert sorted(map(str, TARGET.tags)) == tags
    for name, value in environment.items():
        assert TARGET.applies(Requirement(f"a; {name} == '{value}'")), name


@pytest.mark.parametrize(
    ("files", "imports"),
    [
        (["a/__init__.py", "a/b.py", "a-1.dist-info/METADATA"], ["a"]),
        (["a.py", "b.cpython-314-wasm32-emscripten.so", "c.so", "d.abi3.so"], ["a", "b", "c", "d"]),
        (["space/inner/x.so", "a.libs/y.so", "a.pth", "docs/index.html"], ["space"]),
        (["a-1.data/purelib/b.py", "a-1.data/scripts/c.py", "d.e.py"], ["b"]),
    ],
)
def test_what_a_wheel_offers_for_import(
    tmp_path: Path, files: list[str], imports: list[str]
) -> None:
    path = make_wheel(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        for name in files:
            archive.writestr(name, "")
    assert list(_wheels.Wheel.read(path).imports) == sorted([*imports, "tiny"])
