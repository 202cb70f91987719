"""Builds a JupyterLite site in which pyworkers can be installed, and serves it.

Owns what such a site is made of: JupyterLite with its Pyodide kernel, a local Pyodide, the packages
that the kernel loads, and an index in which `%pip install pyworkers` finds the wheel. What it
serves needs no other server. Knows nothing of what the notebooks do.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from pyworkers import __version__
from pyworkers.cli._core import CORE_FILES, LOCK_FILE, core_directory, pyodide_lock
from pyworkers.cli._lock import make_lock
from pyworkers.cli._resolve import Request
from pyworkers.cli._wheels import Target, make_own_wheel
from pyworkers.cli.serve import serving

ROOT: Final = Path(__file__).parents[1]
NOTEBOOKS: Final = ROOT / "web" / "notebooks"
SITE: Final = ROOT / ".build" / "jupyterlite"

_KERNEL: Final = "@jupyterlite/pyodide-kernel-extension:kernel"
_ALWAYS_A_PROMISE: Final = """<script>
const waitAsync = Atomics.waitAsync;
if (waitAsync) Atomics.waitAsync = (...args) => {
  const { async, value } = waitAsync.apply(Atomics, args);
  return { async, value: async ? value : Promise.resolve(value) };
};
</script>"""
"""Goes before all other scripts: where there is shared memory, kernels of JupyterLite 0.8.6 talk to
their page by coincident 1.2.3, which takes what ``Atomics.waitAsync`` returns for a promise, also
when the answer is there already and it is a string; the cell then never ends."""
_LISTING: Final = "all.json"
_DISTRIBUTED: Final = ("cloudpickle", "ipython", "jedi", "micropip", "packaging")
"""What the kernel, or pyworkers, takes from Pyodide's distribution."""
_INDEXED: Final = ("comm==0.2.3",)
"""What the kernel takes from the package index."""


def build_jupyterlite(out: Path = SITE) -> Path:
    """Build the site anew; return its folder.

    Raises CalledProcessError when JupyterLite's own build fails, with what it said, and
    BuildError when pip does.
    """
    shutil.rmtree(out, ignore_errors=True)
    work = out.with_name(f"{out.name}-parts")
    shutil.rmtree(work, ignore_errors=True)
    pyodide = work / "static" / "pyodide"
    index = work / "pypi"
    pyodide.mkdir(parents=True)
    index.mkdir()
    _fill(pyodide, index)
    _write(
        work / "jupyter-lite.json",
        {
            "jupyter-lite-schema-version": 0,
            "jupyter-config-data": {
                "contentsAllJsonFile": _LISTING,
                "exposeAppInBrowser": True,
                "litePluginSettings": {_KERNEL: {"disablePyPIFallback": True}},
            },
        },
    )
    options = ["--lite-dir", str(work), "--output-dir", str(out), "--no-sourcemaps"]
    apps = ["--apps", "lab", "--apps", "notebooks"]
    subprocess.run(
        [sys.executable, "-m", "jupyterlite_core", "build", *options, *apps],
        cwd=work,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for page in (*out.glob("*/index.html"), *out.glob("*.html")):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("<head>", f"<head>{_ALWAYS_A_PROMISE}", 1), encoding="utf-8")
    _add_notebooks(out)
    return out


def _add_notebooks(out: Path) -> None:
    """Put the notebooks where JupyterLite looks for files; its own way needs a Jupyter server."""
    files = out / "files"
    files.mkdir()
    model = {"mimetype": None, "writable": True} | _times(NOTEBOOKS)
    listed = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        shutil.copy(path, files)
        name = {"name": path.name, "path": path.name, "size": path.stat().st_size}
        listed.append(
            model | _times(path) | name | {"type": "notebook", "format": None, "content": None}
        )
    folder = out / "api" / "contents"
    folder.mkdir(parents=True)
    listing = {"name": "", "path": "", "type": "directory", "format": "json", "content": listed}
    _write(folder / _LISTING, model | listing)


def _times(path: Path) -> dict[str, str]:
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    return {"created": changed, "last_modified": changed}


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _fill(pyodide: Path, index: Path) -> None:
    """Put Pyodide with its packages into one folder, and what is installed by name into another."""
    base = pyodide_lock(None)
    versions = {key: entry["version"] for key, entry in base["packages"].items()}
    target = Target.of(base)
    distributed = Request(target, __version__, versions, use_distributed=False)
    for name in _closure(base["packages"], _DISTRIBUTED):
        distributed.add(f"{name}=={versions[name]}")
    wheels = distributed.wheels()
    for path in [core_directory() / name for name in CORE_FILES] + [each.path for each in wheels]:
        shutil.copy(path, pyodide)
    _write(pyodide / LOCK_FILE, make_lock(base, None, wheels, distributed.needs(wheels)))
    indexed = Request(target, __version__, versions, use_distributed=True)
    for requirement in _INDEXED:
        indexed.add(requirement)
    for wheel in indexed.wheels():
        shutil.copy(wheel.path, index)
    make_own_wheel(index, __version__)


def _closure(packages: dict[str, dict[str, Any]], names: Iterable[str]) -> set[str]:
    """Normalised names of packages and all that they depend on."""
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += [each.replace("_", "-").lower() for each in packages[name]["depends"]]
    return found


@click.command()
@click.option("--port", default=8000, show_default=True, help="Port to listen on; 0 takes any.")
@click.option("--no-isolation", is_flag=True, help="Serve without the isolation headers.")
def main(port: int, no_isolation: bool) -> None:
    """Build a JupyterLite site with pyworkers and its notebooks in it, and serve it."""
    site = build_jupyterlite()
    with serving(site, isolation="off" if no_isolation else "require-corp", port=port) as url:
        click.echo(f"{url}/lab/index.html?path=pool.ipynb - Ctrl-C ends it")


if __name__ == "__main__":
    main()
