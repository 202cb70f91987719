"""What comes of a task: its value or error, read from what the worker sent.

Owns the reading of results, and how errors travel. Knows nothing of tasks, workers and pools.
"""

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from pyworkers import _codec
from pyworkers._codec import Handle
from pyworkers._futures import Future
from pyworkers._store import Buffers
from pyworkers.errors import PayloadError, RemoteTraceback

E = TypeVar("E", bound=BaseException)


def chained(error: E, cause: BaseException | None) -> E:
    """Returns an error with its cause."""
    error.__cause__ = cause
    return error


def described(error: BaseException) -> tuple[tuple[bytes, list[Any], str, str], tuple[Handle, ...]]:
    """Returns what ``remote_error`` reads in the other interpreter, and the handles in it."""
    if isinstance(error, MemoryError):
        _let_go(error)
    trace = "".join(traceback.format_exception(error))
    summary = _codec.summary(error)
    # Pickled for itself: should the other side be unable to read it, the rest still tells of it.
    data, buffers, handles = _codec.encode(_codec.portable(error))
    return (data, buffers, summary, trace), handles


def _let_go(error: BaseException) -> None:
    """Frees what the frames of an error hold: without, there is no memory left to tell of it."""
    reason: BaseException | None = error
    while reason is not None:
        traceback.clear_frames(reason.__traceback__)
        reason = reason.__context__


def remote_error(value: tuple[bytes, list[Any], str, str]) -> BaseException:
    """Reads what another interpreter says of an exception: pickle, summary and traceback."""
    error: BaseException
    try:
        data, buffers, summary, trace = value
    except (TypeError, ValueError):
        return PayloadError("the worker sent an error that cannot be read")
    try:
        error = _codec.decode(data, buffers)
        if not isinstance(error, BaseException):
            raise PayloadError(f"a {type(error).__name__} is no exception")
    except PayloadError as unreadable:
        error = PayloadError(f"the task raised {summary}, which cannot be read here: {unreadable}")
    return chained(error, RemoteTraceback(trace))


def error_of(data: bytes, buffers: Buffers) -> BaseException:
    """Reads the error of a task; one that cannot be read is a PayloadError, whatever is wrong."""
    try:
        return remote_error(_codec.decode(data, buffers))
    except BaseException as error:
        return chained(PayloadError("the error of the task cannot be read here"), error)


def settle(
    future: Future[Any],
    failed: bool,
    data: bytes,
    buffers: Buffers,
    judge: Callable[[bool], object] | None = None,
) -> None:
    """Gives a future what its task returned or raised.

    Args:
        future: to be settled.
        failed: whether the task raised.
        data: what the worker sent.
        buffers: its parts out of band.
        judge: told before whether the future fails.
    """
    try:
        value = _codec.decode(data, buffers)
        if failed:
            value = remote_error(value)
    except PayloadError as error:
        if judge is not None:
            judge(True)
        text = f"what the task returned cannot be read here: {error}"
        future.set_exception(chained(PayloadError(text), error.__cause__))
    except BaseException as error:
        if judge is not None:
            judge(True)
        # A SystemExit of what is read is its future's; a KeyboardInterrupt is the user's too.
        future.set_exception(error)
        if isinstance(error, KeyboardInterrupt):
            raise
    else:
        if judge is not None:
            judge(failed)
        if failed:
            future.set_exception(value)
        else:
            future.set_result(value)
