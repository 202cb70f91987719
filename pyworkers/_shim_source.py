"""Where the shim's files are, and one script made of several of its modules.

A hub that pyworkers did not start (a notebook kernel, Pyodide on a page) has the shim only as
files in the installed package, and must be able to run it at once, in the middle of synchronous
Python. Modules load asynchronously and, from a blob, cannot import each other; so the few modules
in question are joined into one classic script. They are written for it: no default exports, one
namespace, imports only from each other.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

_IMPORT: Final = re.compile(r'^import (?:[^;]*? from )?"\./([a-z]+\.mjs)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:class|const|function) )", re.MULTILINE)


def shim_directory() -> Path:
    """Returns the folder of the shim: inside the installed package, or beside it in a checkout.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(__file__).parent
    for folder in (package / "_shim", package.parent / "js_shim"):
        if (folder / "worker.mjs").is_file():
            return folder
    raise FileNotFoundError(f"the installation in {package} has no JavaScript shim")


def join_modules(entry: str, folder: Path) -> str:
    """Joins a module and all that it imports into the text of one script, in order of need."""
    done: list[str] = []
    texts: list[str] = []

    def add(name: str) -> None:
        if name in done:
            return
        done.append(name)
        text = (folder / name).read_text(encoding="utf-8")
        for needed in _IMPORT.findall(text):
            add(needed)
        texts.append(_EXPORT.sub("", _IMPORT.sub("", text)))

    add(entry)
    return "\n".join(texts)


@cache
def worker_module() -> str:
    """Returns worker.mjs with all that it imports, as the text of one module."""
    return join_modules("worker.mjs", shim_directory())


def hub_script() -> str:
    """Returns a script whose value offers what ``worker.mjs`` registers in a hub of its own."""
    source = join_modules("hub.mjs", shim_directory())
    return f'(() => {{\n"use strict";\n{source}\nreturn {{ detect, Hub, startBroker }};\n}})()'
