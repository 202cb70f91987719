"""What a pool is made with: priorities, arguments, and what a worker starts with."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyworkers import BrokenWorkerPool, Capabilities, ModeError, PayloadError, WorkerPool
from pyworkers._env import module_source
from tests.unit.inline.tools import (
    cling,
    closed_pool,
    fail_choosily,
    gate,
    in_loop,
    inverse,
    log,
    note,
    square,
    verbs,
)

pytestmark = pytest.mark.timeout(30)

# Priorities and arguments of the pool


@in_loop
async def test_queued_tasks_run_by_priority() -> None:
    """A-06, B-06"""
    async with closed_pool() as pool:
        for n, priority in enumerate([5, 0, 10, 5, 10]):
            pool.submit_with(note, [n], priority=priority)
        pool.submit(note, 5)
        gate.set()
    assert log == [2, 4, 0, 3, 5, 1]


@pytest.mark.parametrize("priority", [-1, 11])
def test_a_priority_out_of_its_range_is_refused(pool: WorkerPool, priority: int) -> None:
    with pytest.raises(ValueError, match=rf"priority must be .*0 to 10, not {priority}"):
        pool.submit_with(square, [1], priority=priority)


@pytest.mark.parametrize("priority", [5.5, "5", None])
def test_a_priority_that_is_no_integer_is_refused(pool: WorkerPool, priority: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        pool.submit_with(square, [1], priority=priority)
    assert pool.submit(square, 2).result() == 4


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_that_is_no_duration_is_refused(pool: WorkerPool, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        pool.submit_with(square, [1], timeout=timeout)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_workers": 0}, "max_workers must be at least 1, not 0"),
        ({"packages": "numpy"}, "packages and modules each take a list of names"),
        ({"modules": "numpy"}, "packages and modules each take a list of names"),
        ({"grace": -1}, "grace must be 0 seconds or more, not -1"),
        ({"max_tasks_per_child": 0}, "max_tasks_per_child must be at least 1, not 0"),
        ({"on_worker_lost": "cry"}, 'on_worker_lost must be "replace", "shrink" or "break", not'),
        ({"mode": "warp"}, "mode must be one of shared, transfer, inline or None, not 'warp'"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        WorkerPool(**options)


@pytest.mark.parametrize("mode", ["shared", "transfer"])
def test_a_mode_that_does_not_work_here_is_refused_with_the_reason(mode: Any) -> None:
    """A-01"""
    with pytest.raises(ModeError, match=f"mode {mode!r} is not available: this is CPython"):
        WorkerPool(mode=mode)


def test_a_pool_says_its_mode_and_its_size() -> None:
    """B-06"""
    with WorkerPool(7, mode="inline") as pool:
        assert pool.mode == "inline"
        assert pool.max_workers == 1


@in_loop
async def test_being_ready_takes_no_time_where_blocking_is_safe() -> None:
    async with WorkerPool() as pool:
        await pool.ready()


# What a worker starts with


def test_an_initializer_runs_once_before_the_first_task() -> None:
    """B-18"""
    with WorkerPool(initializer=note, initargs=("ready",)) as pool:
        assert log == [], "workers start when there is work"
        assert list(pool.map(note, range(3))) == [0, 1, 2]
    assert log == ["ready", 0, 1, 2]


@pytest.mark.parametrize("initializer", [inverse, cling, fail_choosily])
def test_an_initializer_that_raises_breaks_the_pool(initializer: Callable[[Any], object]) -> None:
    """X-02: every future settles."""
    with WorkerPool(initializer=initializer, initargs=(0,)) as pool:
        future = pool.submit(square, 3)
        with pytest.raises(BrokenWorkerPool, match="the pool is broken: ") as broken:
            future.result()
        assert isinstance(broken.value, concurrent.futures.BrokenExecutor)
        assert broken.value.__cause__ is not None
        trace = f"{broken.value.__cause__} {broken.value.__cause__.__cause__}"
        assert f"in {initializer.__name__}" in trace
        for refusing in verbs(pool):
            with pytest.raises(BrokenWorkerPool, match="the pool is broken: "):
                refusing(square, [3])
        assert repr(pool).startswith("<WorkerPool inline: broken, 0 of 1 workers")


@in_loop
async def test_an_asynchronous_initializer_that_raises_breaks_the_pool() -> None:
    """X-02"""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("no disk")

    async with WorkerPool(initializer=fail) as pool:
        futures = [pool.submit(square, n) for n in range(3)]
        for future in futures:
            with pytest.raises(BrokenWorkerPool, match="no disk"):
                await future


def test_an_initializer_that_cannot_be_pickled_is_refused_at_once() -> None:
    lock = threading.Lock()
    with pytest.raises(PayloadError, match=r"cannot pickle '_thread\.lock'"):
        WorkerPool(initializer=lock.locked)
    with pytest.raises(PayloadError, match=r"cannot pickle '_thread\.lock'"):
        WorkerPool(initializer=note, initargs=(lock,))


def test_files_are_written_before_the_first_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """X-07"""
    monkeypatch.chdir(tmp_path)
    with WorkerPool(files={"a/b.txt": "text", str(tmp_path / "c"): b"\0"}) as pool:
        assert pool.submit(Path.read_text, Path("a/b.txt")).result() == "text"
    assert (tmp_path / "c").read_bytes() == b"\0"


def test_modules_that_are_importable_here_need_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-06, X-07"""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with WorkerPool(modules=["cloudpickle"]) as pool:
        assert pool.submit(square, 3).result() == 9
    assert os.listdir(tmp_path) == []


def test_packages_that_are_installed_here_need_no_installation() -> None:
    """B-06, E-09: a program that names its packages for the browser runs on CPython too."""
    with WorkerPool(packages=["numpy"]) as pool:
        assert pool.submit(square, 3).result() == 9


def test_packages_that_are_missing_are_for_pip_to_install() -> None:
    """B-06"""
    with WorkerPool(packages=["numpy", "no-such-package"]) as pool:
        error = pool.submit(square, 3).exception()
    assert isinstance(error, BrokenWorkerPool)
    assert "use pip for no-such-package" in str(error)


def test_a_module_that_is_not_there_has_no_source_to_give_to_workers() -> None:
    """X-07"""
    with pytest.raises(ModuleNotFoundError, match="modules: 'no_such' has no source file here"):
        module_source("no_such")
    assert list(module_source("textwrap")) == ["textwrap.py"]
    assert "json/decoder.py" in module_source("json")


@pytest.mark.parametrize(
    ("cores", "memory", "size"),
    [(1, 0.0, 1), (4, 0.0, 4), (16, 8.0, 8), (4, 0.5, 2), (4, 0.25, 1), (2, 16.0, 2)],
)
def test_a_pool_is_as_large_as_cores_and_memory_allow(cores: int, memory: float, size: int) -> None:
    """A-02 C-04"""
    found = Capabilities(mode="shared", reason="a test", cores=cores, memory=memory)
    assert found.default_workers == size
