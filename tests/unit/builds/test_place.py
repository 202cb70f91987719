"""Where a site is put, and the compressed copies in it."""

import gzip
import os
import re
import zipfile
from pathlib import Path

import brotli
import pytest

from pyworkers.cli import _compress, _core
from pyworkers.cli._common import BadArgument
from pyworkers.cli.build import build_site
from tests.unit.builds.tools import CDN, contents, make_wheel, read_config, run_build

pytestmark = pytest.mark.timeout(300)


class TestCompress:
    def test_copies_are_smaller_and_hold_the_same(self, tmp_path: Path) -> None:
        site = build_site(tmp_path / "site", pyodide_url=CDN, compress=True)
        files = contents(site)
        assert {"pyodide/pyodide-lock.json.gz", "pyodide/pyodide-lock.json.br"} <= files.keys()
        assert "pyworkers.json.gz" not in files
        for name, data in files.items():
            original = files.get(name.rpartition(".")[0], b"")
            if name.endswith((".gz", ".br")):
                expand = gzip.decompress if name.endswith(".gz") else brotli.decompress
                assert expand(data) == original
                assert len(data) < len(original)
                assert len(original) > 1024
        assert sorted(read_config(site)["files"]) == sorted(files.keys() - {"pyworkers.json"})

    def test_what_does_not_get_smaller_and_what_is_small_has_no_copy(self, tmp_path: Path) -> None:
        files = {
            "a.zip": os.urandom(5000),
            "b.js": b" " * 1024,
            "c.js": b" " * 1025,
            "d.txt": b" " * 5000,
        }
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        _compress.add_copies([tmp_path / name for name in files], lambda _done, _total: None)
        assert contents(tmp_path).keys() == {*files, "c.js.gz", "c.js.br"}

    @pytest.mark.usefixtures("no_cache")
    def test_copies_of_large_files_are_cached(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        large = tmp_path / "large.js"
        large.write_bytes(b"let x = 1;\n" * 100_000)
        told: list[tuple[int, int]] = []
        _compress.add_copies([large], lambda done, total: told.append((done, total)))
        assert told == sorted(told)
        assert told[-1] == (1_100_000, 1_100_000)
        first = contents(tmp_path)
        monkeypatch.setattr(_compress, "brotli", None)
        _compress.add_copies([large], lambda _done, _total: None)
        assert contents(tmp_path) == first


class TestPlace:
    def test_an_earlier_site_is_replaced_and_foreign_files_are_kept(
        self, small: Path, tmp_path: Path
    ) -> None:
        (small / "index.html").write_text("mine")
        (small / "assets").mkdir()
        (small / "assets" / "a.css").write_text("mine too")
        (small / "link").symlink_to("index.html")
        (small / "pyodide" / "cloudpickle-3.1.2-py3-none-any.whl").write_text("changed")
        wheel = make_wheel(tmp_path)
        build_site(small, pyodide_url=CDN, extra=[str(wheel)])
        assert (small / "pyodide" / wheel.name).is_file()

        build_site(small, pyodide_url=CDN)
        assert not (small / "pyodide" / wheel.name).exists()
        assert (small / "index.html").read_text() == "mine"
        assert (small / "assets" / "a.css").read_text() == "mine too"
        assert (small / "link").readlink() == Path("index.html")
        assert "index.html" not in read_config(small)["files"]
        assert zipfile.is_zipfile(small / "pyodide" / "cloudpickle-3.1.2-py3-none-any.whl")
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    def test_a_foreign_file_in_the_way_is_not_overwritten(
        self, small: Path, tmp_path: Path
    ) -> None:
        wheel = make_wheel(tmp_path)
        (small / "pyodide" / wheel.name).write_text("mine")
        before = contents(small)
        with pytest.raises(BadArgument, match="was not written by a build; it is in the way"):
            build_site(small, pyodide_url=CDN, extra=[str(wheel)])
        assert contents(small) == before
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    @pytest.mark.parametrize("step", ["packages", "compressed copies"])
    def test_an_interrupt_leaves_an_earlier_site_as_it_was(self, small: Path, step: str) -> None:
        before = contents(small)

        def interrupt(name: str, done: int, total: int) -> None:
            if name == step and done == total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_site(small, compress=True, pyodide_url="/other", progress=interrupt)
        assert contents(small) == before
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    def test_an_interrupt_between_the_two_renames_brings_the_earlier_site_back(
        self, small: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = contents(small)
        rename = Path.rename

        def interrupted(path: Path, target: Path) -> Path:
            if path.name == "new" and target == small:
                raise KeyboardInterrupt
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_site(small, pyodide_url="/other")
        assert contents(small) == before
        assert [path.name for path in small.parent.iterdir()] == ["site"]

    def test_an_empty_folder_and_missing_parents_are_fine(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir(mode=0o750)
        for out in (tmp_path / "empty", tmp_path / "a" / "b"):
            assert run_build(out, "--pyodide-url", CDN).exit_code == 0
            assert (out / "pyworkers.json").is_file()
        assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o750
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]

    def test_a_link_to_a_folder_stays_a_link(self, small: Path, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(small)
        build_site(link, pyodide_url="/other")
        assert link.is_symlink()
        assert read_config(small)["indexURL"] == "/other/"

    @pytest.mark.parametrize("found", ["notes.txt", "pyworkers.json"])
    def test_a_folder_of_someone_else_is_refused(self, tmp_path: Path, found: str) -> None:
        out = tmp_path / "site"
        out.mkdir()
        (out / found).write_text("{}")
        result = run_build(out)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"Error: {out}")
        assert contents(out) == {found: b"{}"}

    def test_a_file_and_the_current_directory_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("mine")
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        for out, message in (("../file", "is a file"), (".", "holds the current directory")):
            result = run_build(out)
            assert result.exit_code == 2
            assert message in result.stderr

    def test_an_error_of_the_system_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        result = run_build(tmp_path / "file" / "site", "--pyodide-url", CDN)
        assert result.exit_code == 1
        assert result.stderr.splitlines()[-1].startswith(f"Error: {tmp_path}")


def test_steps_are_lines_in_a_pipe_and_the_last_line_says_what_to_do(tmp_path: Path) -> None:
    out = tmp_path / "my site"
    result = run_build(out, "--pyodide-url", CDN, "--compress")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"Pyodide {_core.PYODIDE_VERSION}",
        "packages",
        "compressed copies",
    ]
    (line,) = result.stdout.splitlines()
    assert re.match(rf"{re.escape(str(out))}: \d+\.\d MB in ", line)
    assert line.endswith(
        f" MB in {len(contents(out))} files; serve it with: pyworkers serve '{out}'"
    )
