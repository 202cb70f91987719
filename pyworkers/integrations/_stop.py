"""Stopping a cell that runs in a notebook of the browser.

Owns what a request to stop means for the cell, and the HTML that sends one: JupyterLite's own stop
button takes back only cells that wait for their turn. Knows nothing of pools: a wait that is
interrupted cancels what it waits for.
"""

import asyncio
import json
import secrets
import signal
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from pyworkers import _js

_COMMAND: Final = "notebook:interrupt-kernel"
"""What the button of the toolbar, the entry of the kernel's menu and the keys ``I I`` execute."""


class Stop:
    """Hears requests to stop, and interrupts the cell that runs.

    Args:
        code: of the function below which cells run.
    """

    def __init__(self, code: CodeType) -> None:
        self._code = code
        self._name = f"pyworkers-stop-{secrets.token_hex(16)}"
        self._task: asyncio.Task[Any] | None = None
        self._runs = False
        self._signal: Callable[[], object] = _js.listen_for_stop(self._name, self.stop)
        signal.signal(signal.SIGINT, self._on_signal)

    def begin(self, _: object = None) -> None:
        """Notes that a cell begins."""
        self._runs = True
        try:
            self._task = asyncio.current_task()
        except RuntimeError:
            self._task = None

    def end(self, _: object = None) -> None:
        """Notes that it ended."""
        self._runs = False
        self._task = None

    def stop(self) -> None:
        """Interrupts the cell, whose own code does not run at this moment."""
        if not self._runs or _js.interrupt_wait():
            return
        task = self._task
        if task is not None and getattr(task, "_fut_waiter", None) is not None:
            task.cancel()
        else:
            # It switched stacks by itself, and goes on before long.
            self._signal()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code is self._code and not _js.interrupt_wait():
                raise KeyboardInterrupt
            frame = frame.f_back
        self.stop()

    def button(self) -> str:
        """Returns the HTML of a button that stops the cell."""
        return f"<button type='button' onclick='{self._send()}'>Stop</button>"

    def hook(self) -> str:
        """Returns HTML by which the stop button of the notebook that shows it stops cells too.

        Where the site lets scripts reach the application, whatever executes that command does.
        """
        mark = f"{self._name}-hook"
        script = (
            "{"
            f"const command = {json.dumps(_COMMAND)};"
            f"const notebook = () => document.getElementById({json.dumps(mark)})"
            '?.closest(".jp-NotebookPanel");'
            f"const send = () => {{ {self._send()} }};"
            "const app = globalThis.jupyterapp;"
            "if (app) app.commands.commandExecuted.connect((_, { id }) => {"
            "if (id === command && notebook()?.id === app.shell.currentWidget?.id) send();"
            "});"
            'else document.addEventListener("click", ({ target }) => {'
            'const button = target.closest?.("[data-command]");'
            "if (button?.dataset.command === command && notebook()?.contains(button)) send();"
            "}, true);"
            "}"
        )
        return f"<span id='{mark}'></span><script>{script}</script>"

    def _send(self) -> str:
        return f'new BroadcastChannel("{self._name}").postMessage(Date.now());'
