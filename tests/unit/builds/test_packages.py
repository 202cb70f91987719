"""What packages a site has: those that were asked for, what they need, and what suits Pyodide."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pyworkers.cli import _wheels
from pyworkers.cli._common import BuildError
from pyworkers.cli.build import build_site
from tests.unit.builds.tools import CDN, TARGET, boot, make_wheel, read_lock, run_build

pytestmark = pytest.mark.timeout(300)


class TestWith:
    def test_a_wheel_brings_its_dependencies_for_pyodide(self, tmp_path: Path) -> None:
        """E-08: markers are those of Pyodide, not of the Python that builds."""
        needs = (
            "cloudpickle>=3",
            'msgspec==0.22.0; sys_platform == "emscripten"',
            'pywin32; sys_platform != "emscripten"',
            'nothing; extra == "more"',
        )
        wheel = make_wheel(tmp_path, "Tiny.Name", needs=needs)
        site = build_site(tmp_path / "site", extra=[str(wheel)], pyodide_url="/py")
        packages = read_lock(site)["packages"]
        assert packages["tiny-name"] == {
            "name": "Tiny.Name",
            "version": "1.0",
            "file_name": wheel.name,
            "install_dir": "site",
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "package_type": "package",
            "imports": [],  # "Tiny.Name" is no name that can be imported
            "depends": ["cloudpickle", "msgspec"],
            "unvendored_tests": False,
        }
        binary = f"msgspec-0.22.0-cp314-cp314-{TARGET.platforms[0]}.whl"
        assert packages["msgspec"]["file_name"] == binary
        assert (site / "pyodide" / binary).is_file()

    def test_added_packages_can_be_imported_in_pyodide(self, tmp_path: Path) -> None:
        """E-08: a pure wheel from a file and a WebAssembly wheel from the package index."""
        extra = [str(make_wheel(tmp_path)), "msgspec==0.22.0"]
        site = build_site(tmp_path / "site", extra=extra)
        code = "import tiny, msgspec; msgspec.json.encode(tiny.answer).decode()"
        assert boot(site, ["tiny", "msgspec"], code) == "42"

    def test_dependencies_of_dependencies_and_extras_are_found(self, tmp_path: Path) -> None:
        more = make_wheel(tmp_path, "more", needs=('tiny; extra == "x"',))
        tiny = make_wheel(tmp_path, "tiny", needs=('more[x]; python_version >= "3.14"',))
        site = build_site(tmp_path / "site", extra=[str(tiny), str(more)], pyodide_url="/py")
        packages = read_lock(site)["packages"]
        assert packages["tiny"]["depends"] == ["more"]
        assert packages["more"]["depends"] == ["tiny"]

    def test_it_may_replace_the_version_of_micropip(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, "micropip")
        site = build_site(tmp_path / "site", extra=[str(wheel)], pyodide_url=CDN)
        assert read_lock(site)["packages"]["micropip"]["version"] == "1.0"

    def test_a_package_that_needs_another_pyworkers_is_refused(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, needs=("pyworkers>=1000",))
        with pytest.raises(BuildError, match=r"pyworkers>=1000 is required, but this is pyworkers"):
            build_site(tmp_path / "site", extra=[str(wheel)])

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("absent.whl", "there is no such file"),
            ("tiny=1", "neither a requirement like name==1.0 nor the path of a .whl file"),
            ("-r requirements.txt", "neither a requirement"),
            ("", "neither a requirement"),
            ("tiny; sys_platform == 'win32'", "its marker excludes Pyodide"),
            ("PyWorkers==0.1", "pyworkers itself is in every site already"),
        ],
    )
    def test_a_bad_argument_is_one_line_and_exit_code_2(
        self, tmp_path: Path, argument: str, message: str
    ) -> None:
        result = run_build(tmp_path / "site", "--with", argument)
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].startswith(f"Error: --with {argument}: {message}")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "tag", ["cp314-cp314-manylinux_2_17_x86_64", "cp313-cp313-pyodide_2025_0_wasm32"]
    )
    def test_a_wheel_of_another_platform_is_refused_by_name(self, tmp_path: Path, tag: str) -> None:
        wheel = make_wheel(tmp_path, tag=tag)
        result = run_build(tmp_path / "site", "--with", wheel)
        assert result.exit_code == 2
        assert f"{wheel.name} is built for {tag}; Pyodide" in result.stderr
        assert not (tmp_path / "site").exists()

    def test_a_file_that_is_no_wheel_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "tiny-1.0-py3-none-any.whl"
        path.write_text("nothing")
        result = run_build(tmp_path / "site", "--with", path)
        assert result.exit_code == 1
        assert f"Error: not a wheel: {path}" in result.stderr

    def test_what_pip_cannot_find_is_one_line_and_exit_code_1(self, tmp_path: Path) -> None:
        """A package of Pyodide's own distribution is pointed out."""
        result = run_build(tmp_path / "site", "--with", "scipy")
        assert result.exit_code == 1
        assert "Error: pip: Could not find a version that satisfies" in result.stderr
        assert "Pyodide's own distribution has scipy" in result.stderr
        assert "Traceback" not in result.output
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("requirement", "applies"),
    [
        ("a", True),
        ("a; sys_platform == 'emscripten' and platform_machine == 'wasm32'", True),
        ("a; platform_system == 'Emscripten' and os_name == 'posix'", True),
        ("a; python_version >= '3.14' and python_full_version == '3.14.2'", True),
        ("a; implementation_name == 'cpython'", True),
        ("a; platform_release == '5.0.3'", True),
        ("a; sys_platform == 'linux'", False),
        ("a; python_version < '3.12'", False),
        ("a; extra == 'x'", False),
    ],
)
def test_markers_are_those_of_pyodide(requirement: str, applies: bool) -> None:
    assert TARGET.applies(Requirement(requirement)) is applies
    assert TARGET.applies(Requirement("a; extra == 'x'"), {"x"})


def test_the_target_is_what_pyodide_says_of_itself(site: Path) -> None:
    code = (
        "import json, sysconfig, micropip\n"
        "from micropip._utils import sys_tags\n"
        "from micropip._vendored.packaging.src.packaging.markers import default_environment\n"
        "json.dumps([sorted(map(str, sys_tags())), default_environment()])"
    )
    tags, environment = json.loads(boot(site, ["micropip"], code))
    assert sorted(map(str, TARGET.tags)) == tags
    for name, value in environment.items():
        assert TARGET.applies(Requirement(f"a; {name} == '{value}'")), name


@pytest.mark.parametrize(
    ("files", "imports"),
    [
        (["a/__init__.py", "a/b.py", "a-1.dist-info/METADATA"], ["a"]),
        (["a.py", "b.cpython-314-wasm32-emscripten.so", "c.so", "d.abi3.so"], ["a", "b", "c", "d"]),
        (["space/inner/x.so", "a.libs/y.so", "a.pth", "docs/index.html"], ["space"]),
        (["a-1.data/purelib/b.py", "a-1.data/scripts/c.py", "d.e.py"], ["b"]),
    ],
)
def test_what_a_wheel_offers_for_import(
    tmp_path: Path, files: list[str], imports: list[str]
) -> None:
    path = make_wheel(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        for name in files:
            archive.writestr(name, "")
    assert list(_wheels.Wheel.read(path).imports) == sorted([*imports, "tiny"])
