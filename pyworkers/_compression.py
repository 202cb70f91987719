"""Payloads made smaller, for who is shorter of memory than of time.

Owns how. Knows nothing of where a payload is kept, nor of what it means.

By zlib, as it is there in all versions of Python that we run on, where zstd came with 3.14: so what
CPython tests is what a browser runs. At level 1, as higher ones take ten times as long for a tenth
less. In Node, a pickle of 60,000 dicts (2.2 MB) became a third in 57 ms, and came back in 49 ms.
"""

import zlib
from typing import Final

from pyworkers._codec import Encoded

_LEVEL: Final = 1

Packing = tuple[tuple[int, bool] | None, ...]
"""Of a pickle and each of its buffers: length and whether it is frozen, where it is compressed."""


def packed(encoded: Encoded) -> tuple[Encoded, Packing]:
    """Compresses the parts of a payload, as far as that makes them smaller."""
    data, buffers, handles = encoded
    parts: list[memoryview] = []
    packing: list[tuple[int, bool] | None] = []
    for part in (memoryview(data), *buffers):
        smaller = zlib.compress(part, _LEVEL)
        if len(smaller) < len(part):
            parts.append(memoryview(smaller))
            packing.append((len(part), part.readonly))
        else:
            parts.append(part)
            packing.append(None)
    return (bytes(parts[0]), parts[1:], handles), tuple(packing)


def unpacked(
    data: bytes | bytearray, buffers: list[bytes | bytearray], packing: Packing
) -> tuple[bytes | bytearray, list[bytes | bytearray]]:
    """Returns a pickle and its buffers as they were before ``packed``."""
    parts = [
        part if was is None else _inflated(part, *was)
        for part, was in zip((data, *buffers), packing, strict=True)
    ]
    return parts[0], parts[1:]


def _inflated(part: bytes | bytearray, length: int, frozen: bool) -> bytes | bytearray:
    whole = zlib.decompress(part, bufsize=length)
    return whole if frozen else bytearray(whole)
