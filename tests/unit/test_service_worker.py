"""The list that a build writes into the service worker."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pyworkers.cli import _core
from pyworkers.cli._service_worker import fill_in
from pyworkers.cli._site import SiteConfig
from pyworkers.cli.build import build_site

CDN = "https://cdn.example/pyodide/"


def build_of(site: Path) -> dict[str, Any]:
    text = (site / "service_worker.js").read_text(encoding="utf-8")
    found = re.search(r"^const BUILD = (.*);$", text, re.MULTILINE)
    assert found is not None
    build: dict[str, Any] = json.loads(found[1])
    return build


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with a service worker and one other file."""
    script = _core.shim_directory() / "service_worker.js"
    (tmp_path / script.name).write_bytes(script.read_bytes())
    (tmp_path / "one.mjs").write_text("1")
    return tmp_path


def test_it_lists_what_pages_may_need(tmp_path: Path) -> None:
    """The core where it lies, and no compressed copies."""
    site = build_site(tmp_path / "site", pyodide_url=CDN, compress=True)
    listed = set(build_of(site)["files"])
    assert {f"{CDN}{name}" for name in _core.CORE_FILES} <= listed
    assert {"pyworkers.json", "page.mjs", "worker.mjs", "pyodide/pyodide-lock.json"} <= listed
    rest = {*SiteConfig.read(site).files, "pyworkers.json"} - listed
    assert {name for name in rest if not name.endswith((".gz", ".br"))} == {
        "node.mjs",
        "service_worker.js",
    }


def test_equal_files_have_one_id(small: Path) -> None:
    script = small / "service_worker.js"
    empty = script.read_text(encoding="utf-8")
    ids = []
    for content, more in (("1", []), ("1", []), ("2", []), ("2", ["other.json"])):
        script.write_text(empty, encoding="utf-8")
        (small / "one.mjs").write_text(content)
        fill_in(small, more)
        ids.append(build_of(small)["id"])
        assert build_of(small)["files"] == sorted(["one.mjs", *more])
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
