"""All orders in which threads can take the steps of primitives in shared memory."""

import json
import subprocess

import pytest

from tests.unit.node_host import HERE, node


@pytest.mark.timeout(240)
def test_no_order_of_steps_breaks_a_primitive() -> None:
    """A-04 X-05: exclusion, no wake-up lost, notify exact, also where waits and workers end."""
    command = [node(), str(HERE / "sync_model.mjs")]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=230)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    print(run.stdout)
    assert report
    assert all(found["states"] > 20 for found in report.values()), report
