"""Which requests wait, from whom and until when, by a clock that the tests turn."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers._requests import Request, Requests
from pyworkers.errors import ProtocolError

pytestmark = pytest.mark.timeout(60)


def begun(
    requests: Requests[str],
    now: float = 0.0,
    *,
    channel: str = "test",
    peer: int = 1,
    timeout: float | None = 30.0,
    retries: int = 0,
) -> Request[str]:
    request = Request(channel, peer, timeout, retries, "what", requests.new_id())
    requests.begin(request, now)
    return request


def ids(requests: Iterable[Request[str]]) -> list[int]:
    return [request.id for request in requests]


def test_a_request_waits_until_it_is_answered() -> None:
    """B-01"""
    requests: Requests[str] = Requests()
    first, second = begun(requests), begun(requests)
    assert first.id != second.id
    assert requests.find(first.id, 1) is first
    requests.end(first)
    assert requests.find(first.id, 1) is None
    assert requests.waiting("test") == 1
    assert requests.withdrawn(second.id) is second
    assert requests.withdrawn(second.id) is None
    assert requests.waiting("test") == 0


def test_only_who_was_asked_can_answer() -> None:
    """B-01 C-08"""
    requests: Requests[str] = Requests()
    request = begun(requests, peer=3)
    with pytest.raises(ProtocolError, match="worker 4 spoke of request 1, which it was not sent"):
        requests.find(request.id, 4)
    assert requests.find(request.id, 3) is request


def test_a_request_expires_at_its_deadline_and_not_before() -> None:
    """B-01"""
    requests: Requests[str] = Requests()
    late = begun(requests, 10.0, timeout=5.0)
    for_ever = begun(requests, 10.0, timeout=None)
    begun(requests, 10.0, timeout=float("inf"))
    early = begun(requests, 11.0, timeout=1.0)
    assert requests.next_due() == 12.0
    assert requests.expired(11.9) == ([], [])
    assert requests.expired(12.0) == ([], [early])
    assert requests.next_due() == 15.0
    requests.end(late)
    assert requests.next_due() is None
    assert requests.expired(1e9) == ([], [])
    assert requests.find(for_ever.id, 1) is for_ever
    assert requests.oldest("test", 30.0) == 20.0


def test_a_request_has_its_whole_time_again_at_each_retry() -> None:
    """B-01"""
    requests: Requests[str] = Requests()
    request = begun(requests, 0.0, timeout=2.0, retries=2)
    assert requests.expired(2.5) == ([request], [])
    assert requests.next_due() == 4.5
    assert requests.expired(4.5) == ([request], [])
    assert requests.oldest("test", 5.0) == 5.0
    assert requests.expired(6.5) == ([], [request])
    assert requests.waiting("test") == 0


def test_who_is_lost_answers_nothing_more() -> None:
    """B-01: the requests to others stay."""
    requests: Requests[str] = Requests()
    lost = [begun(requests, peer=1) for _ in range(3)]
    kept = begun(requests, peer=2)
    assert ids(requests.lost(1)) == ids(lost)
    assert requests.lost(1) == []
    assert requests.waiting("test") == 1
    assert requests.find(kept.id, 2) is kept


def test_ids_come_again_only_when_they_are_free() -> None:
    """B-01: they are u32 on the wire, and 0 stands for no request."""
    requests: Requests[str] = Requests()
    first = begun(requests)
    requests._last = 0xFFFFFFFF - 1
    last = begun(requests)
    assert (first.id, last.id) == (1, 0xFFFFFFFF)
    assert begun(requests).id == 2


@given(st.integers(0, 2**32))
def test_each_request_ends_exactly_once(seed: int) -> None:
    """B-01: by an answer, a withdrawal, a deadline, or the end of who should answer."""
    dice = random.Random(seed)
    requests: Requests[str] = Requests()
    waiting: dict[int, Request[str]] = {}
    ended: list[int] = []
    now = 0.0
    begun_in_all = dice.randrange(200)
    for _ in range(begun_in_all):
        now += dice.random()
        timeout = dice.choice([None, 1.0, 5.0])
        request = begun(
            requests, now, channel=dice.choice("ab"), peer=dice.randrange(3), timeout=timeout
        )
        waiting[request.id] = request
        over: list[Request[str]] = []
        if waiting and dice.random() < 0.5:
            known = dice.choice([*waiting.values()])
            requests.end(known)
            over.append(known)
        if dice.random() < 0.05:
            over += requests.lost(dice.randrange(3))
        over += requests.expired(now)[1]
        for request in over:
            del waiting[request.id]
        ended += ids(over)
        assert requests.waiting("a") + requests.waiting("b") == len(waiting)
        deadlines = [request.deadline for request in waiting.values()]
        assert requests.next_due() in {min(deadlines, default=None), None}
        assert len(requests._deadlines) <= 2 * len(waiting) + 70
    assert len(ended) == len({*ended}) == begun_in_all - len(waiting)
