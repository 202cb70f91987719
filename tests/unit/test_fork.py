"""What a pool makes of the thread that runs its set-up for others; no thread is needed for it."""

import json
import logging
import pickle
import time
from typing import Any

import pytest

from pyworkers._codec import encode
from pyworkers._fork import Fork
from pyworkers._protocol import Frame, Kind

SETUP = encode({"packages": []})


class FakeHub:
    """Notes what it is asked for."""

    mode = "shared"

    def __init__(self) -> None:
        self.environment = self
        self.setups: list[bytes] = []
        self.ended: list[int] = []
        self.due: list[float] = []
        self.remind = self.due.append

    def terminate(self, peer: int, is_idle: bool) -> None:
        self.ended.append(peer)

    def whole(self) -> Any:
        return encode({"variables": {}})

    def spawn(self, handler: object, name: str, setup: bytes) -> int:
        self.setups.append(setup)
        return 7


def fork_of(hub: FakeHub, setup: Any = SETUP) -> Fork:
    return Fork(hub, "the pool", setup, lambda frame: None)  # type: ignore[arg-type]


def lost(text: str) -> Frame:
    return Frame(Kind.LOST, 0, 0, 7, 0, 0.0, memoryview(text.encode()))


def test_one_thread_is_asked_for_and_told_environment_and_set_up() -> None:
    hub = FakeHub()
    fork = fork_of(hub)
    assert (fork.report().state, fork.maker) == ("waiting", None)
    fork.begin()
    fork.begin()
    assert (fork.report().state, fork.maker) == ("making", 7)
    [setup] = hub.setups
    mode, environment, told = pickle.loads(setup)
    assert mode == "shared"
    assert pickle.loads(environment[0]) == {"variables": {}}
    assert pickle.loads(told[0]) == {"packages": []}


def test_what_the_thread_has_left_stays_until_the_end() -> None:
    hub = FakeHub()
    fork = fork_of(hub)
    fork.begin()
    fork.handle(lost(json.dumps({"bytes": 1000})))
    report = fork.report()
    assert (report.state, report.bytes, report.workers) == ("ready", 1000, 0)
    assert report.seconds > 0
    assert fork.tick(time.monotonic() + 1000) is None
    fork.worker_ready(([("restore", 1.0)], [], ""))
    fork.worker_ready(([("fork", 1.0)], [], ""))
    assert fork.report().workers == 1
    assert hub.ended == []
    fork.end()
    fork.end()
    assert hub.ended == [7]


@pytest.mark.parametrize("how", ["obituary", "late", "damaged"])
def test_without_a_fork_there_is_one_warning_and_no_thread(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pyworkers")
    hub = FakeHub()
    fork = fork_of(hub)
    fork.begin()
    if how == "obituary":
        fork.handle(lost("a file is open"))
        reason = "a file is open"
    elif how == "late":
        [due] = hub.due
        assert fork.tick(due - 1) == due
        assert fork.tick(due) is None
        reason = "the set-up was not done after 120 s"
    else:
        fork.handle(lost('{"bytes": 1000}'))
        for _ in range(2):
            fork.worker_ready(([("restore", 1.0)], [], "it is damaged"))
        reason = "it is damaged"
    assert (fork.report().state, fork.report().reason) == ("refused", reason)
    assert (fork.maker, hub.ended) == (None, [7])
    [record] = caplog.records
    assert reason in record.getMessage()
    fork.begin()
    assert len(hub.setups) == 1


def test_a_set_up_that_refers_to_what_is_kept_is_not_even_tried() -> None:
    hub = FakeHub()
    data, buffers, _ = SETUP
    fork = fork_of(hub, (data, buffers, ("a handle",)))
    fork.begin()
    assert fork.report().reason == "the set-up refers to what the pool keeps"
    assert (hub.setups, hub.ended) == ([], [])
