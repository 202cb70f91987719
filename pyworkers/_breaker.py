"""Calls that are not made because calls like them have failed; decisions without any I/O.

Owns the circuit of each function: closed as long as its calls succeed now and then, open when too
many in a row have failed. Knows nothing of tasks; the time is handed in.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

from pyworkers.errors import CircuitOpen


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    opens: float | None = None
    """When the next call may be tried; None while the circuit is closed."""


@dataclass(slots=True, eq=False)
class CircuitBreaker:
    """Has calls of a function that keeps failing fail at once, with CircuitOpen.

    Each function of each pool is judged by itself. A call fails if its future has an exception,
    whatever it is, after all retries; one that is cancelled counts for nothing. Once ``seconds``
    have passed, one call is let through as a trial: if it succeeds, so are all others, and if it
    fails, it takes as long again until the next.

    Args:
        failures: so many in a row open the circuit.
        seconds: how long until the next trial.

    Raises:
        ValueError: failures is below 1, or seconds is not above 0.
    """

    failures: int = 5
    seconds: float = 30.0
    circuits: dict[Hashable, _Circuit] = field(default_factory=dict, init=False, repr=False)
    """Of functions whose last call failed; as long as there are none, nothing has to be noted."""

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"failures must be at least 1, not {self.failures}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be more than 0, not {self.seconds}")

    def enter(self, key: Hashable, name: str, now: float) -> bool:
        """Notes a call; for the engine.

        Args:
            key: stands for the function.
            name: of the function, for people.
            now: seconds of a clock that never goes back.

        Returns:
            Whether the call is a trial.

        Raises:
            CircuitOpen: it is not to be made.
        """
        circuit = self.circuits.get(key)
        if circuit is None or circuit.opens is None:
            return False
        if now < circuit.opens:
            raise CircuitOpen(name, circuit.opens - now)
        # Should nothing ever be heard of this trial, there is another one.
        circuit.opens = now + self.seconds
        return True

    def leave(self, key: Hashable, succeeded: bool | None, is_trial: bool, now: float) -> None:
        """Notes what became of a call; for the engine.

        Args:
            key: stands for the function.
            succeeded: whether it did; None if it was cancelled.
            is_trial: what ``enter`` returned.
            now: seconds of the same clock.
        """
        if succeeded:
            self.circuits.pop(key, None)
            return
        circuit = self.circuits.get(key)
        is_open = circuit is not None and circuit.opens is not None
        if circuit is None:
            circuit = _Circuit()
        if succeeded is None:
            if is_trial and is_open:
                circuit.opens = now
        elif is_open:
            if is_trial:  # else it was made before the circuit opened, and tells nothing new
                circuit.opens = now + self.seconds
        else:
            self.circuits[key] = circuit
            circuit.failures += 1
            if circuit.failures >= self.failures:
                circuit.opens = now + self.seconds
