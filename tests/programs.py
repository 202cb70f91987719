"""Ordinary multiprocessing programs, run by CPython for the expected answer, and in hubs.

A program is text with a function ``main``, which returns what JSON can write. It finds a context as
``ctx``, and what ``multiprocessing.connection.wait`` does as ``wait``.
"""

import ast
import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.hubs import Hub

_HEAD = """
import multiprocessing
from multiprocessing.connection import wait
ctx = multiprocessing.get_context("spawn")
"""

_FOOT = """
if __name__ == "__main__":
    import json
    print("outcome", json.dumps(main()))
"""

_IN_HUB = """
from pyworkers import sync
wait = sync.wait if can_block else sync.wait_async
scope = {"__name__": "program", "ctx": sync.get_context(), "wait": wait}
exec(text, scope)
outcome = scope["main"]()
return outcome if can_block else await outcome
"""

_BLOCKING = {"join": "join_async", "apply": "apply_async", "map": "map_async"} | {
    "starmap": "starmap_async"
}
"""Methods that block, and what returns something to await instead."""

_STREAMS = {"imap", "imap_unordered"}


@cache
def on_cpython(text: str) -> Any:
    """Returns what a program does with CPython's ``multiprocessing``, in processes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "program.py")
        file.write_text(_HEAD + text + _FOOT)
        done = subprocess.run(
            [sys.executable, file], capture_output=True, text=True, timeout=100, check=False
        )
    for line in done.stdout.splitlines():
        if line.startswith("outcome "):
            return json.loads(line.removeprefix("outcome "))
    raise AssertionError(done.stdout + done.stderr)


def in_hub(hub: Hub, text: str) -> Any:
    """Returns what a program does in a hub; where that cannot block, its asynchronous twin."""
    text = text if hub.can_block else as_async(text)
    return hub.run(_IN_HUB, text=text, can_block=hub.can_block)


def as_async(text: str) -> str:
    """Returns a program that awaits where another blocks."""
    return ast.unparse(ast.fix_missing_locations(_Awaiting().visit(ast.parse(text))))


class _Awaiting(ast.NodeTransformer):
    """Puts ``await`` before what blocks, and ``async`` before what it is in."""

    def __init__(self) -> None:
        self._awaits = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        outer, self._awaits = self._awaits, node.name == "main"
        self.generic_visit(node)
        awaits, self._awaits = self._awaits, outer
        return ast.AsyncFunctionDef(**vars(node)) if awaits else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func
        if isinstance(name, ast.Attribute) and name.attr in _BLOCKING:
            name.attr = _BLOCKING[name.attr]
            return self._await(node)
        if isinstance(name, ast.Attribute) and name.attr == "get" and not node.args:
            return self._await(name.value)
        if isinstance(name, ast.Name) and name.id in ("wait", "next"):
            name.id = {"next": "anext"}.get(name.id, name.id)
            return self._await(node)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node  # what is in it raises at once

    def _await(self, node: ast.expr) -> ast.AST:
        self._awaits = True
        return ast.Await(node)

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        return ast.AsyncFor(**vars(node)) if self._is_stream(node.iter) else node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        node.is_async = int(self._is_stream(node.iter))
        return node

    def _is_stream(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        return node.func.attr in _STREAMS
