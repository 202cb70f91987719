"""What interpreters start from: the start archive, and the snapshot that Node makes with it.

A snapshot takes seconds to make, so it is cached by all that it is made of. What is in one, and
its form, are the shim's business.
"""

import gzip
import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ._common import BuildError, cached, run_tool
from ._wheels import ZIP_EPOCH, Wheel

_MAKE: Final = """
import fs from "node:fs";
import { gzipSync } from "node:zlib";
const [site, archiveURL, out] = process.argv.slice(2);
const { fetchAssets } = await import(`${site}assets.mjs`);
const { makeSnapshot } = await import(`${site}boot.mjs`);
const folder = `${site}pyodide/`;
const assets = await fetchAssets({ indexURL: folder, packageBaseURL: folder, archiveURL });
fs.writeFileSync(out, gzipSync(await makeSnapshot(assets, assets.archive), { level: 9 }));
"""


def make_archive(folder: Path, wheels: Iterable[Wheel]) -> Path:
    """Pack the Python files of some wheels into one zip inside `folder`; return its path.

    The shim stays out: who starts from the archive has it already. Equal wheels give an equal file.
    """
    contents: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel.path) as archive:
            for name in archive.namelist():
                if not name.startswith("pyworkers/_shim/"):
                    contents[name] = archive.read(name)
    scratch = folder / "start.zip"
    with zipfile.ZipFile(scratch, "w") as archive:
        for name in sorted(contents):
            archive.writestr(
                zipfile.ZipInfo(name, ZIP_EPOCH), contents[name], zipfile.ZIP_DEFLATED, 9
            )
    return scratch.rename(folder / f"start-{_digest([scratch])[:16]}.zip")


def make_snapshot(
    site: Path, core: Sequence[Path], archive: Path, *, packed: bool = True
) -> Path | None:
    """Make the snapshot of a site whose other files are there; return its path beside `archive`.

    It is compressed by gzip, unless `packed` is false: for hosts that send compressed copies.

    Returns None where Node is not installed. Raises BuildError when Node fails.
    """
    node = shutil.which("node")
    if node is None:
        return None
    shim = [site / name for name in ("assets.mjs", "boot.mjs", "snapshot.mjs", "symbols.mjs")]
    digest = _digest([*core, *shim, archive])
    folder = cached(f"snapshots/{digest[:32]}", partial(_run_node, node, site, archive))
    (made,) = folder.iterdir()
    path = archive.with_name(f"snapshot-{_digest([made])[:16]}.{'bin' if packed else 'memory'}")
    content = made.read_bytes()
    path.write_bytes(content if packed else gzip.decompress(content))
    return path


def _run_node(node: str, site: Path, archive: Path, folder: Path) -> None:
    script = folder.with_name("make.mjs")
    script.write_text(_MAKE, encoding="utf-8")
    result = run_tool(
        node, script, f"{site.as_uri()}/", archive.as_uri(), folder / "snapshot", timeout=120
    )
    if result.returncode:
        raise BuildError(f"no snapshot could be made: {result.stderr.strip()}")


def _digest(paths: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
