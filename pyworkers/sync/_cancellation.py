"""SharedCancellation: asks all who were given it to stop, wherever they run.

Owns what its users see, and how a worker without shared memory hears of it: it asks its hub once to
be told, and a plain function takes the answer in when it looks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final, Self
from weakref import WeakValueDictionary, finalize, ref

from pyworkers import _js
from pyworkers._env import Mode
from pyworkers._futures import Future
from pyworkers._worker import Worker, current_worker
from pyworkers.errors import ModeError, TaskCancelled
from pyworkers.sync._hosted import HostedCore
from pyworkers.sync._primitive import Awaited
from pyworkers.sync._shared import Shown, Subscriptions


class _Heard:
    """What a worker has heard of a token of its hub.

    Args:
        core: of the token.
        is_cancelled: whether it was when it was sent here.
    """

    def __init__(self, core: HostedCore, is_cancelled: bool) -> None:
        self.is_cancelled = is_cancelled
        if not is_cancelled:
            answer = core.asked("changed", 0)
            answer.add_done_callback(partial(_tell, ref(self)))
            finalize(self, answer.cancel).atexit = False


def _tell(heard: "ref[_Heard]", answer: Future[Any]) -> None:
    one = heard()
    if one is not None and not answer.cancelled() and answer.exception() is None:
        one.is_cancelled = True


_heard: Final[WeakValueDictionary[int, _Heard]] = WeakValueDictionary()


class CancellationToken(Awaited):
    """What a task needs of a SharedCancellation: to see whether it is to stop."""

    __slots__ = ("_heard", "_put", "subscriptions")
    _KIND: ClassVar = "SharedFlag"
    _BYTES: ClassVar = 16

    def _set_up(self) -> None:
        super()._set_up()
        self._put = self._core.teller("put")
        self.subscriptions = Subscriptions()
        self._heard = _heard.get(self._block.id) if isinstance(self._core, HostedCore) else None

    def _create_from(self, worker: Worker, mode: Mode | None, beyond: int) -> None:
        super()._create_from(worker, mode, beyond)
        self._listen(False)

    def _listen(self, is_cancelled: bool) -> None:
        """Has a worker without shared memory hear of it; at first it is cancelled, or not."""
        if not isinstance(self._core, HostedCore):
            return
        heard = _heard.get(self._block.id)
        if heard is None:
            heard = _heard[self._block.id] = _Heard(self._core, is_cancelled)
        heard.is_cancelled |= is_cancelled
        self._heard = heard

    def is_cancelled(self) -> bool:
        """Says whether it is to stop.

        In mode transfer a plain function in a worker looks for messages when it asks, at most every
        10 ms, where the engine can switch stacks (``capabilities().jspi``) and in Node.
        """
        heard = self._heard
        if heard is None:
            return bool(self._attempt(0))
        worker = current_worker()
        if not heard.is_cancelled and worker is not None:
            worker.is_cancelled()  # lets messages in
            worker.messages.look()
        return heard.is_cancelled

    def raise_if_cancelled(self) -> None:
        """Raises TaskCancelled if it is to stop."""
        if self.is_cancelled():
            raise TaskCancelled("it was cancelled by its token")

    def subscribe(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Has the event loop call a function once, when it is to stop, or soon if it is.

        Returns:
            What ends it.

        Raises:
            RuntimeError: no event loop runs here.
        """
        return self.subscriptions.begin(self._follow(callback))

    async def _follow(self, callback: Callable[[], object]) -> None:
        if await self.wait_async():
            callback()

    def to_abort_signal(self) -> Any:
        """Returns a JavaScript AbortSignal that is aborted then, for ``fetch`` and others.

        Raises:
            ModeError: there is no JavaScript here.
            RuntimeError: no event loop runs here.
        """
        if not _js.IN_PYODIDE:
            raise ModeError("an AbortSignal is for JavaScript, and there is none here")
        controller = _js.abort_controller()
        if self.is_cancelled():
            controller.abort()
        else:
            self.subscribe(controller.abort)
        return controller.signal

    def reduced(self) -> tuple[Any, ...]:
        # A worker without shared memory has to know it at once.
        told = self.is_cancelled() if self._mode == "transfer" else False
        return _attach_token, (type(self), self._mode, self._block.id, told)

    @classmethod
    def _told(cls, mode: Mode, id: int, is_cancelled: bool) -> Self:
        token = cls._attached(mode, id)
        token._listen(is_cancelled)
        return token

    def _describe(self) -> str:
        return "cancelled" if self.is_cancelled() else "not cancelled"


class SharedCancellation(CancellationToken, Shown):
    """Asks all who were given it to stop: tasks, hub and page.

    Args:
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ()
    _TWIN: ClassVar = "Cancellation"

    def cancel(self) -> None:
        """Asks them, for good."""
        self._put(1)
        if self._heard is not None:
            self._heard.is_cancelled = True

    def token(self) -> CancellationToken:
        """Returns what can be given to tasks that shall see it, and not ask others to stop."""
        return self.sharing(CancellationToken)


def _attach_token(
    kind: type[CancellationToken], mode: Mode, id: int, is_cancelled: bool
) -> CancellationToken:
    return kind._told(mode, id, is_cancelled)
