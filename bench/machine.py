"""Where and of what a run was made."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def describe(root: Path, site: Path, browser: str) -> dict[str, Any]:
    """Describes a run that starts now.

    Args:
        root: of the repository.
        site: a built site.
        browser: its name and version.
    """
    lock = json.loads((site / "pyodide" / "pyodide-lock.json").read_text())
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git(root, "rev-parse", "HEAD"),
        "changed": bool(_git(root, "status", "--porcelain", "--", "pyworkers", "js_shim")),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": _system(),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "browser": browser,
        "pyodide": json.loads((site / "pyworkers.json").read_text())["pyodide"],
        "python_in_pyodide": lock["info"]["python"],
        "python": platform.python_version(),
    }


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    name = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{name}, {platform.system()} {platform.release()}"
