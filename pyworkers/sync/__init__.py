"""What ``multiprocessing`` has to share and to wait, between workers, hub and page.

The layers, each of which imports only from those below it::

    _barriers              what users see, too
    _conditions, _rwlocks  what users see, on top of locks
    _locks                 what users see
    _primitive             a handle that travels, and where its core is found
    _hosted                of a hub without shared memory, by messages
    _local, _local_conditions   in the memory of one interpreter
    _core                  in shared memory; what all three offer
"""

from threading import BrokenBarrierError

from pyworkers.sync._barriers import (
    Barrier,
    BarrierStatistics,
    Latch,
    LatchStatistics,
    Once,
    OnceStatistics,
)
from pyworkers.sync._conditions import Condition, ConditionStatistics
from pyworkers.sync._locks import (
    BoundedSemaphore,
    Event,
    Lock,
    LockStatistics,
    RLock,
    Semaphore,
    SemaphoreStatistics,
)
from pyworkers.sync._rwlocks import ReadLock, RWLock, RWLockStatistics, WriteLock

__all__ = [
    "Barrier",
    "BarrierStatistics",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "ConditionStatistics",
    "Event",
    "Latch",
    "LatchStatistics",
    "Lock",
    "LockStatistics",
    "Once",
    "OnceStatistics",
    "RLock",
    "RWLock",
    "RWLockStatistics",
    "ReadLock",
    "Semaphore",
    "SemaphoreStatistics",
    "WriteLock",
]
