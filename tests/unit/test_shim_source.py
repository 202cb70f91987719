"""The joined scripts: a few modules of the shim as one, for a hub that cannot load modules."""

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from pyworkers._shim_source import hub_script, join_modules, shim_directory, worker_module
from tests.unit.node_host import SHIM, node

pytestmark = pytest.mark.timeout(60)

OFFERED = ["detect", "Hub", "startBroker"]

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


def declared(text: str) -> set[str]:
    """The names that a module declares at its top level."""
    names = set(
        re.findall(r"^(?:export )?(?:async )?(?:class|const|function|let) (\w+)", text, re.M)
    )
    for pattern in re.findall(r"^const \{([^}]*)\} =", text, re.M):
        names |= set(re.findall(r"\w+", pattern))
    return names


def needed(entry: str) -> set[str]:
    """A module of the shim and all that it imports, at any remove."""
    found = {entry}
    waiting = [entry]
    while waiting:
        text = (SHIM / waiting.pop()).read_text(encoding="utf-8")
        imported = set(re.findall(r'from "\./([^"]*)";', text)) - found
        found |= imported
        waiting += imported
    return found


def test_the_shim_of_a_checkout_lies_beside_the_package() -> None:
    assert shim_directory() == SHIM


@pytest.mark.parametrize("join", [worker_module, hub_script], ids=["worker", "hub"])
def test_a_joined_script_imports_and_exports_nothing(join: Callable[[], str]) -> None:
    text = join()
    assert not re.search(r"^\s*(?:import|export)\b(?!\()", text, re.M)
    assert "import.meta" not in text


def test_the_worker_module_parses(tmp_path: Path) -> None:
    assert is_module(tmp_path, worker_module()) == ""


@pytest.mark.parametrize("entry", ["worker.mjs", "hub.mjs"])
def test_joined_modules_share_no_name(entry: str) -> None:
    """In a script that is no module, the second function of a name would silently replace the
    first."""
    owners = defaultdict(list)
    for name in needed(entry):
        for declaration in declared((SHIM / name).read_text(encoding="utf-8")):
            owners[declaration].append(name)
    assert {name: modules for name, modules in owners.items() if len(modules) > 1} == {}
    assert declared(join_modules(entry, SHIM)) == owners.keys()


@pytest.mark.parametrize(
    "declaration", ["const same = 1;", "function same() {}", "class same {}", "let same;"]
)
def test_a_name_that_two_modules_declare_does_not_parse(tmp_path: Path, declaration: str) -> None:
    (tmp_path / "a.mjs").write_text(f'import {{ b }} from "./b.mjs";\n{declaration}\nb();\n')
    (tmp_path / "b.mjs").write_text(f"{declaration}\nexport function b() {{}}\n")
    assert "has already been declared" in is_module(tmp_path, join_modules("a.mjs", tmp_path))


def test_modules_are_joined_once_and_in_the_order_of_need(tmp_path: Path) -> None:
    (tmp_path / "a.mjs").write_text(
        'import {\n  b,\n  c,\n} from "./b.mjs";\nimport "./c.mjs";\nexport const a = b + c;\n'
    )
    (tmp_path / "b.mjs").write_text('import { c } from "./c.mjs";\nexport async function b() {}\n')
    (tmp_path / "c.mjs").write_text("// Not to export: export const d\nexport class c {}\n")
    assert join_modules("a.mjs", tmp_path) == (
        "// Not to export: export const d\nclass c {}\n"
        "\nasync function b() {}\n"
        "\nconst a = b + c;\n"
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
    assert answer["offered"] == [[name, "function"] for name in OFFERED]
    assert answer["leaked"] == []
    assert answer["found"]["node"] is True
    assert answer["found"]["shared_memory"] is True
