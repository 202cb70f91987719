"""Run Python functions in parallel in real Web Workers.

The layers, each of which imports only from those below it::

    _pool, _shared_array, _lending, _page, page,
    task                                           public API
    _options                                       what a pool is made with
    _engine, _iterators, _groups                   what makes it go
    _crew, _outcomes                               its workers, and what becomes of futures
    _stops                                         how tasks end early
    _ledger, _peers, _pool_messages, _page_messages,
    _source                                        what it writes down, says and runs
    _fork                                          the memory that workers may start from
    _functions, _hub, _staff, _worker, _worker_messages,
    _output                                        what they stand on
    _preparation, _process                         a worker's start
    _line                                          its end of the line
    _messages, _pickled                            messages between users' code
    _answers                                       answering them
    _sides                                         how they travel
    _records                                       what is known of it
    _results, _futures, _cancel                    what becomes of a task
    _events, _html, _trace                         what it tells
    _scheduler, _standby, _heartbeat               pure decisions
    _queue, _staffing                              what waits; how many workers start
    _slots, _policies, _lanes, _scaling, _rate, _backoff,
    _breaker, _statistics, _requests               what they follow and count
    _store, _environment, _mirror                  what outlives a task; what workers find as here
    _arena                                         shared memory
    _makings                                       whether a function is what it was
    _codec, _compression                           payloads
    _channels                                      how frames travel
    _protocol                                      frames
    _env, _boot_report                             what this place can do, and how it started
    _js, _shim_source                              the boundary to JavaScript
    errors

``cli`` is for native CPython: serve, build and run. ``integrations`` stands on the public API, for
notebooks.
"""

from importlib import import_module
from typing import Any

from pyworkers import errors, page, task
from pyworkers._answers import Message
from pyworkers._arena import ArenaStatistics
from pyworkers._boot_report import AssetReport, BootReport, InterpreterReport, boot_report
from pyworkers._breaker import CircuitBreaker
from pyworkers._env import Capabilities, capabilities
from pyworkers._events import Event
from pyworkers._futures import Future
from pyworkers._groups import TaskGroup
from pyworkers._policies import Policy, QueuedTask
from pyworkers._pool import WorkerPool
from pyworkers._requests import ChannelStatistics
from pyworkers._scaling import Scaling
from pyworkers._shared_array import SharedArray
from pyworkers._statistics import Durations, ForkReport, PoolStatistics, TaskInfo, WorkerInfo
from pyworkers._store import Ref
from pyworkers.errors import (
    ArenaFull,
    BrokenWorkerPool,
    CircuitOpen,
    ModeError,
    NoHandler,
    OwnerDied,
    PageError,
    PayloadError,
    ProtocolError,
    PyworkersError,
    QueueFull,
    RemoteTraceback,
    TaskCancelled,
    WorkerLost,
)

__version__ = "0.1.0"

__all__ = [
    "ArenaFull",
    "ArenaStatistics",
    "AssetReport",
    "BootReport",
    "BrokenWorkerPool",
    "Capabilities",
    "ChannelStatistics",
    "CircuitBreaker",
    "CircuitOpen",
    "Durations",
    "Event",
    "ForkReport",
    "Future",
    "InterpreterReport",
    "Message",
    "ModeError",
    "NoHandler",
    "OwnerDied",
    "PageError",
    "PayloadError",
    "Policy",
    "PoolStatistics",
    "ProtocolError",
    "PyworkersError",
    "QueueFull",
    "QueuedTask",
    "Ref",
    "RemoteTraceback",
    "Scaling",
    "SharedArray",
    "TaskCancelled",
    "TaskGroup",
    "TaskInfo",
    "WorkerInfo",
    "WorkerLost",
    "WorkerPool",
    "boot_report",
    "capabilities",
    "errors",
    "page",
    "task",
]

_EXTENSION = ("load_ipython_extension", "unload_ipython_extension")


def __getattr__(name: str) -> Any:
    # Looked up by IPython's ``%load_ext``; nobody else needs IPython.
    if name in _EXTENSION:
        return getattr(import_module("pyworkers.integrations.ipython"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
