"""What every primitive is: a handle that can be given to tasks, over a core.

Owns where a primitive lives in each mode, and how it is found again in a worker. Knows nothing of
what it does.
"""

from typing import Any, ClassVar, Self

from pyworkers._arena import SharedArena
from pyworkers._codec import Handle
from pyworkers._env import Mode, choose_mode
from pyworkers._hub import hub_for
from pyworkers._store import ArenaStore, Block, stores
from pyworkers._worker import current_worker
from pyworkers.errors import ModeError
from pyworkers.sync import _hosted
from pyworkers.sync._core import Core, SharedCore
from pyworkers.sync._hosted import HostedCore
from pyworkers.sync._local import KINDS, LocalCore

_HUB = 0


class Primitive(Handle):
    """A primitive that hub and workers share; give it to tasks as any argument.

    It lives as long as some interpreter uses it; without shared memory, as long as it is kept where
    the pool is.

    Args:
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ModeError: this is a worker: create it where the pool is, and give it to tasks.
        ArenaFull: there is no room.
    """

    # ``beyond`` is for subclasses: so many bytes of shared memory that need no initial value.

    __slots__ = ("__weakref__", "_attempt", "_block", "_core", "_mode")

    _KIND: ClassVar[str]
    """Its name in the shim, and in ``_local``."""
    _BYTES: ClassVar[int]
    """Its size in shared memory, which begins with so many zeros."""

    _block: Block
    _core: Core
    _mode: Mode

    def __init__(self, *, mode: Mode | None = None, beyond: int = 0) -> None:
        if current_worker() is not None:
            raise ModeError(
                f"a {type(self).__name__} cannot be created in a worker: create it where the pool "
                "is, and give it to tasks"
            )
        mode = choose_mode(mode)
        hub = hub_for(mode)
        if mode == "shared":
            store = hub.store
            assert isinstance(store, ArenaStore)
            self._open(mode, store.own(store.arena.allocate(self._BYTES + beyond)))
            store.arena.write(self._block.id, 0, bytes(self._BYTES))
        else:
            primitive = KINDS[self._KIND]()
            number = _hosted.host(primitive, mode)
            self._mode, self._block = mode, Block(number)
            self._core = LocalCore(primitive, _HUB, hub)
        self._set_up()

    def _open(self, mode: Mode, block: Block) -> None:
        """Makes this the primitive that lies in a block of shared memory."""
        store = stores[mode]
        assert isinstance(store, ArenaStore)
        assert isinstance(store.arena, SharedArena)
        hub = hub_for("shared") if current_worker() is None else None
        self._mode, self._block = mode, block
        self._core = SharedCore(store.arena, self._KIND, block.id, hub)

    def _set_up(self) -> None:
        """Looks up what is often needed of the core."""
        self._attempt = self._core.attempt

    @property
    def id(self) -> int:
        """What names it in its store."""
        return self._block.id

    @property
    def mode(self) -> str:
        """Of the pools whose tasks can use it."""
        return self._mode

    def reduced(self) -> tuple[Any, ...]:
        return _attach, (type(self), self._mode, self._block.id)

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


def _attach(kind: type[Primitive], mode: Mode, id: int) -> Primitive:
    """Finds a primitive that a pickle names."""
    return kind._attached(mode, id)
