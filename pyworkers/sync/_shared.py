"""SharedCounter, SharedFlag, SharedProgress: what hub, workers and page count with and look at.

Owns what their users see. What changes one returns nothing, so that it is one call into shared
memory, and without that one message, for which nobody waits. What asks for a value has a twin that
can be awaited, as a worker without shared memory asks its hub. How the page sees them:
``js_shim/twins.mjs``.
"""

import asyncio
import operator
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, SupportsIndex

from pyworkers._env import Mode
from pyworkers._hub import hub_for
from pyworkers._lending import Twinned
from pyworkers._store import ArenaStore, stores
from pyworkers._worker import current_worker
from pyworkers.sync._core import SharedCore
from pyworkers.sync._local import LocalCore
from pyworkers.sync._local_values import Followed
from pyworkers.sync._locks import Event
from pyworkers.sync._primitive import Primitive


class Shown(Primitive, Twinned):
    """A primitive that a page can be given, and then sees by a twin of its own."""

    __slots__ = ()
    _TWIN: ClassVar[str]
    """What is made of it there, in ``js_shim/twins.mjs``."""

    def twin(self) -> tuple[str, list[Any]]:
        state: list[Any] = []
        if isinstance(self._core, LocalCore):
            assert isinstance(self._core.primitive, Followed)
            state = self._core.primitive.state(0)
        return self._TWIN, state


class Subscriptions:
    """What goes on in the background for a handle, until it is over or ended."""

    _running: ClassVar[set["asyncio.Task[None]"]] = set()

    def __init__(self) -> None:
        self._own: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Awaits a coroutine, until what is returned is called.

        Raises:
            RuntimeError: no event loop runs here.
        """
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            work.close()
            raise
        for tasks in (self._own, self._running):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        def end() -> None:
            task.cancel()

        return end

    def end(self) -> None:
        """Ends all of them."""
        for task in self._own:
            task.cancel()


class SharedCounter(Shown):
    """An integer of 64 bits to which hub, workers and page add.

    No addition is lost, whoever else adds; it wraps around at the ends of its size.

    Args:
        value: at first.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        OverflowError: the value does not fit.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ("_add",)
    _KIND: ClassVar = "Counter64"
    _TWIN: ClassVar = "Counter64"
    _BYTES: ClassVar = 24

    def __init__(self, value: SupportsIndex = 0, *, mode: Mode | None = None) -> None:
        number = self._checked(value)
        super().__init__(mode=mode)
        if number:
            self.set(number)

    def _set_up(self) -> None:
        super()._set_up()
        self._add = self._core.teller("add")

    def _checked(self, value: SupportsIndex) -> int:
        number = operator.index(value)
        if not -(2**63) <= number < 2**63:
            raise OverflowError(f"{number} does not fit into 64 bits")
        return number

    def add(self, n: SupportsIndex = 1) -> None:
        """Adds.

        Args:
            n: how much; negative subtracts.

        Raises:
            OverflowError: that does not fit into its size.
        """
        self._add(self._checked(n))

    def subtract(self, n: SupportsIndex = 1) -> None:
        """Subtracts; raises what ``add`` does."""
        self._add(self._checked(-operator.index(n)))

    def set(self, value: SupportsIndex) -> None:
        """Sets it, whatever it was; raises what ``add`` does."""
        self._core.teller("put")(self._checked(value))

    def get(self) -> int:
        """Returns its value.

        Raises:
            ModeError: this is a plain function in a worker without shared memory: ``get_async``.
        """
        return int(self._core.ask("get"))

    async def get_async(self) -> int:
        """Returns its value, wherever it is awaited."""
        return int(await self._core.ask_async("get"))

    def fetch_add(self, n: SupportsIndex = 1) -> int:
        """Adds, and returns what it was before: no two get the same.

        Raises:
            OverflowError: that does not fit into its size.
            ModeError: as for ``get``.
        """
        return int(self._core.ask("fetchAdd", self._checked(n)))

    async def fetch_add_async(self, n: SupportsIndex = 1) -> int:
        """Like ``fetch_add``, wherever it is awaited."""
        return int(await self._core.ask_async("fetchAdd", self._checked(n)))

    def compare_and_swap(self, expected: SupportsIndex, value: SupportsIndex) -> int:
        """Sets it if it is what is expected.

        Returns:
            What it was before: it was set if that is ``expected``.

        Raises:
            OverflowError: a value does not fit into its size.
            ModeError: as for ``get``.
        """
        values = self._checked(expected), self._checked(value)
        return int(self._core.ask("compareExchange", *values))

    async def compare_and_swap_async(self, expected: SupportsIndex, value: SupportsIndex) -> int:
        """Like ``compare_and_swap``, wherever it is awaited."""
        values = self._checked(expected), self._checked(value)
        return int(await self._core.ask_async("compareExchange", *values))

    def _describe(self) -> str:
        return str(self.get())


class SharedCounter32(SharedCounter):
    """A counter of 32 bits, which is a little faster."""

    __slots__ = ()
    _KIND: ClassVar = "Counter32"
    _TWIN: ClassVar = "Counter32"

    def _checked(self, value: SupportsIndex) -> int:
        number = operator.index(value)
        if not -(2**31) <= number < 2**31:
            raise OverflowError(f"{number} does not fit into 32 bits")
        return number


class SharedFlag(Shown, Event):
    """Something that is true or not, for hub, workers and page."""

    __slots__ = ("_toggle",)
    _KIND: ClassVar = "SharedFlag"
    _TWIN: ClassVar = "Flag"

    def _set_up(self) -> None:
        super()._set_up()
        self._toggle = self._core.teller("toggle")

    async def is_set_async(self) -> bool:
        """Says whether it is set now, wherever it is awaited."""
        return bool(await self._core.ask_async("isSet"))

    def toggle(self) -> None:
        """Sets it if it is not, and clears it if it is."""
        self._toggle()


class ProgressReporter(Primitive):
    """What a task needs of a SharedProgress: to tell how far it is."""

    __slots__ = ("_add", "_put")
    _KIND: ClassVar = "Progress"
    _BYTES: ClassVar = 32

    def _set_up(self) -> None:
        super()._set_up()
        self._add = self._core.teller("add")
        self._put = self._core.teller("put")

    def increment(self, n: SupportsIndex = 1) -> None:
        """Adds to what is done; what several workers add at the same time is all counted."""
        self._add(operator.index(n))

    def set(self, done: SupportsIndex) -> None:
        """Says how much is done, whatever others have added."""
        self._put(operator.index(done))


class SharedProgress(ProgressReporter, Shown):
    """How much of something is done, told by workers and looked at by hub and page.

    Args:
        total: how much there is to do, in whatever unit it is counted; None: not known.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: the total is negative.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ("subscriptions",)
    _TWIN: ClassVar = "Progress"

    def __init__(self, total: SupportsIndex | None = None, *, mode: Mode | None = None) -> None:
        _checked_total(total)
        super().__init__(mode=mode)
        self.reset(total)

    def _set_up(self) -> None:
        super()._set_up()
        self.subscriptions = Subscriptions()

    def reset(self, total: SupportsIndex | None = None) -> None:
        """Begins anew, with nothing done.

        Args:
            total: how much there is to do now; None: not known.

        Raises:
            ValueError: the total is negative.
        """
        self._core.teller("reset")(_checked_total(total))

    def reporter(self) -> ProgressReporter:
        """Returns what can be given to tasks that shall tell, and nothing else."""
        return self.sharing(ProgressReporter)

    def state(self) -> tuple[int, int, int | None]:
        """Returns the number of the last change, how much is done, and the total.

        Raises:
            ModeError: this is a plain function in a worker without shared memory.
        """
        return _read(self._core.ask("state"))

    async def state_async(self) -> tuple[int, int, int | None]:
        """Returns the same, wherever it is awaited."""
        return _read(await self._core.ask_async("state"))

    def get(self) -> int:
        """Returns how much is done.

        Raises:
            ModeError: this is a plain function in a worker without shared memory: ``get_async``.
        """
        return self.state()[1]

    async def get_async(self) -> int:
        """Returns how much is done, wherever it is awaited."""
        return (await self.state_async())[1]

    @property
    def total(self) -> int | None:
        """How much there is to do; None: not known."""
        return self.state()[2]

    @property
    def percent(self) -> float | None:
        """How much of the total is done, 0 to 100; None: the total is not known."""
        _, done, total = self.state()
        return percent(done, total)

    def wait_changed(self, known: int, timeout: float | None) -> tuple[int, int, int | None]:
        """Blocks until there was another change.

        Args:
            known: number of the last change that is known.
            timeout: seconds; None means for ever.

        Returns:
            The number of the last change, how much is done, and the total.
        """
        core = self._core
        if isinstance(core, SharedCore):
            core = self._watcher(known)
            core.attempt(0) or core.wait(timeout)
        elif isinstance(core, LocalCore):
            primitive: Any = core.primitive
            hub = hub_for(self._mode)
            end = primitive.follow(hub.look_again)
            try:
                if primitive.changes == known:
                    hub.wait(lambda: primitive.changes != known, timeout)
            finally:
                end()
        else:
            return _read(core.ask("changed", known))
        return self.state()

    async def wait_changed_async(self, known: int) -> tuple[int, int, int | None]:
        """Like ``wait_changed``, without blocking."""
        core = self._core
        if isinstance(core, SharedCore):
            core = self._watcher(known)
            core.attempt(0) or await core.wait_async(None)
            return self.state()
        if isinstance(core, LocalCore):
            primitive: Any = core.primitive
            return _read(await primitive.changed(0, known))
        return _read(await core.ask_async("changed", known))

    def _watcher(self, known: int) -> SharedCore:
        """Returns a core of its own for a wait: what each waits for is its own matter."""
        store = stores[self._mode]
        assert isinstance(store, ArenaStore)
        hub = hub_for("shared") if current_worker() is None else None
        core = SharedCore(store.arena, self._KIND, self._block.id, hub)  # type: ignore[arg-type]
        core.ask("expect", known)
        return core

    def subscribe(self, callback: Callable[[int, int | None], object]) -> Callable[[], None]:
        """Has a function called with how much is done, and the total, now and after changes.

        What changes faster than it is called, it is called with the last of. It is called by the
        event loop: while plain code runs here, or blocks, it is not.

        Returns:
            What ends it.

        Raises:
            RuntimeError: no event loop runs here.
        """
        return self.subscriptions.begin(self._follow(callback))

    async def _follow(self, callback: Callable[[int, int | None], object]) -> None:
        known, done, total = await self.state_async()
        while True:
            callback(done, total)
            known, done, total = await self.wait_changed_async(known)

    def _describe(self) -> str:
        _, done, total = self.state()
        return f"{done} of {'an unknown total' if total is None else total}"


def _checked_total(total: SupportsIndex | None) -> int:
    number = -1 if total is None else operator.index(total)
    if total is not None and number < 0:
        raise ValueError(f"a total cannot be negative: {number}")
    return number


def _read(state: list[Any]) -> tuple[int, int, int | None]:
    changes, done, total = state
    return int(changes), int(done), None if total == -1 else int(total)


def percent(done: int, total: int | None) -> float | None:
    """Returns how much of a total is done, 0 to 100; None: the total is not known."""
    if total is None:
        return None
    return min(max(100 * done / total, 0.0), 100.0) if total else 100.0
