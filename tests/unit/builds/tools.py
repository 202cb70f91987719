"""How the tests of builds make wheels and sites, and look into them."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pyworkers.cli import _wheels
from pyworkers.cli.build import build

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
