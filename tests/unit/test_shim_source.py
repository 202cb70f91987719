"""The joined scripts: a few modules of the shim as one, for a hub that cannot load modules."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyworkers._shim_source import hub_script, join_modules, shim_directory, worker_module
from tests.unit.node_host import SHIM, node

pytestmark = pytest.mark.timeout(60)

OFFERED = {
    "detect": "function",
    "Hub": "function",
    "Cells": "function",
    "Twin": "function",
    "startBroker": "function",
    "listenForStop": "function",
    "PROTOCOL_VERSION": "number",
}

EVALUATE = """
import { readFileSync } from "node:fs";
const indirect = eval;
const before = new Set(Object.getOwnPropertyNames(globalThis));
const value = indirect(readFileSync(0, "utf8"));
const offered = Object.entries(value).map(([name, item]) => [name, typeof item]);
const leaked = Object.getOwnPropertyNames(globalThis).filter((name) => !before.has(name));
console.log(JSON.stringify({ offered, leaked, found: value.detect() }));
"""


def is_module(folder: Path, text: str) -> str:
    """What Node says of a text as a module: nothing if it parses."""
    path = folder / "joined.mjs"
    path.write_text(text, encoding="utf-8")
    checked = subprocess.run(
        [node(), "--check", str(path)], stderr=subprocess.PIPE, encoding="utf-8", check=False
    )
    return checked.stderr


def test_the_shim_of_a_checkout_lies_beside_the_package() -> None:
    assert shim_directory() == SHIM


@pytest.mark.parametrize("join", [worker_module, hub_script], ids=["worker", "hub"])
def test_a_joined_script_imports_and_exports_nothing(join: Callable[[], str]) -> None:
    text = join()
    assert not re.search(r"^\s*(?:import|export)\b(?!\()", text, re.M)
    assert "import.meta" not in text


def test_the_worker_module_parses(tmp_path: Path) -> None:
    assert is_module(tmp_path, worker_module()) == ""


def test_modules_are_joined_once_and_in_the_order_of_need(tmp_path: Path) -> None:
    """Each has a scope of its own, so that two may use one name."""
    (tmp_path / "a.mjs").write_text(
        'import {\n  b,\n  c,\n} from "./b.mjs";\nimport "./d_d.mjs";\nexport const a = b + c;\n'
    )
    (tmp_path / "b.mjs").write_text(
        'import { d } from "./d_d.mjs";\nexport async function b() {}\nexport const c = d;\n'
    )
    (tmp_path / "d_d.mjs").write_text("const c = 1;\n// export const e\nexport class d {}\n")
    assert join_modules("a.mjs", tmp_path) == (
        "const d_d_mjs = (() => {\n"
        "const c = 1;\n// export const e\nclass d {}\nreturn { d };\n})();\n"
        "\nconst b_mjs = (() => {\n"
        "const { d } = d_d_mjs;\nasync function b() {}\nconst c = d;\nreturn { b, c };\n})();\n"
        "\nconst {\n  b,\n  c,\n} = b_mjs;\nconst a = b + c;\n"
    )


def test_the_hub_script_offers_what_a_hub_needs_and_leaves_no_trace() -> None:
    """A-01, E-04"""
    run = subprocess.run(
        [node(), "--input-type=module", "--eval", EVALUATE],
        input=hub_script(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    answer = json.loads(run.stdout)
    assert answer["offered"] == [list(item) for item in OFFERED.items()]
    assert answer["leaked"] == []
    assert answer["found"]["node"] is True
    assert answer["found"]["shared_memory"] is True
