"""What the magic ``%%parallel`` is given: its line taken apart, its cell made a function.

Owns the syntax of both. Knows nothing of pools and of IPython.
"""

import ast
import keyword
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

USAGE: Final = "%%parallel [--pool POOL] NAME in ITERABLE [-> RESULTS]"

_ITEM: Final = "__item"
_FUNCTION: Final = "cell"
_POOL: Final = "--pool"


class Misused(ValueError):
    """The magic cannot be used so; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says.

    Attributes:
        target: what each item is bound to: a name, or several as in a ``for``.
        iterable: source of the items.
        results: name that the list of results gets; None if there is none.
        pool: source of the pool; None if there is none.
    """

    target: str
    iterable: str
    results: str | None
    pool: str | None


def parse_line(line: str) -> Line:
    """Takes the line of the magic apart.

    Raises:
        Misused: it does not have the form of ``USAGE``.
    """
    rest, pool = line.strip(), None
    if rest.split(maxsplit=1)[:1] == [_POOL]:
        parts = rest.split(maxsplit=2)
        if len(parts) < 3:
            raise Misused(f"{_POOL} needs the name of a pool, and then what to do. Usage: {USAGE}")
        _, pool, rest = parts
        if not _is_name(pool):
            raise Misused(f"{_POOL} {pool}: a pool is given by the name of a variable")
    elif rest.startswith("--"):
        raise Misused(f"there is no option {rest.split()[0]}. Usage: {USAGE}")
    results = None
    if "->" in rest:
        rest, _, results = (each.strip() for each in rest.rpartition("->"))
        if not _is_name(results):
            raise Misused(f"-> {results}: the results need one name, as in -> results")
    if not rest:
        raise Misused(f"there is nothing to go through. Usage: {USAGE}")
    source = f"for {rest}:\n pass"
    try:
        loop = ast.parse(source).body
    except SyntaxError:
        loop = []
    if len(loop) != 1 or not isinstance(loop[0], ast.For) or loop[0].orelse:
        raise Misused(f"{rest!r} is not like `x in range(100)`. Usage: {USAGE}")
    target, iterable = loop[0].target, loop[0].iter
    if any(isinstance(each, ast.Attribute | ast.Subscript) for each in ast.walk(target)):
        raise Misused(f"items can be bound to names only, not to {ast.unparse(target)}")
    before, after = (ast.get_source_segment(source, each) for each in (target, iterable))
    assert before is not None
    assert after is not None
    return Line(before, after, results, pool)


def make_function(target: str, source: str, filename: str, namespace: dict[str, Any]) -> Any:
    """Makes a cell a function of one item, which returns the value of its last expression.

    Args:
        target: what the item is bound to.
        source: of the cell, in plain Python.
        filename: under which its lines are known, for tracebacks.
        namespace: the function's globals, which are not changed.

    Returns:
        The function; a coroutine function if the cell awaits something.

    Raises:
        SyntaxError: the cell is no Python, or yields.
    """
    body = ast.parse(source, filename).body
    own = list(_own_nodes(body))
    for node in own:
        if isinstance(node, ast.Yield | ast.YieldFrom):
            line = source.splitlines()[node.lineno - 1]
            where = (filename, node.lineno, node.col_offset + 1, line)
            raise SyntaxError("a cell of %%parallel cannot yield: its last value is taken", where)
    if body and isinstance(body[-1], ast.Expr):
        last = body[-1]
        body[-1] = ast.copy_location(ast.Return(last.value), last)
    waits = any(isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in own)
    binding = "" if target == _ITEM else f"\n {target} = {_ITEM}"
    word = "async def" if waits else "def"
    module = ast.parse(f"{word} {_FUNCTION}({_ITEM}):{binding}\n return None", filename)
    function = module.body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    for node in ast.walk(function):
        if hasattr(node, "lineno"):
            ast.copy_location(
                node, ast.Pass(lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
            )
    function.body[-1:] = body or [ast.copy_location(ast.Pass(), function)]
    # The definition is run beside the namespace, which keeps what it may have under that name.
    found: dict[str, Any] = {}
    exec(compile(module, filename, "exec"), namespace, found)
    return found[_FUNCTION]


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


def _own_nodes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yields the nodes of statements, but those of functions and classes within them."""
    ahead: list[ast.AST] = list(body)
    while ahead:
        node = ahead.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            ahead += ast.iter_child_nodes(node)
