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

CODES = """
import os, sys
def returns(): return 5
def raises(): raise ValueError("as it should be")
def leaves(code): sys.exit(code)
def main():
    processes = [ctx.Process(target=returns), ctx.Process(target=raises), ctx.Process()]
    processes += [ctx.Process(target=leaves, args=(code,)) for code in (3, None, "text", -1, True)]
    processes.append(ctx.Process(target=leaves, kwargs={"code": 300}))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes], len(ctx.active_children())
"""

ENDINGS = """
import os, sys
def raises(): raise ValueError("as it should be")
def leaves(): sys.exit(3)
def vanishes(): os._exit(7)
def main():
    processes = [ctx.Process(target=target) for target in (raises, leaves, vanishes)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes], len(ctx.active_children())
"""

STATES = """
import os, sys
def check(name, pid):
    here, parent = ctx.current_process(), ctx.parent_process()
    assert here.name == name, here.name
    assert here.pid == here.ident == os.getpid() != pid
    assert here.is_alive()
    assert here.daemon
    assert (parent.pid, parent.name) == (pid, "MainProcess"), parent
    assert parent.is_alive()
    assert ctx.active_children() == []
    bad = ctx.Process(target=check)
    try:
        bad.start()
    except AssertionError as error:
        assert "daemonic" in str(error)
        sys.exit(11)
def raised(call):
    try:
        call()
    except (AssertionError, ValueError, TypeError) as error:
        return type(error).__name__
def main():
    here = ctx.current_process()
    args = ("checks",), {"pid": os.getpid()}
    process = ctx.Process(target=check, name="checks", args=args[0], kwargs=args[1], daemon=True)
    before = [process.pid, process.ident, process.exitcode, process.is_alive(), process.daemon]
    errors = [raised(process.close) and "closes", raised(lambda: ctx.Process(1))]
    process = ctx.Process(target=check, name="checks", args=args[0], kwargs=args[1], daemon=True)
    errors += [raised(lambda: process.sentinel), raised(lambda: process.join())]
    process.start()
    started = [process.pid == process.ident != here.pid, process.is_alive(), process.exitcode]
    started += [process in ctx.active_children(), process.name]
    errors += [raised(process.start), raised(lambda: setattr(process, "daemon", False))]
    errors.append(raised(process.close))
    process.join(60)
    ended = [process.exitcode, process.is_alive(), wait([process.sentinel]) == [process.sentinel]]
    process.close()
    errors += [raised(process.is_alive), raised(process.start)]
    return before, started, ended, errors, here.name, here.daemon, ctx.parent_process()
"""

SUBCLASS = """
import sys
class Adds(ctx.Process):
    def __init__(self, *numbers):
        super().__init__(name="adds")
        self.numbers = numbers
        self.total = 0
    def run(self):
        self.total = sum(self.numbers)
        sys.exit(self.total + (self.name == "adds"))
def main():
    process = Adds(1, 2, 3)
    process.start()
    process.join()
    return process.exitcode, process.total, process.name
"""

ENDS = """
import sys, time
def loops():
    while True:
        pass
def sleeps():
    try:
        time.sleep(3600)
    finally:
        sys.exit(4)
def main():
    processes = [ctx.Process(target=loops), ctx.Process(target=sleeps), ctx.Process(target=sleeps)]
    for process in processes:
        process.start()
    processes[0].join(0.01)
    alive = [process.is_alive() for process in processes] + [processes[0].exitcode]
    processes[0].terminate()
    processes[1].kill()
    first = wait([process.sentinel for process in processes[:2]])
    waited = [process.sentinel for process in processes[:2] if process.sentinel in first] != []
    late = wait([processes[2].sentinel], 0.01)
    processes[2].terminate()
    for process in processes:
        process.join()
        process.terminate()
    return alive, waited, late, [process.exitcode for process in processes]
"""

FAMILY = """
import sys, time
def leaves(code):
    sys.exit(code)
def loops():
    while True:
        pass
def waits():
    child = ctx.Process(target=leaves, args=(5,))
    child.start()
    child.join()
    sys.exit(child.exitcode + 1 + (ctx.current_process().name in child.name))
def forgets():
    ctx.Process(target=loops, daemon=True).start()
    child = ctx.Process(target=leaves, args=(9,))
    child.start()
    sys.exit(2)
def main():
    processes = [ctx.Process(target=waits), ctx.Process(target=forgets)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]
"""

POOL = """
import os, time
def square(n):
    if n == 13:
        raise LookupError(f"no {n}")
    return n * n
def add(a, b=0):
    return a + b
def pid(_):
    return os.getpid()
def prepare(value):
    os.environ["PREPARED"] = value
def found():
    return os.environ["PREPARED"]
def failed(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__
def main():
    heard = []
    with ctx.Pool(2, prepare, ("yes",)) as pool:
        plain = [pool.apply(add, (1,), {"b": 2}), pool.apply(found)]
        maps = [pool.map(square, range(10)), pool.map(square, [], 3), pool.map(square, range(5), 2)]
        maps += [pool.starmap(add, [(1, 2), (3, 4)]), pool.starmap(add, zip("ab", "cd"), 5)]
        streams = [[n for n in pool.imap(square, range(10))]]
        stream = pool.imap(square, iter([12, 13, 14]))
        for _ in range(4):
            try:
                streams.append(next(stream))
            except (LookupError, StopIteration, StopAsyncIteration) as error:
                streams.append(str(error))
        streams.append(sorted([n for n in pool.imap_unordered(square, range(10), 3)]))
        result = pool.apply_async(add, (1, 2), callback=heard.append)
        results = [result.get(), result.ready(), result.successful()]
        result = pool.map_async(square, [12, 13], 1, error_callback=lambda e: heard.append(str(e)))
        try:
            result.get()
        except LookupError as error:
            results += [str(error), result.successful()]
        pool.close()
        errors = [failed(lambda: pool.apply_async(abs, (1,)))]
        pool.join()
    errors += [failed(lambda: ctx.Pool(0)), failed(lambda: pool.imap(abs, [1], 0))]
    pool = ctx.Pool(1, maxtasksperchild=1)
    pids = len(set(pool.map(pid, range(2), 1)))
    pool.terminate()
    pool.join()
    return plain, maps, streams, results, heard, errors, pids
"""

NAMES = """
def found(call):
    try:
        return call()
    except ValueError:
        return "ValueError"
def main():
    errors = [issubclass(ctx.TimeoutError, ctx.ProcessError), ctx.BufferTooShort.__name__]
    ctx.freeze_support()
    return [
        ctx.get_start_method(), ctx.get_context("spawn").get_start_method(),
        found(lambda: ctx.get_context("nonsense")), ctx.cpu_count() > 0,
        ctx.current_process().name, errors,
    ]
"""

PROGRAMS = {
    "endings": ENDINGS,
    "states": STATES,
    "subclass": SUBCLASS,
    "ended": ENDS,
    "family": FAMILY,
    "pool": POOL,
    "names": NAMES,
}
"""Those that need processes."""

INLINE = {"exit codes": CODES} | {name: PROGRAMS[name] for name in ("subclass", "pool", "names")}
"""Those that run in one interpreter, too."""

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
