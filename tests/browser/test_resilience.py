"""What a pool does about tasks that fail and workers that go wrong, in every place and mode."""

from tests.hubs import Hub


def test_a_task_is_run_again_after_an_error_and_after_the_end_of_its_worker(hub: Hub) -> None:
    """C-03 D-09: as often as was allowed, with its waits, by one future."""
    outcome = hub.run(
        """
        def run(n):
            sys.runs = getattr(sys, "runs", 0) + 1
            if sys.runs < n: raise OSError(f"run {sys.runs}")
            return sys.runs
        def die():
            os._exit(3)
        async with WorkerPool(1) as pool:
            third = await pool.submit_with(run, [3], retries=2, retry_on=OSError, backoff=0.001)
            try:
                await pool.submit_with(run, [99], retries=1, retry_on=(KeyError, OSError))
            except OSError as error:
                last = str(error)
            try:
                await pool.submit_with(run, [99], retries=1, retry_on=KeyError)
            except OSError as error:
                only = str(error)
            try:
                await pool.submit_with(die, retries=2, backoff=0.001)
            except WorkerLost:
                lost = pool.stats().workers_lost
            stats = pool.stats()
        return third, last, only, lost, stats.retried, stats.failed, stats.lost, stats.done
        """
    )
    assert outcome == [3, "run 5", "run 6", 3, 5, 2, 1, 1]
