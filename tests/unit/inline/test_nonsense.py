"""Workers that speak nonsense: each is lost, and harms no other task."""

import weakref
from typing import Any

import pytest

from pyworkers import PyworkersError, WorkerLost, WorkerPool, _staff
from pyworkers._protocol import SPILLED, Kind
from tests.unit.inline.tools import Listed, here, log, note, square

pytestmark = pytest.mark.timeout(30)


def say(task: int, kind: int, payload: bytes = b"", flags: int = 0, *, other: int = 0) -> None:
    """A task whose worker sends a frame of its own making."""
    worker = here["worker"]
    worker.link.send(worker.peer, kind, other or task, payload, flags)
    worker.link.flush()


NONSENSE: dict[str, tuple[Any, ...]] = {
    "an unknown kind": (99,),
    "a kind of the hub": (Kind.TASK,),
    "ready for a second time": (Kind.READY,),
    "a chunk": (Kind.CHUNK,),
    "progress that is no pickle": (Kind.PROGRESS, b"?"),
    "progress that is no progress": (Kind.PROGRESS, b"N."),
    "an error that is none": (Kind.ERROR, b"N."),
    "an error of numbers": (Kind.ERROR, b"(K\x01K\x02t."),
    "a result whose table is cut off": (Kind.RESULT, b"\xff", SPILLED),
    "a result whose parts did not come": (Kind.RESULT, b"\1\0\0\0" + bytes(9), SPILLED),
    "a failed setup": (Kind.SETUP_FAILED,),
}


@pytest.mark.parametrize("frame", NONSENSE.values(), ids=NONSENSE)
def test_a_worker_that_speaks_nonsense_harms_no_other_task(
    frame: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-07"""
    monkeypatch.setattr(_staff, "Worker", Listed)
    with WorkerPool() as pool:
        with pytest.raises(PyworkersError, match=r".+"):
            pool.submit(say, pool.submit(square, 0).task + 1, *frame).result()
        assert [pool.submit(square, n).result() for n in range(3)] == [0, 1, 4]


def test_a_callback_for_output_that_raises_harms_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(worker: int, stream: str, text: str) -> None:
        raise OSError(text)

    monkeypatch.setattr(_staff, "Worker", Listed)
    with WorkerPool(on_output=refuse) as pool:
        assert pool.submit(say, 0, Kind.OUTPUT, b"said", 1).result() is None
        assert pool.submit(square, 3).result() == 9
    assert "exception in on_output" in caplog.text
    assert "OSError: said" in caplog.text


@pytest.mark.parametrize("kind", [Kind.RESULT, Kind.ERROR, Kind.PROGRESS, Kind.PARKED])
def test_a_worker_that_speaks_of_another_task_is_lost(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-07"""
    monkeypatch.setattr(_staff, "Worker", Listed)
    with WorkerPool() as pool:
        with pytest.raises(WorkerLost, match="spoke of task 123456, which it does not"):
            pool.submit(say, 123_456, kind, b"N.").result()
        assert pool.submit(square, 3).result() == 9


def submit_behind(kind: int) -> None:
    """A task that submits one whose worker speaks nonsense, and others behind it."""
    pool = here["pool"]()
    here["futures"] = [pool.submit(say, 0, kind), *(pool.submit(note, n) for n in (1, 2, 3))]


def test_no_task_runs_twice_because_its_worker_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """D-09: what was given to a worker ahead may have run already."""
    monkeypatch.setattr(_staff, "Worker", Listed)
    with WorkerPool() as pool:
        here["pool"] = weakref.ref(pool)
        pool.submit(say, 0, Kind.OUTPUT).result()
        pool.submit(note, 0).result()  # from now on both are known to be short
        pool.submit(submit_behind, 99).result()
    assert isinstance(here["futures"][0].exception(), WorkerLost)
    assert all(future.done() for future in here["futures"])
    assert max(log.count(n) for n in (1, 2, 3)) == 1
