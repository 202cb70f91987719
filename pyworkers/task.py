"""What a running task can say and ask: ``from pyworkers import task``."""

from pyworkers._worker import current_worker

__all__ = ["cancelled", "checkpoint", "progress"]


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Tells whoever waits for this task how far it is.

    Outside of a task it does nothing, so that a function can also be called directly.

    Args:
        done: how much is done, in whatever unit the task counts.
        total: how much there is to do; None where that is not known.
        message: for people.
    """
    worker = current_worker()
    if worker is not None:
        worker.progress(done, total, message)


def cancelled() -> bool:
    """Says whether this task is not wanted any more: cancelled, or over its timeout.

    In mode transfer a plain function looks for messages when it asks, at most every 10 ms, where
    the engine can switch stacks (``capabilities().jspi``) and in Node. False outside of a task, and
    where a plain function cannot hear of it while it runs: in mode transfer elsewhere, and in mode
    inline.
    """
    worker = current_worker()
    return worker is not None and worker.is_cancelled()


def checkpoint() -> None:
    """Raises TaskCancelled if ``cancelled`` says so."""
    worker = current_worker()
    if worker is not None:
        worker.check_cancelled()
