"""What ``multiprocessing`` has to share and to wait, between workers, hub and page.

The layers, each of which imports only from those below it::

    _locks, _queues, _pipe  what users see
    _primitive             a handle that travels, and where its core is found
    _hosted                of a hub without shared memory, by messages
    _lines                 how items of queues travel
    _local, _local_queue   in the memory of one interpreter
    _core                  in shared memory; what all three offer
"""

from pyworkers.sync._locks import (
    BoundedSemaphore,
    Event,
    Lock,
    LockStatistics,
    RLock,
    Semaphore,
    SemaphoreStatistics,
)
from pyworkers.sync._pipe import Connection, Pipe
from pyworkers.sync._queues import JoinableQueue, Queue, QueueStatistics, SimpleQueue

__all__ = [
    "BoundedSemaphore",
    "Connection",
    "Event",
    "JoinableQueue",
    "Lock",
    "LockStatistics",
    "Pipe",
    "Queue",
    "QueueStatistics",
    "RLock",
    "Semaphore",
    "SemaphoreStatistics",
    "SimpleQueue",
]
