"""Run Python functions in parallel in real Web Workers.

The layers, each of which imports only from those below it::

    _pool, _page, task                             public API
    _engine, _iterators, _hub, _worker, _futures   what makes it go
    _scheduler                                     pure decisions
    _codec                                         payloads
    _channels                                      how frames travel
    _protocol                                      frames
    _env                                           what this place can do
    _js, _shim_source                              the boundary to JavaScript
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
