"""What the example web/01-stdlib counts, by hand, on small sources."""

import importlib.util
import os
import sys
import textwrap
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "web" / "01-stdlib" / "measure.py"


@pytest.fixture
def measure() -> ModuleType:
    """The example's module, newly imported."""
    spec = importlib.util.spec_from_file_location("measure", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of two modules, zipped, on the import path."""
    path = tmp_path / "python314.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("small.py", "x = 1\n")
        archive.writestr("package/large.py", "def f(a):\n    return a if a else 1\n")
        archive.writestr("package/data.txt", "no module, and larger than the modules are\n" * 9)
    monkeypatch.setattr(sys, "path", ["", str(path)])
    return path


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\nelif b: pass\nelse: pass", 3),
        ("return a if b else c", 2),
        ("for x in a: pass\nelse: pass", 2),
        ("while a: pass", 2),
        ("try: pass\nexcept A: pass\nexcept B: pass\nelse: pass\nfinally: pass", 3),
        ("with a: pass", 1),
        ("assert a", 2),
        ("return a and b and c or d", 4),
        ("return a < b < c", 1),
        ("return [x for x in a]", 2),
        ("return {x for x in a if b if c for y in x}", 5),
        ("match a:\n    case 1: pass\n    case 2 | 3: pass\n    case _: pass", 3),
        ("match a:\n    case x if x > 1: pass\n    case x: pass", 2),
        ("return lambda x: x and a", 2),
    ],
)
def test_each_decision_adds_one_to_the_complexity(
    measure: ModuleType, body: str, complexity: int
) -> None:
    for head in ("def f():", "async def f():"):
        source = f"{head}\n{textwrap.indent(body, '    ')}\n"
        assert measure.measure_source(source.encode())["complexity"] == complexity


def test_asynchronous_loops_are_loops(measure: ModuleType) -> None:
    source = b"async def f():\n    async for x in a: pass\n    return [x async for x in a]\n"
    assert measure.measure_source(source)["complexity"] == 3


def test_a_function_does_not_count_for_the_one_around_it(measure: ModuleType) -> None:
    source = b"""
if outside:
    class Outer:
        def method(self):
            if a: pass
            def inner():
                if b and c: pass
            class Local:
                def deep(self): pass
"""
    assert measure.measure_source(source) == {
        "lines": 9,
        "functions": 3,
        "classes": 2,
        "complexity": 6,
        "most_complex": [
            {"name": "Outer.method.inner", "line": 6, "complexity": 3},
            {"name": "Outer.method", "line": 4, "complexity": 2},
            {"name": "Outer.method.Local.deep", "line": 9, "complexity": 1},
        ],
    }


def test_only_the_most_complex_functions_are_named(measure: ModuleType) -> None:
    source = "".join(f"def f{i}(): return {' and '.join('a' * i)}\n" for i in range(1, 21))
    named = measure.measure_source(source.encode())["most_complex"]
    assert [function["name"] for function in named] == [f"f{i}" for i in range(20, 10, -1)]


def test_an_empty_module_has_nothing(measure: ModuleType) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("lines", "functions", "classes", "complexity"), 0)
    assert measure.measure_source(b"") == {**nothing, "most_complex": []}


def test_modules_are_named_largest_first(measure: ModuleType, library: Path) -> None:
    assert measure.names() == ["package/large.py", "small.py"]


def test_a_module_is_read_from_the_archive_by_its_name(measure: ModuleType, library: Path) -> None:
    result = measure.measure("package/large.py")
    assert result.pop("seconds") >= 0
    assert result == {
        "name": "package/large.py",
        "lines": 2,
        "functions": 1,
        "classes": 0,
        "complexity": 2,
        "most_complex": [{"name": "f", "line": 1, "complexity": 2}],
        "interpreter": os.getpid(),
    }
