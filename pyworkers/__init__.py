"""Run Python functions in parallel in real Web Workers.

The layers, each of which imports only from those below it::

    _pool, _shared_array, _lending, _page, page,
    task                                           public API
    _engine, _iterators, _groups                   what makes it go
    _ledger, _peers, _pool_messages, _page_messages  what it writes down and says
    _functions, _hub, _worker, _worker_messages,
    _output                                        what they stand on
    _messages, _pickled                            messages between users' code
    _results, _futures, _cancel                    what becomes of a task
    _events, _trace                                what it tells
    _scheduler, _standby, _heartbeat               pure decisions
    _policies, _lanes, _scaling, _rate, _backoff,
    _breaker, _statistics, _requests               what they follow and count
    _store, _environment, _mirror                  what outlives a task; what workers find as here
    _arena                                         shared memory
    _codec, _compression                           payloads
    _channels                                      how frames travel
    _protocol                                      frames
    _env, _boot_report                             what this place can do, and how it started
    _js, _shim_source                              the boundary to JavaScript
    errors

``cli`` is for native CPython: serve, build and run.
"""

from pyworkers import errors, page, task
from pyworkers._arena import ArenaStatistics
from pyworkers._boot_report import AssetReport, BootReport, InterpreterReport, boot_report
from pyworkers._breaker import CircuitBreaker
from pyworkers._env import Capabilities, capabilities
from pyworkers._events import Event
from pyworkers._futures import Future
from pyworkers._groups import TaskGroup
from pyworkers._messages import Message
from pyworkers._policies import Policy, QueuedTask
from pyworkers._pool import WorkerPool
from pyworkers._requests import ChannelStatistics
from pyworkers._shared_array import SharedArray
from pyworkers._statistics import Durations, PoolStatistics, WorkerInfo
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
    "SharedArray",
    "TaskCancelled",
    "TaskGroup",
    "WorkerInfo",
    "WorkerLost",
    "WorkerPool",
    "boot_report",
    "capabilities",
    "errors",
    "page",
    "task",
]
