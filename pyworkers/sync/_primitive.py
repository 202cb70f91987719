"""What every primitive is: a handle that can be given to tasks, over a core.

Owns where a primitive lives in each mode, and how it is found again in a worker. Knows nothing of
what it does.
"""

from typing import Any, ClassVar, Self, TypeVar

from pyworkers._arena import SharedArena
from pyworkers._codec import Handle
from pyworkers._env import Mode, choose_mode
from pyworkers._hub import hub_for
from pyworkers._store import ArenaStore, Block, stores
from pyworkers._worker import Worker, current_worker
from pyworkers.errors import ModeError
from pyworkers.sync import _hosted
from pyworkers.sync._core import Core, SharedCore
from pyworkers.sync._created import create_from, place
from pyworkers.sync._hosted import HostedCore
from pyworkers.sync._local import KINDS, LocalCore

_HUB = 0
_P = TypeVar("_P", bound="Primitive")


class Placed(Handle):
    """What is found again by its mode, and a number there."""

    __slots__ = ("_block", "_mode")
    _block: Block
    _mode: Mode

    @property
    def id(self) -> int:
        """What names it in its store."""
        return self._block.id

    @property
    def mode(self) -> str:
        """Of the pools whose tasks can use it."""
        return self._mode


class Primitive(Placed):
    """A primitive that hub and workers share; give it to tasks as any argument.

    It lives as long as some interpreter uses it; without shared memory, as long as it is kept where
    the pool is, or, if a worker has created it, as that worker lives.

    Args:
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ModeError: the mode does not work here.
        ArenaFull: there is no room.
    """

    # ``beyond`` is for subclasses: so many bytes of shared memory that need no initial value.

    __slots__ = ("__weakref__", "_attempt", "_core")

    _KIND: ClassVar[str]
    """Its name in the shim, and in ``_local``."""
    _BYTES: ClassVar[int]
    """Its size in shared memory, which begins with so many zeros."""

    _core: Core

    def __init__(self, *, mode: Mode | None = None, beyond: int = 0) -> None:
        worker = current_worker()
        if worker is not None and "inline" not in stores:
            self._create_from(worker, mode, beyond)
            return
        mode = choose_mode(mode)
        hub = hub_for(mode)
        if mode == "shared":
            store = hub.store
            assert isinstance(store, ArenaStore)
            self._open(mode, place(store, self._KIND, self._BYTES, beyond))
        else:
            primitive = KINDS[self._KIND]()
            number = _hosted.host(primitive, mode)
            self._mode, self._block = mode, Block(number)
            self._core = LocalCore(primitive, _HUB, hub)
        self._set_up()

    def _create_from(self, worker: Worker, mode: Mode | None, beyond: int) -> None:
        own, block = create_from(worker, self._KIND, self._BYTES, beyond)
        if mode not in (None, own):
            raise ModeError(f"in a worker of mode {own} nothing of mode {mode} can be created")
        if own == "shared":
            self._open(own, block)
        else:
            self._mode, self._block = own, block
            self._core = HostedCore(self._KIND, block.id)
        self._set_up()

    def _open(self, mode: Mode, block: Block) -> None:
        """Makes this the primitive that lies in a block of shared memory."""
        store = stores[mode]
        assert isinstance(store, ArenaStore)
        assert isinstance(store.arena, SharedArena)
        hub = hub_for("shared") if current_worker() is None else None
        self._mode, self._block = mode, block
        self._core = SharedCore(store.arena, self._KIND, block.id, hub)

    def sharing(self, kind: type[_P]) -> _P:
        """Returns the same, as one of another class, which may offer less."""
        other = kind.__new__(kind)
        other._mode, other._block, other._core = self._mode, self._block, self._core
        other._set_up()
        return other

    def _set_up(self) -> None:
        """Looks up what is often needed of the core."""
        self._attempt = self._core.attempt

    def reduced(self) -> tuple[Any, ...]:
        return _attach, (type(self), self._mode, self._block.id, *self._companions())

    def _companions(self) -> tuple[Any, ...]:
        """Returns what travels with it."""
        return ()

    def _join(self, *companions: Any) -> None:
        """Gets what has travelled with it."""

    def _describe(self) -> str:
        """Returns what there is to say of its state."""
        return f"mode {self._mode}"

    def __repr__(self) -> str:
        if isinstance(self._core, HostedCore):  # whose state nobody here knows at once
            return f"<{type(self).__name__} of the hub>"
        return f"<{type(self).__name__} {self._describe()}>"

    @classmethod
    def _attached(cls, mode: Mode, id: int) -> Self:
        result = cls.__new__(cls)
        if mode == "shared":
            store = stores[mode]
            assert isinstance(store, ArenaStore)
            result._open(mode, store.attach(id))
        else:
            result._mode, result._block = mode, Block(id)
            if mode == "transfer" and current_worker() is not None:
                result._core = HostedCore(cls._KIND, id)
            else:
                result._core = LocalCore(_hosted.found(id), _HUB, hub_for(mode))
        result._set_up()
        return result


class Awaited(Primitive):
    """A primitive that is waited for, and that nobody takes."""

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is so.

        Args:
            timeout: seconds; None means for ever.

        Returns:
            False when the time is over.

        Raises:
            ModeError: this thread cannot wait; ``wait_async`` can.
        """
        return bool(self._attempt(0) or self._core.wait(timeout))

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Like ``wait``, without blocking."""
        return bool(self._attempt(0) or await self._core.wait_async(timeout))


def _attach(kind: type[Primitive], mode: Mode, id: int, *companions: Any) -> Primitive:
    """Finds a primitive that a pickle names."""
    primitive = kind._attached(mode, id)
    primitive._join(*companions)
    return primitive
