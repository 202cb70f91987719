"""What a pool is made with: which values make sense, and what comes of them.

Owns the checks and defaults of the arguments of ``WorkerPool``, where they are described, and the
making of an engine. Knows nothing of tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from pyworkers import _codec
from pyworkers._backoff import Restarts
from pyworkers._breaker import CircuitBreaker
from pyworkers._codec import Encoded, Handle
from pyworkers._engine import Engine
from pyworkers._env import Mode, capabilities, choose_mode, module_source
from pyworkers._heartbeat import Heartbeats
from pyworkers._hub import Hub
from pyworkers._output import Output, print_output
from pyworkers._policies import Policy, as_policy, places
from pyworkers._preparation import Setup
from pyworkers._scaling import Scaler, Scaling
from pyworkers._scheduler import Scheduler
from pyworkers._standby import default_standby
from pyworkers._store import check_mode


@dataclass(slots=True, kw_only=True)
class PoolOptions:
    """The arguments of ``WorkerPool``, as it was given them.

    Raises:
        ValueError: one is out of its range.
        TypeError: ``breaker`` or ``scaling`` is none.
    """

    max_workers: int | None
    packages: Sequence[str]
    modules: Sequence[str]
    files: Mapping[str, bytes | str] | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    mode: Mode | None
    standby: int | None
    on_output: Output | None
    grace: float
    max_tasks_per_child: int | None
    max_failures_per_child: int | None
    heap_limit: int | None
    on_worker_lost: Literal["replace", "shrink", "break"]
    heartbeat: float | None
    silence: float | None
    breaker: CircuitBreaker | None
    policy: str | Policy
    capabilities: Mapping[str, int] | None
    max_pending: int | None
    min_workers: int
    idle_timeout: float | None
    worker_lifetime: float | None
    fork: bool
    scaling: Scaling | None

    def __post_init__(self) -> None:
        most = self._most_workers()
        if most < 1:
            raise ValueError(f"max_workers must be at least 1, not {most}")
        if self.standby is not None and self.standby < 0:
            raise ValueError(f"standby must be 0 or more, not {self.standby}")
        if not 0 <= self.min_workers <= most:
            raise ValueError(f"min_workers must be 0 to {most}, not {self.min_workers}")
        for name in ("idle_timeout", "worker_lifetime", "heartbeat"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {seconds}")
        for name in ("max_pending", "max_tasks_per_child", "max_failures_per_child", "heap_limit"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        if self.silence is not None and (
            self.heartbeat is None or not self.silence >= 2 * self.heartbeat
        ):
            raise ValueError(f"silence must be at least two heartbeats, not {self.silence}")
        check_breaker(self.breaker)
        if self.scaling is not None and not isinstance(self.scaling, Scaling):
            raise TypeError(f"scaling must be a Scaling or None, not {self.scaling!r}")
        if isinstance(self.packages, str) or isinstance(self.modules, str):
            raise ValueError("packages and modules each take a list of names, not a string")
        if not self.grace >= 0:
            raise ValueError(f"grace must be 0 seconds or more, not {self.grace}")
        if self.on_worker_lost not in ("replace", "shrink", "break"):
            raise ValueError(
                'on_worker_lost must be "replace", "shrink" or "break", '
                f"not {self.on_worker_lost!r}"
            )

    def _most_workers(self) -> int:
        if self.max_workers is None:
            return capabilities().default_workers
        return self.max_workers

    def chosen_mode(self) -> Mode:
        """Returns the mode of the pool.

        Raises:
            ValueError: there is no such mode.
            ModeError: it does not work here.
        """
        return choose_mode(self.mode)

    def places(self, mode: Mode) -> list[frozenset[str]]:
        """Returns what each of the workers that there may be can do.

        Raises:
            ValueError: a capability has no workers, or more than there may be.
        """
        found = places(self.capabilities or {}, self._most_workers())
        return found[:1] if mode == "inline" else found

    def setup(self, mode: Mode) -> Encoded:
        """Returns what each worker is prepared with.

        Raises:
            ModuleNotFoundError: one of the modules has no source here.
            PayloadError: the initializer or its arguments cannot be pickled.
        """
        sources: dict[str, bytes] = {}
        for name in self.modules:
            sources |= module_source(name)
        is_inline = mode == "inline"
        setup: Setup = {
            "packages": list(self.packages),
            # In mode inline they are here already.
            "modules": {} if is_inline else sources,
            "files": {
                name: data.encode() if isinstance(data, str) else bytes(data)
                for name, data in (self.files or {}).items()
            },
            "initializer": None,
            "heap_limit": None if is_inline else self.heap_limit,
        }
        handles: tuple[Handle, ...] = ()
        if self.initializer is not None:
            function, _, handles = _codec.encode_function(self.initializer)
            setup["initializer"] = (function, self.initargs)
        data, buffers, inner = _codec.encode(setup)
        handles = (*handles, *inner)
        check_mode(mode, handles)
        return data, buffers, handles

    def _has_set_up(self) -> bool:
        return any((self.packages, self.modules, self.files, self.initializer))

    def engine(
        self, hub: Hub, name: str, setup: Encoded, workers: Sequence[frozenset[str]]
    ) -> Engine:
        """Makes what makes the pool go.

        Args:
            hub: of its mode.
            name: of the pool, for people.
            setup: as returned by ``setup``.
            workers: as returned by ``places``.
        """
        is_inline = hub.mode == "inline"
        standby = default_standby(capabilities().cores) if self.standby is None else self.standby
        scheduler = Scheduler(
            len(workers),
            can_take_back=hub.mode == "shared",
            max_tasks=self.max_tasks_per_child,
            max_failures=self.max_failures_per_child,
            restarts=Restarts(self.on_worker_lost != "shrink"),
            policy=as_policy(self.policy),
            places=workers if self.capabilities else (),
            scaler=Scaler(min(self.min_workers, len(workers)), self.idle_timeout, self.scaling),
            lifetime=self.worker_lifetime,
            chance=Random().random,
        )
        limits = self.max_tasks_per_child, self.max_failures_per_child, self.heap_limit
        return Engine(
            hub,
            name=name,
            scheduler=scheduler,
            setup=setup,
            on_output=self.on_output or print_output,
            grace=self.grace,
            breaks_on_loss=self.on_worker_lost == "break",
            standby=0 if is_inline else standby,
            heartbeats=Heartbeats(None if is_inline else self.heartbeat, self.silence),
            forks=self.fork and not is_inline and self._has_set_up(),
            wears_out=any(limits),
        )


def check_breaker(breaker: object) -> None:
    """Raises TypeError if something that should be one is no breaker; None is none, too."""
    if breaker is not None and not isinstance(breaker, CircuitBreaker):
        raise TypeError(f"breaker must be a CircuitBreaker or None, not {breaker!r}")
