"""Run Python functions in parallel in real Web Workers.

The layers, each of which imports only from those below it::

    _pool, _page, task                     public API
    _engine, _iterators, _hub, _worker     what makes it go
    _scheduler                             pure decisions
    _futures, _codec, _protocol            frames and what is in them
    _channels                              how frames travel
    _env, _js, _shim_source                what this place can do; the boundary to JavaScript
    errors

``cli`` is for native CPython: serve, build and run.
"""

from pyworkers import errors, task
from pyworkers._env import Capabilities, capabilities
from pyworkers._futures import Future
from pyworkers._pool import WorkerPool
from pyworkers.errors import (
    BrokenWorkerPool,
    ModeError,
    PayloadError,
    ProtocolError,
    PyworkersError,
    RemoteTraceback,
    WorkerLost,
)

__version__ = "0.1.0"

__all__ = [
    "BrokenWorkerPool",
    "Capabilities",
    "Future",
    "ModeError",
    "PayloadError",
    "ProtocolError",
    "PyworkersError",
    "RemoteTraceback",
    "WorkerLost",
    "WorkerPool",
    "capabilities",
    "errors",
    "task",
]
