"""B-12: a bar over a loop, where Python is native: with tqdm, and without it."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator

import pytest

from pyworkers import WorkerPool
from pyworkers.sync import SharedProgress, progress
from pyworkers.sync._progress import TextBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_tqdm_draws_where_it_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    with WorkerPool(2, mode="inline") as pool:
        assert list(progress(pool.map(abs, [-1, -2]), desc="both")) == [1, 2]
    assert "both: 100%" in capsys.readouterr().err


def test_a_line_of_text_stands_in_for_tqdm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert list(progress(iter(range(5)))) == list(range(5))
    assert list(progress([])) == []
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["1", "2", "4"]


def test_a_terminal_s_line_is_drawn_anew() -> None:
    file = Terminal()
    bar = TextBar(200, "all", file)
    for _ in range(200):
        bar.update(1)
    bar.close()
    text = file.getvalue()
    assert text.startswith("\rall:   0% |")
    assert text.endswith(" s\n")
    assert f"100% |{'#' * 30}| 200 of 200" in text
    assert text.count("\r") < 20


def test_a_bar_over_a_shared_progress_needs_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    async def run() -> list[int]:
        return [item async for item in progress(items(), total=1)]

    assert asyncio.run(run()) == [1]
    shared = SharedProgress(4, mode="inline")
    shared.increment(4)
    assert list(progress(shared)) == [4]
    shared.reset()
    with pytest.raises(ValueError, match="has no end"):
        progress(shared)
