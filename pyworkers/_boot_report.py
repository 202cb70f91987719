"""How long interpreters took to start, and how large what they are made of is.

Owns the report and what was measured so far: the shim measures, workers send theirs with READY.
Knows nothing of pools.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from pyworkers import _js

_MAX_WORKERS: Final = 1_000
"""Of so many workers, the newest ones, the start is remembered."""

Measured = tuple[list[tuple[str, float]], list[dict[str, Any]], str]
"""What an interpreter tells: milliseconds by phase, the files that it is made of, and why it was
not made of a fork that there was; empty if it was, or if there was none."""


@dataclass(frozen=True, slots=True)
class AssetReport:
    """A file that interpreters are made of, fetched once for all of them.

    Attributes:
        name: of the file.
        bytes: of its body as it travelled or was kept, compressed or not; None where the server
            does not say.
        milliseconds: from asking for it until it was ready for use: unpacked, or compiled.
    """

    name: str
    bytes: int | None
    milliseconds: float


@dataclass(frozen=True, slots=True)
class InterpreterReport:
    """How the start of one interpreter went.

    Attributes:
        name: "hub", or "worker" and its number.
        phases: names and milliseconds, in order. *assets* (a hub's only): all files are there;
            *loader*: Pyodide's scripts are imported; *instantiate*: the compiled core has its
            memory; *restore*, *start* or *fork*: that memory is a snapshot's, or Python has started
            plainly, or it is that of a worker which was set up; *archive*: pyworkers can be
            imported; *import*: it is; *setup* (a worker's only): from SETUP to READY, with packages
            and initializer.
        total: milliseconds. Of a worker, from asking for it until it was ready; it includes the
            birth of its thread, and waiting for assets and for the hub to look. Of a hub, the sum.
    """

    name: str
    phases: tuple[tuple[str, float], ...]
    total: float


@dataclass(frozen=True, slots=True)
class BootReport:
    """What ``boot_report`` found; as a string, two tables.

    Attributes:
        assets: the files; empty as long as no interpreter has told of them.
        interpreters: the hub, if pyworkers started it, and the workers that got ready.
    """

    assets: tuple[AssetReport, ...]
    interpreters: tuple[InterpreterReport, ...]

    def __str__(self) -> str:
        phases = dict.fromkeys(name for each in self.interpreters for name, _ in each.phases)
        started = [["ms", *phases, "total"]]
        for each in self.interpreters:
            took = dict(each.phases)
            cells = [f"{took[name]:.0f}" if name in took else "" for name in phases]
            started.append([each.name, *cells, f"{each.total:.0f}"])
        fetched = [["asset", "bytes", "ms"]]
        for asset in self.assets:
            size = "?" if asset.bytes is None else f"{asset.bytes:,}"
            fetched.append([asset.name, size, f"{asset.milliseconds:.0f}"])
        return f"{_table(started)}\n\n{_table(fetched)}"


def _table(rows: list[list[str]]) -> str:
    """Aligns the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    )


_assets: list[AssetReport] = []
_workers: deque[InterpreterReport] = deque(maxlen=_MAX_WORKERS)


def note_worker(number: int, measured: Measured, total: float) -> None:
    """Keeps what a worker told when it got ready.

    Args:
        number: of the worker.
        measured: what it told.
        total: milliseconds since it was asked for.
    """
    phases, files, _ = measured
    if not _assets:
        _assets.extend(_asset(file) for file in files)
    _workers.append(InterpreterReport(f"worker {number}", tuple(map(_phase, phases)), total))


def _asset(file: dict[str, Any]) -> AssetReport:
    return AssetReport(str(file["name"]), file["bytes"], float(file["milliseconds"]))


def _phase(phase: Any) -> tuple[str, float]:
    name, milliseconds = phase
    return str(name), float(milliseconds)


def boot_report() -> BootReport:
    """Returns how the start of this hub and of its workers went, in milliseconds and bytes.

    Print it to see a table. On CPython and in mode inline nothing is started, and it is empty.
    """
    own = _js.own_boot() if _js.IN_PYODIDE else None
    if own is None:
        return BootReport(tuple(_assets), tuple(_workers))
    phases, files, _ = own
    hub = InterpreterReport("hub", tuple(map(_phase, phases)), sum(ms for _, ms in phases))
    return BootReport(tuple(map(_asset, files)), (hub, *_workers))
