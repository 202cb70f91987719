"""A site that is served."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyworkers.cli.serve import serving
from tests.unit.server.tools import PLAIN, Client


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of files, with a secret beside it."""
    root = tmp_path_factory.mktemp("served")
    (root / "secret.txt").write_text("secret")
    site = root / "site"
    for folder in (".git", "sub dir?", "no index", "links"):
        (site / folder).mkdir(parents=True)
    (site / "index.html").write_text("<p>home")
    (site / "sub dir?" / "index.html").write_text("<p>sub")
    (site / ".git" / "config").write_text("secret")
    (site / ".env").write_text("secret")
    (site / "empty").touch()
    for name in ("both.js", "only-gz.js", "stale.js", "folder.js", "linked.js"):
        (site / name).write_bytes(PLAIN)
    (site / "both.js.br").write_bytes(b"brotli")
    (site / "both.js.gz").write_bytes(b"gzip")
    (site / "only-gz.js.gz").write_bytes(b"gzip")
    (site / "stale.js.br").write_bytes(b"brotli")
    before = (site / "stale.js").stat().st_mtime - 10
    os.utime(site / "stale.js.br", (before, before))
    (site / "folder.js.br").mkdir()
    if sys.platform != "win32":
        (site / "links" / "inside.mjs").symlink_to(site / "both.js")
        (site / "links" / "outside.txt").symlink_to(root / "secret.txt")
        (site / "links" / "out").symlink_to(root)
        (site / "links" / "loop").symlink_to(site / "links" / "loop")
        (site / "linked.js.br").symlink_to(root / "secret.txt")
    return site


@pytest.fixture(scope="module")
def get(site: Path) -> Iterator[Client]:
    with serving(site) as base_url:
        yield Client(base_url)
