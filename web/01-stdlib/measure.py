"""Measures the modules of the Python standard library, one at a time.

Plain Python: it knows nothing of pyworkers, and runs wherever the standard library is a zip
archive, as it is in Pyodide. Each worker has that archive, so that only names travel to it.
"""

import ast
import os
import sys
import time
from dataclasses import dataclass
from functools import cache
from typing import Any
from zipfile import ZipFile

TOP = 10
"""How many of its most complex functions are named for each module."""


def names() -> list[str]:
    """Returns the paths of all modules, largest first: so all workers end at about one time."""
    modules = [file for file in library().infolist() if file.filename.endswith(".py")]
    modules.sort(key=lambda file: file.file_size, reverse=True)
    return [file.filename for file in modules]


def measure(name: str) -> dict[str, Any]:
    """Reads and measures a module, and says which interpreter took how many seconds for it."""
    started = time.perf_counter()
    measures = measure_source(library().read(name))
    seconds = time.perf_counter() - started
    return {"name": name, **measures, "interpreter": os.getpid(), "seconds": seconds}


@cache
def library() -> ZipFile:
    """Opens the archive that this interpreter imports its standard library from."""
    return ZipFile(next(path for path in sys.path if path.endswith(".zip")))


def measure_source(source: bytes) -> dict[str, Any]:
    """Returns the measures of a module's source."""
    tree = ast.parse(source)
    functions = find_functions(tree)
    functions.sort(key=lambda function: (-function.complexity, function.line))
    return {
        "lines": len(source.splitlines()),
        "functions": len(functions),
        "classes": sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        "complexity": sum(function.complexity for function in functions),
        "most_complex": [vars(function) for function in functions[:TOP]],
    }


@dataclass
class Function:
    """A function, and its cyclomatic complexity: 1, and 1 more for each decision in it."""

    name: str
    line: int
    complexity: int = 1


def find_functions(tree: ast.Module) -> list[Function]:
    """Returns all functions; one that lies in another adds nothing to the outer one."""
    found = []
    todo: list[tuple[ast.AST, str, Function | None]] = [(tree, "", None)]
    while todo:
        node, prefix, function = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = Function(prefix + node.name, node.lineno)
            found.append(function)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            prefix += f"{node.name}."
        elif function is not None:
            function.complexity += decisions(node)
        todo += [(child, prefix, function) for child in ast.iter_child_nodes(node)]
    return found


def decisions(node: ast.AST) -> int:
    """Returns how many ways a node adds to the one way through a function."""
    match node:
        case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While():
            return 1
        case ast.ExceptHandler() | ast.Assert():
            return 1
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.match_case(pattern=ast.MatchAs(pattern=None), guard=None):
            return 0  # `case _` and `case name` take what is left, as `else` does
        case ast.match_case():
            return 1
    return 0
