"""What an owner keeps, and what it gives to tasks; cleaned up at the end of a block.

Owns nothing but how the two are made and left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import SupportsIndex

from pyworkers._env import Mode
from pyworkers.sync._cancellation import CancellationToken, SharedCancellation
from pyworkers.sync._shared import ProgressReporter, SharedProgress


@contextmanager
def create_progress_tracker(
    total: SupportsIndex | None = None, *, mode: Mode | None = None
) -> Iterator[tuple[SharedProgress, ProgressReporter]]:
    """Makes a progress and what tasks need to tell it: ``with ... as (progress, reporter):``.

    At the end of the block all subscriptions to the progress end.

    Args:
        total: how much there is to do; None: not known.
        mode: of the pools whose tasks shall get it; None means the default one.
    """
    progress = SharedProgress(total, mode=mode)
    try:
        yield progress, progress.reporter()
    finally:
        progress.subscriptions.end()


@contextmanager
def create_cancellation_token(
    *, mode: Mode | None = None
) -> Iterator[tuple[SharedCancellation, CancellationToken]]:
    """Makes what cancels and what tasks look at: ``with ... as (cancellation, token):``.

    A block that raises an error cancels. At its end all subscriptions to either end.

    Args:
        mode: of the pools whose tasks shall get it; None means the default one.
    """
    cancellation = SharedCancellation(mode=mode)
    token = cancellation.token()
    try:
        yield cancellation, token
    except BaseException:
        cancellation.cancel()
        raise
    finally:
        cancellation.subscriptions.end()
        token.subscriptions.end()
