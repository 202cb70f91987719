"""Pools in a Pyodide that pyworkers did not start: on a page's thread, and in Node.

These tests run inside Pyodide, by pytest-pyodide.
"""

# mypy: disable-error-code="import-not-found"

from typing import Any

from pytest_pyodide import run_in_pyodide

PACKAGES = ["pyworkers", "cloudpickle"]


@run_in_pyodide(packages=PACKAGES)
async def test_a_pool_is_awaited_on_any_thread(selenium: Any) -> None:
    """E-03 E-05 E-06 E-08: loaded by loadPackage, the shim comes out of the wheel."""
    import os

    from pyworkers import WorkerLost, WorkerPool, capabilities

    found = capabilities()
    assert found.mode == "shared", found
    async with WorkerPool(2) as pool:
        assert await pool.submit(pow, 2, 10) == 1024
        offset = 5
        assert [n async for n in pool.map(lambda n: n + offset, range(100))] == list(range(5, 105))
        assert await pool.submit(os.getpid) != os.getpid()
        data = bytes(3_000_000)
        assert await pool.submit(lambda b: b, data) == data
        try:
            await pool.submit(os._exit, 1)
        except WorkerLost as error:
            lost = str(error)
        assert "died while it held task" in lost
        assert await pool.submit(abs, -1) == 1


@run_in_pyodide(packages=PACKAGES)
async def test_messages_work_as_well(selenium: Any) -> None:
    """B-06: mode transfer, chosen by hand."""
    from pyworkers import WorkerPool

    async with WorkerPool(1, mode="transfer") as pool:
        data = bytearray(3_000_000)
        assert await pool.submit(lambda b: b, data) == data
        assert repr(pool).startswith("<WorkerPool transfer")


@run_in_pyodide(packages=PACKAGES)
async def test_a_thread_that_cannot_block_says_so(selenium: Any) -> None:
    """E-03 E-05: the error says what to do; where blocking works, it works."""
    from pyworkers import ModeError, WorkerPool, capabilities

    pool = WorkerPool(1)
    future = pool.submit(pow, 2, 10)
    advice = "await"
    try:
        assert future.result(timeout=60) == 1024
    except ModeError as error:
        advice = str(error)
    assert "await" in advice
    await pool.ready()
    if capabilities().blocking_wait:
        assert pool.submit(pow, 2, 11).result(timeout=60) == 2048
        with WorkerPool(1) as other:
            assert list(other.map(abs, range(-9, 0))) == list(range(9, 0, -1))
    assert await future == 1024
    await pool.aclose()
