"""What ``multiprocessing`` has to share and to wait, between workers, hub and page.

The layers, each of which imports only from those below it::

    _locks                 what users see
    _primitive             a handle that travels, and where its core is found
    _hosted                of a hub without shared memory, by messages
    _local                 in the memory of one interpreter
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

__all__ = [
    "BoundedSemaphore",
    "Event",
    "Lock",
    "LockStatistics",
    "RLock",
    "Semaphore",
    "SemaphoreStatistics",
]
