"""What ``multiprocessing`` has to share and to wait, between workers, hub and page.

The layers, each of which imports only from those below it::

    _context                       all of it, by the names of multiprocessing
    _pool, _pool_results,
    _process                       what runs; over WorkerPool
    _children                      the workers of processes
    _progress                      a bar over any of it
    _state                         keys and values, by messages alone
    _pairs                         two ends of one thing
    _cancellation, _shared, _memory, _values, _pipe,
    _queues, _barriers, _conditions, _rwlocks,
    _locks                         what users see
    _primitive                     a handle that travels, and where its core is found
    _shared_line                   a queue in shared memory
    _held                          that what is taken is given back
    _created                       by a worker, of its hub
    _followers                     who is told of changes
    _hosted, _lines                of a hub without shared memory, by messages
    _local, _local_values, _local_queue,
    _local_conditions              in the memory of one interpreter
    _core                          in shared memory; what all three offer
"""

from threading import BrokenBarrierError

from pyworkers.sync import _followers as _followers
from pyworkers.sync._barriers import (
    Barrier,
    BarrierStatistics,
    Latch,
    LatchStatistics,
    Once,
    OnceStatistics,
)
from pyworkers.sync._cancellation import CancellationToken, SharedCancellation
from pyworkers.sync._conditions import Condition, ConditionStatistics
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
from pyworkers.sync._memory import ShareableList, SharedMemory
from pyworkers.sync._pairs import create_cancellation_token, create_progress_tracker
from pyworkers.sync._pipe import Connection, Pipe
from pyworkers.sync._pool import Pool
from pyworkers.sync._pool_results import AsyncResult, IMapIterator
from pyworkers.sync._process import (
    ParentProcess,
    Process,
    active_children,
    current_process,
    parent_process,
    wait,
    wait_async,
)
from pyworkers.sync._progress import progress
from pyworkers.sync._queues import JoinableQueue, Queue, QueueStatistics, SimpleQueue
from pyworkers.sync._rwlocks import ReadLock, RWLock, RWLockStatistics, WriteLock
from pyworkers.sync._shared import (
    ProgressReporter,
    SharedCounter,
    SharedCounter32,
    SharedFlag,
    SharedProgress,
)
from pyworkers.sync._state import MessageChannelSync
from pyworkers.sync._values import Array, RawArray, RawValue, Value

__all__ = [
    "Array",
    "AsyncResult",
    "Barrier",
    "BarrierStatistics",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "CancellationToken",
    "Condition",
    "ConditionStatistics",
    "Connection",
    "Context",
    "Event",
    "IMapIterator",
    "JoinableQueue",
    "Latch",
    "LatchStatistics",
    "Lock",
    "LockStatistics",
    "MessageChannelSync",
    "Once",
    "OnceStatistics",
    "ParentProcess",
    "Pipe",
    "Pool",
    "Process",
    "ProgressReporter",
    "Queue",
    "QueueStatistics",
    "RLock",
    "RWLock",
    "RWLockStatistics",
    "RawArray",
    "RawValue",
    "ReadLock",
    "Semaphore",
    "SemaphoreStatistics",
    "ShareableList",
    "SharedCancellation",
    "SharedCounter",
    "SharedCounter32",
    "SharedFlag",
    "SharedMemory",
    "SharedProgress",
    "SimpleQueue",
    "Value",
    "WriteLock",
    "active_children",
    "create_cancellation_token",
    "create_progress_tracker",
    "current_process",
    "get_context",
    "parent_process",
    "progress",
    "wait",
    "wait_async",
]
