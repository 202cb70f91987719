"""Where the shim's files are, and one script made of several of its modules.

A hub that pyworkers did not start (a notebook kernel, Pyodide on a page) has the shim only as
files in the installed package, and must be able to run it at once, in the middle of synchronous
Python. Modules load asynchronously and, from a blob, cannot import each other; so the few modules
in question are joined into one classic script, each as a function of its own that returns what it
exports. They are written for it: no default exports, no renaming, imports only from each other,
and an ``await`` at the top of an entry only.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

_IMPORT: Final = re.compile(
    r'^import (?:(?P<names>\{[^}]*\}) from )?"\./(?P<module>\w+\.mjs)";\n', re.MULTILINE
)
_EXPORT: Final = re.compile(
    r"^export (?=(?:async )?(?:class|const|function) (?P<name>\w+))", re.MULTILINE
)


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
    done: set[str] = set()
    texts: list[str] = []

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    def add(name: str) -> str:
        text = read(name)
        for needed in _IMPORT.finditer(text):
            module = needed["module"]
            if module not in done:
                done.add(module)
                exported = ", ".join(found["name"] for found in _EXPORT.finditer(read(module)))
                texts.append(
                    f"const {_variable(module)} = (() => {{\n{add(module)}"
                    f"return {{ {exported} }};\n}})();\n"
                )
        return _EXPORT.sub("", _IMPORT.sub(_taken, text))

    text = add(entry)
    return "\n".join([*texts, text])


def _variable(module: str) -> str:
    return module.replace(".", "_")


def _taken(found: re.Match[str]) -> str:
    """Takes what a module imports from the result of the function that the other became."""
    if found["names"] is None:
        return ""
    return f"const {found['names']} = {_variable(found['module'])};\n"


@cache
def worker_module() -> str:
    """Returns worker.mjs with all that it imports, as the text of one module."""
    return join_modules("worker.mjs", shim_directory())


def hub_script() -> str:
    """Returns a script whose value offers what ``worker.mjs`` registers in a hub of its own."""
    source = join_modules("hub.mjs", shim_directory())
    return f'(() => {{\n"use strict";\n{source}\nreturn shim;\n}})()'
