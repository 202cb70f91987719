"""What Linux tells of processes: their memory and processor time. A process is its folder."""

import multiprocessing
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_BROWSERS: Final = {"chromium", "chrome", "headless_shell", "chrome-headless-shell"}
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def browser_processes() -> list[Path]:
    """Returns all browser processes that this program started.

    Raises:
        RuntimeError: there is none.
    """
    parents: dict[int, int] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (fields := _stat(folder)):
            parents[int(folder.name)] = int(fields[1])
    found = [_PROC / str(pid) for pid in parents if _is_ours(pid, parents)]
    browsers = [folder for folder in found if _program(folder) in _BROWSERS]
    if not browsers:
        raise RuntimeError("no browser process was found in /proc")
    return browsers


def _is_ours(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def _stat(folder: Path) -> list[str]:
    """Returns the fields of a process behind its name; none if it has ended."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _program(folder: Path) -> str:
    try:
        return (folder / "exe").readlink().name
    except OSError:
        return ""


def python_processes() -> list[Path]:
    """Returns the processes of this program's process pools."""
    return [_PROC / str(child.pid) for child in multiprocessing.active_children()]


def cpu_seconds(processes: Iterable[Path]) -> float:
    """Returns the processor time that processes have used so far."""
    return sum(sum(map(int, _stat(folder)[11:13])) for folder in processes) / _TICKS


def pss_mib(processes: Iterable[Path]) -> float:
    """Returns the memory of processes, each shared page divided among its users."""
    return sum(map(_pss_kib, processes)) / 1024


def _pss_kib(folder: Path) -> int:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
