"""The static site: what a build writes, and that Pyodide runs from it in Node.

Needs the package index and npm's registry the first time; later runs find all in the user's cache.
"""

import base64
import csv
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pyworkers
from pyworkers.cli import _core, _resolve, _wheels
from pyworkers.cli._common import BuildError
from pyworkers.cli._snapshot import make_snapshot
from pyworkers.cli.build import build_site
from tests.unit.builds.tools import INFO, boot, contents, read_config, read_lock

pytestmark = pytest.mark.timeout(300)


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
