"""The table of compatibility tells what was run on the code as it is, whole or in parts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CONFTEST = """
import sys
from pathlib import Path
import pytest
from tests.matrix import Matrix

PLACES = ["chromium-shared", "firefox-shared"]

def pytest_configure(config):
    config.pluginmanager.register(Matrix(PLACES, Path(__file__).parents[2]), "matrix")

def pytest_generate_tests(metafunc):
    if "hub" in metafunc.fixturenames:
        metafunc.parametrize("hub", PLACES, indirect=True, scope="module")

@pytest.fixture
def hub(request):
    engine = request.param.split("-")[0]
    request.config.pluginmanager.get_plugin("matrix").saw(engine, "9")
    return engine
"""
ONE = '''
import pytest

def test_a(hub):
    """A-01: it holds."""

def test_b(hub):
    """A-02 A-03: not everywhere."""
    if hub == "firefox":
        pytest.skip("gap: loop")

def test_c():
    """Of one engine alone."""
'''
TWO = '''
from pathlib import Path

def test_d(hub):
    """A-03: as long as nothing is broken."""
    assert not Path(__file__).with_name("broken").exists()
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of two files of tests."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "pyworkers").mkdir()
    (tmp_path / "pyworkers" / "pool.py").write_text("1")
    tests = tmp_path / "tests" / "browser"
    tests.mkdir(parents=True)
    (tests / "conftest.py").write_text(CONFTEST)
    (tests / "test_one.py").write_text(ONE)
    (tests / "test_two.py").write_text(TWO)
    return tmp_path


def run(root: Path, *arguments: str) -> str:
    """Runs pytest, and returns what it writes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(root), *(arguments or ["tests/browser"])],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout


def rows(root: Path) -> list[str]:
    table = (root / "docs" / "compatibility.md").read_text()
    return [line for line in table.splitlines() if line.startswith("| ")][2:5]


def test_a_run_of_all_writes_it_with_any_number_of_processes(root: Path) -> None:
    whole = [
        "| Capabilities are detected | yes | yes |",
        "| Pools of workers | yes | none[^loop] |",
        "| Memory that all workers share | yes | in part[^loop] |",
    ]
    assert "compatibility.md is written" in run(root)
    assert rows(root) == whole
    (root / "docs" / "compatibility.md").unlink()
    (root / "pyworkers" / "pool.py").write_text("2")
    said = run(root, "--numprocesses", "2", "--dist", "loadfile", "tests/browser")
    assert "compatibility.md is written" in said
    assert rows(root) == whole
    assert "Tried in Chromium 9, Firefox 9, with" in (root / "docs/compatibility.md").read_text()


def test_runs_of_parts_write_it_together(root: Path) -> None:
    assert "not run on the code as it is: test_one.py (2), test_two.py (all)" in run(
        root, "tests/browser/test_one.py", "-ktest_b"
    )
    assert "as it is: test_one.py (1), test_two.py (1)" in run(root, "tests/browser", "-kchromium")
    assert "as it is: test_two.py (1)" in run(root, "tests/browser/test_one.py")
    assert not (root / "docs" / "compatibility.md").exists()
    assert "compatibility.md is written" in run(root, "tests/browser", "-kfirefox")
    assert rows(root)[0] == "| Capabilities are detected | yes | yes |"


def test_nothing_counts_that_was_run_on_other_code(root: Path) -> None:
    run(root)
    table = root / "docs" / "compatibility.md"
    table.unlink()
    with (root / "tests" / "browser" / "test_two.py").open("a") as tests:
        tests.write("# changed\n")
    assert "as it is: test_two.py (1)" in run(root, "tests/browser/test_two.py", "-kfirefox")
    (root / "pyworkers" / "pool.py").write_text("2")
    assert "as it is: test_one.py (all)" in run(root, "tests/browser/test_two.py")
    assert not table.exists()


def test_what_fails_is_told_until_it_is_run_again(root: Path) -> None:
    broken = root / "tests" / "browser" / "broken"
    broken.write_text("")
    assert "is written" in run(root)
    assert rows(root)[2] == "| Memory that all workers share | **no** | **no** |"
    broken.unlink()
    assert "is written" in run(root, "tests/browser/test_two.py", "-kfirefox")
    assert rows(root)[2] == "| Memory that all workers share | **no** | in part[^loop] |"
