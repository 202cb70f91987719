"""A pool's fork: the memory of an interpreter that was set up once, from which workers start.

Owns what has become of it, as the hub knows. It is made on a thread of its own, by
``_forking.py`` and ``fork.mjs``, once workers are there that started in the plain way; and it is
kept by the broker, under the number of that thread. Whoever starts before it is ready, or if there
never is one, does what workers do otherwise.

The thread is a peer of the hub that says nothing but what its set-up prints. When it ends, its
obituary tells what it has left, as JSON, or else why it has left nothing.
"""

import json
import logging
import pickle
import time
from collections.abc import Callable
from typing import Final, Literal

from pyworkers._boot_report import Measured
from pyworkers._codec import Encoded
from pyworkers._hub import Hub
from pyworkers._protocol import Frame, Kind
from pyworkers._statistics import ForkReport

_PATIENCE_SECONDS: Final = 120.0
"""So long a set-up may take."""

_logger: Final = logging.getLogger("pyworkers")


class Fork:
    """What further workers of a pool start from.

    Args:
        hub: where workers come from.
        name: of the pool, for people.
        setup: the encoded SETUP of each worker.
        on_output: gets the frames of what the set-up prints.
    """

    def __init__(
        self, hub: Hub, name: str, setup: Encoded, on_output: Callable[[Frame], None]
    ) -> None:
        self.maker: int | None = None
        """The number under which the broker keeps it, if it is there."""
        self._state: Literal["waiting", "making", "ready", "refused"] = "waiting"
        self._reason = ""
        self._bytes = 0
        self._seconds = 0.0
        self._workers = 0
        self._began = 0.0
        self._hub = hub
        self._name = name
        self._setup = setup
        self._on_output = on_output

    def report(self) -> ForkReport:
        """Returns what has become of it so far."""
        return ForkReport(self._state, self._reason, self._bytes, self._seconds, self._workers)

    def begin(self) -> None:
        """Has it made, if that was not done before."""
        if self._state != "waiting":
            return
        if self._setup[2]:
            self._refuse("the set-up refers to what the pool keeps")
            return
        environment = self._hub.environment
        assert environment is not None
        frames = [
            (data, [bytes(part) for part in buffers])
            for data, buffers, _ in (environment.whole(), self._setup)
        ]
        setup = pickle.dumps((self._hub.mode, *frames), 5)
        self._state = "making"
        self._began = time.monotonic()
        self.maker = self._hub.spawn(self, self._name, setup=setup)
        self._hub.remind(self._began + _PATIENCE_SECONDS)

    def end(self) -> None:
        """Drops it: no worker will be started any more, or none from it."""
        if self.maker is not None:
            maker, self.maker = self.maker, None
            self._hub.terminate(maker, is_idle=False)

    def worker_ready(self, measured: Measured) -> None:
        """A worker got ready, and told how it had started."""
        phases, _, unforked = measured
        self._workers += any(name == "fork" for name, _ in phases)
        if unforked and self._state == "ready":
            self._refuse(unforked)

    def handle(self, frame: Frame) -> None:
        if frame.kind == Kind.OUTPUT:
            self._on_output(frame)
            return
        text = str(frame.payload, "utf-8", "replace")
        if frame.kind == Kind.LOST and text.startswith("{"):
            self._state = "ready"
            self._bytes = json.loads(text)["bytes"]
            self._seconds = time.monotonic() - self._began
        else:
            self._refuse(text)

    def dispatch(self) -> None:
        pass

    def tick(self, now: float) -> float | None:
        if self._state != "making":
            return None
        due = self._began + _PATIENCE_SECONDS
        if due > now:
            return due
        self._refuse(f"the set-up was not done after {_PATIENCE_SECONDS:.0f} s")
        return None

    def _refuse(self, reason: str) -> None:
        self._state = "refused"
        self._reason = reason
        self.end()
        _logger.warning(
            "workers of %s do not start from what was set up before, but each is set up: %s",
            self._name,
            reason,
        )
