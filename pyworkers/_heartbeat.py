"""Whether workers live, judged by their signs of life; decisions without any I/O.

Owns the silence of one pool's workers. Knows nothing of frames: it says whom to ask, and is told
who answered.

A worker that runs no function answers in its event loop. One that runs a function cannot; but where
it shares memory with its hub, a count there goes on as long as it runs Python. Silence is counted
from one look to the next, and only by looks that come in time: a hub that was blocked, or asleep
with its tab, could have heard nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pyworkers._protocol import WorkerState
from pyworkers._slots import WorkerSlot

DEFAULT_HEARTBEAT: Final = 5.0
"""Seconds."""

PATIENCE: Final = 3
"""So many heartbeats may an idle worker be silent where no other limit is given."""

_LATE: Final = 2
"""A look that comes after so many heartbeats says nothing about silence."""


@dataclass(slots=True)
class _Life:
    last_used: float | None = None
    count: int | None = None
    is_asked: bool = False
    is_told: bool = False
    """It was sent a message since it last answered."""
    is_told_late: bool = False
    """And that after it was asked."""
    silent: float = 0.0


class Look(NamedTuple):
    """What is to be done now.

    Attributes:
        ask: workers that are to be asked for a sign of life.
        lost: workers that gave none, and for how many seconds.
    """

    ask: list[int]
    lost: list[tuple[int, float]]


@dataclass(slots=True)
class Heartbeats:
    """The signs of life of one pool's workers.

    Args:
        every: seconds between two looks; None means that there are none.
        silence: seconds without a sign after which a worker is lost, at least two heartbeats. None
            means three heartbeats for idle workers, and never for those that run a task.
    """

    every: float | None = None
    silence: float | None = None
    _looked: float | None = None
    _lives: dict[int, _Life] = field(default_factory=dict)

    def heard(self, worker: int) -> None:
        """A worker has answered."""
        if (life := self._lives.get(worker)) is not None:
            life.is_told, life.is_told_late = life.is_told_late, False
            life.is_asked = False
            life.silent = 0.0

    def told(self, worker: int) -> None:
        """A worker was sent a message: its handler may take as long as a task."""
        if self.every is not None:
            life = self._lives.setdefault(worker, _Life())
            life.is_told = True
            life.is_told_late = life.is_asked

    def look(
        self, now: float, workers: Iterable[WorkerSlot], count: Callable[[int], int | None]
    ) -> Look:
        """Looks at all workers, if it is time.

        Args:
            now: seconds.
            workers: those of the pool.
            count: returns what a worker counts while it runs Python; None where it cannot tell.
        """
        ask: list[int] = []
        lost: list[tuple[int, float]] = []
        if self.every is None or (due := self.next_due()) is None or now < due:
            if self.every is not None and self._looked is None:
                self._looked = now
            return Look(ask, lost)
        assert self._looked is not None
        passed = now - self._looked
        self._looked = now
        lives: dict[int, _Life] = {}
        for slot in workers:
            life = lives[slot.number] = self._lives.get(slot.number) or _Life()
            if slot.state not in (WorkerState.IDLE, WorkerState.BUSY):
                continue
            counted = count(slot.number)
            is_seen = life.last_used != slot.last_used or life.count != counted
            life.last_used, life.count = slot.last_used, counted
            if is_seen or passed > _LATE * self.every:
                life.silent = 0.0
            elif life.is_asked or slot.held:
                life.silent += passed
            limit = self._limit(life, slot, counted)
            if limit is not None and life.silent >= limit:
                lost.append((slot.number, life.silent))
            elif not slot.held and not life.is_asked:
                life.is_asked = True
                ask.append(slot.number)
        self._lives = lives
        return Look(ask, lost)

    def _limit(self, life: _Life, slot: WorkerSlot, counted: int | None) -> float | None:
        if slot.state is WorkerState.IDLE and not life.is_told:
            assert self.every is not None
            return self.silence or PATIENCE * self.every
        return None if counted is None else self.silence

    def next_due(self) -> float | None:
        """Returns when to look again; None if never, or nobody has looked yet."""
        if self.every is None or self._looked is None:
            return None
        return self._looked + self.every
