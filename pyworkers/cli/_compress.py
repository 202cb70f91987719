"""Compressed copies (.gz, .br) of a site's files, for hosts that serve them in place of the files.

Large files hardly ever change but take brotli many seconds, so their copies are cached. Knows
nothing of what the files are.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import brotli

from ._common import cached

_SUFFIXES: Final = {".js", ".mjs", ".wasm", ".json", ".html", ".css", ".py", ".zip", ".memory"}
_WORTHWHILE: Final = 1024  # bytes; what is smaller fits into one packet anyway
_CACHED_FROM: Final = 1 << 20  # bytes
# Bytes between two looks at signals and the progress. Flushing there costs nothing: Pyodide's
# WebAssembly file even comes out 1.6 % smaller than in one piece.
_CHUNK: Final = 1 << 19


def add_copies(files: Iterable[Path], tell: Callable[[int, int], None]) -> None:
    """Write `name.gz` and `name.br` beside those files that get smaller by it.

    `tell` is called with how many bytes of the files are done, and how many there are.
    """
    worthwhile = [
        path for path in files if path.suffix in _SUFFIXES and path.stat().st_size > _WORTHWHILE
    ]
    total = sum(path.stat().st_size for path in worthwhile)
    done = 0
    for path in worthwhile:
        data = path.read_bytes()
        advance = partial(_tell_part, tell, done, total)
        for kind, copy in _copies(data, advance).items():
            if len(copy) < len(data):
                path.with_name(f"{path.name}.{kind}").write_bytes(copy)
        done += len(data)
        tell(done, total)


def _tell_part(tell: Callable[[int, int], None], start: int, total: int, part: int) -> None:
    tell(start + part, total)


def _copies(data: bytes, advance: Callable[[int], None]) -> dict[str, bytes]:
    """Both compressed forms by their suffix; `advance` gets how many bytes are done."""
    if len(data) < _CACHED_FROM:
        return {"gz": _gzip(data), "br": _brotli(data, advance)}
    name = f"compressed/{hashlib.sha256(data).hexdigest()[:32]}"
    folder = cached(name, partial(_fill, data, advance))
    return {kind: (folder / kind).read_bytes() for kind in ("gz", "br")}


def _fill(data: bytes, advance: Callable[[int], None], folder: Path) -> None:
    (folder / "gz").write_bytes(_gzip(data))
    (folder / "br").write_bytes(_brotli(data, advance))


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _brotli(data: bytes, advance: Callable[[int], None]) -> bytes:
    compressor = brotli.Compressor(quality=11)
    pieces: list[bytes] = []
    for start in range(0, len(data), _CHUNK):
        advance(start)
        pieces += compressor.process(data[start : start + _CHUNK]), compressor.flush()
    return b"".join((*pieces, compressor.finish()))
