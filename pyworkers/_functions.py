"""The functions that a pool was given, and what is known of calls of them.

Owns the number under which each function is sent and named, how long its tasks take, and the
calls of pure functions whose futures answer equal ones. Knows nothing of workers.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from pyworkers import _codec
from pyworkers._codec import Encoded
from pyworkers._env import Mode
from pyworkers._futures import Future
from pyworkers._makings import are_same, makings
from pyworkers._store import check_mode
from pyworkers.errors import PayloadError

CACHED_CALLS: Final = 256
"""So many results of pure functions are remembered; those not asked for longest are forgotten."""

KEPT_FUNCTIONS: Final = 256
"""So many functions that were pickled by value are kept at least, those that were called last."""

_SMOOTHING: Final = 0.2
"""Weight of the newest run in the average of what a function takes."""


class Functions:
    """The functions of one pool, each with a number.

    Args:
        mode: of the pool; what functions refer to must be of use in it.
    """

    def __init__(self, mode: Mode) -> None:
        self.encoded: dict[int, Encoded] = {}
        self.names: dict[int, str] = {}
        self.seconds: dict[int, float] = {}
        """How long a task of a function takes, on average; without those that were never run."""
        self._mode = mode
        self._last = 0
        self._digests: dict[bytes, int] = {}
        self._by_value: dict[int, bytes] = {}
        """Digests, by the numbers of functions; those that were called last are last."""
        self._most = 2 * KEPT_FUNCTIONS
        self._importable: dict[Callable[..., Any], int] = {}
        self._unchanged: WeakKeyDictionary[Callable[..., Any], tuple[list[object], int]] = (
            WeakKeyDictionary()
        )
        """By value, what they were made of when they were pickled."""

    def register(self, function: Callable[..., Any]) -> int:
        """Returns the number of a function.

        Raises:
            PayloadError: it cannot be pickled, or refers to what the mode does not have.
        """
        try:
            return self._importable[function]
        except (KeyError, TypeError):  # not seen yet, or a callable without a hash
            pass
        made_of = makings(function)
        if made_of is not None:
            known = self._unchanged.get(function)
            if known is not None and known[1] in self.encoded and are_same(known[0], made_of):
                self._by_value[known[1]] = self._by_value.pop(known[1])
                return known[1]
        encoded = _codec.encode_function(function)
        check_mode(self._mode, encoded[2])
        digest = hashlib.blake2b(encoded[0], digest_size=16).digest()
        id = self._digests.get(digest, 0)
        if not id:
            self._last += 1
            id = self._digests[digest] = self._last
            self.encoded[id] = encoded
            self.names[id] = getattr(function, "__qualname__", type(function).__qualname__)
        if _codec.is_importable(function):
            self._importable[function] = id
            return id
        self._by_value.pop(id, None)
        self._by_value[id] = digest
        if made_of is not None:
            self._unchanged[function] = made_of, id
        return id

    @property
    def is_crowded(self) -> bool:
        """Whether there are many functions that may be forgotten."""
        return len(self._by_value) > self._most

    def forget(self, used: Container[int]) -> list[int]:
        """Forgets functions that were not called for long, and returns their numbers.

        Args:
            used: the numbers of those that are needed.
        """
        old = list(self._by_value)[:-KEPT_FUNCTIONS]
        forgotten = [id for id in old if id not in used]
        for id in forgotten:
            del self._digests[self._by_value.pop(id)], self.encoded[id], self.names[id]
            self.seconds.pop(id, None)
        self._most = 2 * max(KEPT_FUNCTIONS, len(self._by_value))
        return forgotten

    def took(self, id: int, seconds: float) -> None:
        """A task of a function ran so long."""
        known = self.seconds.get(id, seconds)
        self.seconds[id] = known + _SMOOTHING * (seconds - known)


class PureCalls:
    """The futures that answer calls equal to theirs."""

    def __init__(self) -> None:
        self._futures: OrderedDict[tuple[bytes, bool], Future[Any]] = OrderedDict()

    def find(self, call: Encoded, keep: bool) -> Future[Any] | None:
        """Returns the future of an equal call; None if there was none, or it failed."""
        key = _key(call, keep)
        known = self._futures.get(key)
        if known is None:
            return None
        if known.done() and (known.cancelled() or known.exception(0) is not None):
            return None
        self._futures.move_to_end(key)
        return known

    def remember(self, call: Encoded, keep: bool, future: Future[Any]) -> None:
        """Has a future answer equal calls."""
        key = _key(call, keep)
        self._futures[key] = future
        self._futures.move_to_end(key)
        if len(self._futures) > CACHED_CALLS:
            self._futures.popitem(last=False)


def _key(call: Encoded, keep: bool) -> tuple[bytes, bool]:
    digest = hashlib.blake2b(call[0], digest_size=32)
    for part in call[1]:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest(), keep


def encode_call(
    function: Callable[..., Any], id: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Encoded:
    """Encodes a call of a function.

    Args:
        function: that is called.
        id: its number.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        PayloadError: an argument cannot be pickled; the message names it.
    """
    try:
        return _codec.encode_call(id, args, kwargs)
    except PayloadError as error:
        named = {f"argument {i + 1}": value for i, value in enumerate(args)}
        named |= {f"argument {name!r}": value for name, value in kwargs.items()}
        name = getattr(function, "__qualname__", repr(function))
        for which, value in named.items():
            try:
                _codec.encode(value)
            except PayloadError as cause:
                what = f"{which} of {name}, {_codec.shortened(value)},"
                raise PayloadError(f"{what} cannot be sent to a worker: {cause}") from cause
        raise PayloadError(f"the arguments of {name} cannot be sent to a worker: {error}") from None
