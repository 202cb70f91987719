"""What workers print, printed here: each line behind the number of its worker.

Knows nothing of how the text came.
"""

import sys
from collections.abc import Callable
from typing import Final

Output = Callable[[int, str, str], object]
"""Gets a worker's number, "stdout" or "stderr", and text."""


class Printer:
    """Prints text as it comes; a worker that was in the middle of a line is given a new one."""

    def __init__(self) -> None:
        self._speaking: dict[str, int] = {}

    def __call__(self, worker: int, stream: str, text: str) -> None:
        target = sys.stderr if stream == "stderr" else sys.stdout
        for line in text.splitlines(keepends=True):
            speaking = self._speaking.pop(stream, None)
            if speaking != worker:
                target.write("" if speaking is None else "\n")
                target.write(f"[worker {worker}] ")
            target.write(line)
            if not line.endswith("\n"):
                self._speaking[stream] = worker
        target.flush()


print_output: Final = Printer()
