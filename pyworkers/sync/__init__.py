"""What ``multiprocessing`` has to share and to wait, between workers, hub and page.

The layers, each of which imports only from those below it::

    _context               all of it, by the names of multiprocessing
    _pool                  what Pool is, over a WorkerPool
    _process               processes
    _children              their workers
    _locks                 what is taken and given back
    _primitive             a handle that travels, and where its core is found
    _created               by a worker, of its hub
    _hosted                of a hub without shared memory, by messages
    _local                 in the memory of one interpreter
    _core                  in shared memory; what all three offer
"""

from pyworkers.sync._context import Context, get_context
from pyworkers.sync._locks import (
    BoundedSemaphore,
    Event,
    Lock,
    LockStatistics,
    RLock,
    Semaphore,
    SemaphoreStatistics,
)
from pyworkers.sync._pool import AsyncResult, IMapIterator, Pool
from pyworkers.sync._process import (
    ParentProcess,
    Process,
    active_children,
    current_process,
    parent_process,
    wait,
    wait_async,
)

__all__ = [
    "AsyncResult",
    "BoundedSemaphore",
    "Context",
    "Event",
    "IMapIterator",
    "Lock",
    "LockStatistics",
    "ParentProcess",
    "Pool",
    "Process",
    "RLock",
    "Semaphore",
    "SemaphoreStatistics",
    "active_children",
    "current_process",
    "get_context",
    "parent_process",
    "wait",
    "wait_async",
]
