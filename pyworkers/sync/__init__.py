"""What ``multiprocessing`` has to share and to wait, between workers, hub and page.

The layers, each of which imports only from those below it::

    _progress              a bar over any of it
    _state                 by messages alone
    _pairs                 two ends of one thing
    _cancellation, _shared what users see
    _memory, _values       the same
    _locks                 the same
    _primitive             a handle that travels, and where its core is found
    _hosted                of a hub without shared memory, by messages
    _local, _local_values  in the memory of one interpreter
    _core                  in shared memory; what all three offer
"""

from pyworkers.sync import _followers as _followers
from pyworkers.sync._cancellation import CancellationToken, SharedCancellation
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
from pyworkers.sync._progress import progress
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
    "BoundedSemaphore",
    "CancellationToken",
    "Event",
    "Lock",
    "LockStatistics",
    "MessageChannelSync",
    "ProgressReporter",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SemaphoreStatistics",
    "ShareableList",
    "SharedCancellation",
    "SharedCounter",
    "SharedCounter32",
    "SharedFlag",
    "SharedMemory",
    "SharedProgress",
    "Value",
    "create_cancellation_token",
    "create_progress_tracker",
    "progress",
]
