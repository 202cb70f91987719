"""The features that behaviour tests prove, by the ids that begin their docstrings."""

import re
from typing import Final

FEATURES: Final = {
    "A-01": "Capabilities are detected",
    "A-02": "Pools of workers",
    "A-03": "Memory that all workers share",
    "A-04": "Locks, semaphores and events",
    "A-05": "Every task has one result",
    "A-06": "Priorities",
    "A-07": "What is malformed harms nobody",
    "A-08": "Timeouts, and starts that fail",
    "B-01": "Requests with timeouts, progress and retries",
    "B-02": "Named channels",
    "B-03": "Cancelling of what waits",
    "B-04": "Workers are replaced, pools end",
    "B-05": "Workers that died or hang are noticed",
    "B-06": "Mode inline",
    "B-12": "Shared progress",
    "B-13": "Shared cancellation",
    "B-14": "Shared counters and flags",
    "B-15": "Keys and values in step by messages",
    "B-16": "Pairs for an owner and its tasks",
    "B-17": "Batches, rates, compression",
    "B-18": "Reserves, affinity, circuit breakers",
    "C-01": "States of workers",
    "C-02": "Capabilities of workers",
    "C-03": "Limits of workers, retries",
    "C-04": "Pools that grow and shrink",
    "C-05": "What is told of a task",
    "C-06": "Policies",
    "C-07": "Delays, deadlines, preemption",
    "C-08": "Messages between a pool and its tasks",
    "C-09": "Heartbeats",
    "C-10": "Statistics",
    "C-15": "Groups of tasks",
    "D-02": "Large arrays without copies",
    "D-09": "Tasks of lost workers run again",
    "D-10": "Output of workers",
    "E-01": "One script tag",
    "E-02": "JavaScript modules",
    "E-03": "Blocking by stack switching",
    "E-04": "Blocking natively",
    "E-08": "Packages in workers",
    "X-01": "concurrent.futures",
    "X-02": "Tasks that run are cancelled",
    "X-03": "Start from a snapshot",
    "X-04": "Objects that are kept",
    "X-05": "What multiprocessing shares and waits for",
    "X-06": "Coroutines in workers",
    "X-07": "The caller's modules and functions",
}

_IDS = re.compile(r"(?:[A-EX]-\d\d )*[A-EX]-\d\d")


def features_of(docstring: str | None) -> list[str]:
    """Returns the ids that a test's docstring begins with."""
    found = _IDS.match(docstring or "")
    return found[0].split() if found else []
