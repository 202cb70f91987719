"""One long-lived Node process that answers requests, one JSON line each.

Owns the process. What can be asked is the driver's business: a module beside this one.
"""

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).parent
SHIM = HERE.parents[1] / "js_shim"


def node() -> str:
    """Returns the path of Node, which the tests need as much as Python."""
    found = shutil.which("node")
    assert found, "Node is not on the PATH"
    return found


def stress(script: str, *amounts: int) -> Any:
    """Runs a script beside this module, with a seed behind its amounts; returns what it tells.

    The seed is that of ``PYWORKERS_SEED``, if there is one.
    """
    seed = int(os.environ.get("PYWORKERS_SEED", secrets.randbits(31)))
    print(f"seed {seed}")
    command = [node(), str(HERE / script), *map(str, amounts), str(seed)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=110)
    assert run.returncode == 0, run.stderr
    print(run.stdout)
    return json.loads(run.stdout)


class NodeError(Exception):
    """What a command threw.

    Args:
        name: of the JavaScript error.
        text: its message.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


class NodeHost:
    """A driver in its own process, ended with the ``with`` block.

    Args:
        driver: file name of a module that calls ``answer`` of ``json_lines.mjs``.
    """

    def __init__(self, driver: str) -> None:
        self._process = subprocess.Popen(
            [node(), str(HERE / driver)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, command: str, **fields: Any) -> Any:
        """Returns what a command of the driver returns for these fields.

        Raises:
            NodeError: the command threw.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **fields}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the driver ended during {command}"
        answer = json.loads(line)
        if "error" in answer:
            raise NodeError(**answer["error"])
        return answer.get("value")
