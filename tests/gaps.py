"""What is not to be had in some engines or modes: why tests are skipped there.

Owns the one table of these gaps, from which docs/compatibility.md takes its footnotes. Whether a
gap is in a hub is tried out, or known from its mode; no browser is asked for its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pytest

from tests.hubs import Hub, NodeHub, PageHub

SKIPPED: Final = "gap: "
"""What the reasons of such skips begin with; the name of the gap follows."""


CAN_HEAR: Final = """
found = capabilities()
return found.jspi or found.node
"""


@dataclass(frozen=True)
class Gap:
    """Something that does not work somewhere, and is meant not to.

    Attributes:
        reason: one or two sentences for users.
        is_in: whether it is in a hub.
    """

    reason: str
    is_in: Callable[[Hub], bool]


GAPS: Final = {
    "interrupt": Gap(
        "Functions that run are interrupted only where memory is shared. Elsewhere they look for "
        "their end themselves, or are ended with their worker.",
        lambda hub: hub.mode != "shared",
    ),
    "memory": Gap(
        "Without shared memory there is nothing that could be shared, freed or full.",
        lambda hub: hub.mode != "shared",
    ),
    "block": Gap(
        "Natively, a thread can block only where memory is shared. Elsewhere it does so by "
        "switching stacks, where the engine can, or is told to await.",
        lambda hub: not hub.can_block,
    ),
    "hear": Gap(
        "Without shared memory, a plain function that runs hears of others only by switching "
        "stacks, where the engine can. A coroutine hears of them wherever it awaits.",
        lambda hub: hub.mode != "shared" and not hub.run(CAN_HEAR),
    ),
    "loop": Gap(
        "The engine does not end a loop in WebAssembly, so a worker that is killed there goes on "
        "until the page is closed, though nothing waits for it: see "
        "[the trap](traps/webkit-loop.md).",
        lambda hub: not hub.ends_loops(),
    ),
    "fetch": Gap(
        "Python never hears of a fetch that failed, so a worker whose packages cannot be reached "
        "is given up only after the time that a start may take: see "
        "[the trap](traps/webkit-fetch.md).",
        lambda hub: not hub.hears_of_failed_fetches(),
    ),
    "page": Gap("Node has no pages.", lambda hub: not isinstance(hub, PageHub)),
    "same-engine": Gap(
        "Not measured in Node, whose engine is Chromium's: the heaps of one tell enough.",
        lambda hub: isinstance(hub, NodeHub),
    ),
}


def skip_if(name: str, hub: Hub) -> None:
    """Skips the test that runs if a gap is in its hub."""
    if GAPS[name].is_in(hub):
        pytest.skip(f"{SKIPPED}{name}")
