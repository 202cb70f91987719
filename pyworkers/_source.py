"""Runs Python source with top-level await. Knows nothing of who wants it."""

import ast
import builtins
import inspect
import linecache
from types import CodeType
from typing import Any


async def run_source(source: str, filename: str, namespace: dict[str, Any]) -> Any:
    """Runs source with top-level await.

    Returns:
        The value of its last statement, if that is an expression that can be shown to a page;
        else None.
    """
    tree = ast.parse(source, filename)
    last: CodeType | None = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        shown = tree.body[-1].value
        del tree.body[-1]
        last = _compile(ast.Expression(shown), filename, "eval")
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    code = _compile(tree, filename, "exec")
    namespace["__builtins__"] = builtins
    await _evaluate(code, namespace)
    return await _evaluate(last, namespace) if last is not None else None


def _compile(tree: ast.Module | ast.Expression, filename: str, mode: str) -> CodeType:
    code: CodeType = compile(
        tree,
        filename,
        mode,
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    return code


async def _evaluate(code: CodeType, namespace: dict[str, Any]) -> Any:
    value = eval(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        value = await value
    return value
