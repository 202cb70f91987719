"""Where Pyodide's core comes from: a URL, the package index, the user's cache."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pyworkers.cli import _common, _core
from pyworkers.cli._common import BuildError, cache_directory
from pyworkers.cli.build import build_site
from tests.unit.builds.tools import CDN, INFO, read_config, read_lock, run_build

pytestmark = pytest.mark.timeout(300)


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
