"""How messages between interpreters are written: as pickles.

Knows nothing of who sends them, nor of frames.
"""

from typing import Any

from pyworkers import _codec
from pyworkers._codec import Encoded
from pyworkers._results import described, remote_error


class Pickled:
    """The half of a ``Side`` that hub and workers have in common."""

    def encode(self, value: Any, lasts: bool = False) -> Encoded:
        """Pickles a value; what its owner may change is copied if it ``lasts``.

        Raises:
            PayloadError: it cannot be pickled.
        """
        data, buffers, handles = _codec.encode(value)
        if lasts:
            buffers = [memoryview(_copied(part)) for part in buffers]
        return data, buffers, handles

    def describe(self, error: BaseException) -> Any:
        """Returns what ``restore`` makes the same exception of, elsewhere."""
        return described(error)[0]

    def restore(self, value: Any) -> BaseException:
        """Makes an exception of what ``describe`` told of it."""
        return remote_error(value)


def _copied(part: memoryview) -> bytes | bytearray:
    return bytes(part) if part.readonly else bytearray(part)
