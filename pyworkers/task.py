"""What a running task can say: ``from pyworkers import task``."""

from pyworkers._worker import current_worker

__all__ = ["progress"]


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
