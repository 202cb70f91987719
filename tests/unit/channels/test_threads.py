"""Two threads at both ends of a channel."""

import pytest

from tests.unit.node_host import stress

pytestmark = pytest.mark.timeout(60)


def test_two_threads_agree_which_tasks_were_taken_back() -> None:
    """X-02: each task runs exactly once, however often those that wait are taken back and sent
    again; also where the counters wrap around."""
    tasks = 300_000
    report = stress("claim_stress.mjs", tasks)
    assert report["runs"] == {"0": 0, "1": tasks, "more": 0}
    assert report["recalls"] > 500
    assert report["takenBack"] > 500


def test_two_threads_pass_frames_both_ways_and_lose_none() -> None:
    """A-05: exact counts and checksums of frames and bulk parts of random sizes, over one channel,
    each thread blocking in Atomics.wait for the other."""
    frames, parts = 200_000, 200
    hub, worker = stress("ring_stress.mjs", frames, parts)
    for mine, other in ((hub, worker), (worker, hub)):
        assert mine["received"] == other["sent"]
        assert (mine["sent"]["frames"], mine["sent"]["parts"]) == (frames, parts)
        assert (mine["wrong"], mine["late"]) == (0, 0)
        assert mine["waits"] > 1_000, "they hardly waited for each other"


def test_what_a_ring_did_not_take_moves_on_while_the_next_task_runs() -> None:
    """A-05: whether that computes or sleeps; so it is not lost if that task is ended."""
    report = stress("backlog.mjs")
    assert report == {"said": 40, "computes": 40, "sleeps": 40}


def test_a_worker_that_ends_in_the_middle_of_ringing_keeps_no_hub_asleep() -> None:
    """A-02 B-04: where there is no waitAsync, one that rings takes the word which says that the hub
    is to be woken by a message; what if it is ended before it sends that."""
    assert stress("half_ring.mjs") == {"again": True, "heard": True}
