"""Plain numbers: percentiles, summaries, ratios. Knows nothing of browsers."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

BLOCK: Final = 16
"""So many calls in a row give one value of the median: a browser's clock has steps of 5 us, which
are too coarse for a single call."""


class Summary(NamedTuple):
    """What several rounds gave: their median and their extremes."""

    median: float
    low: float
    high: float


def summarise(samples: Sequence[float]) -> Summary:
    """Returns the summary of one value per round."""
    return Summary(statistics.median(samples), min(samples), max(samples))


def ratio(samples: Sequence[float], reference: Sequence[float]) -> float | None:
    """Returns the median of the quotients of rounds that took turns.

    Args:
        samples: one value per round.
        reference: the values of the same rounds that they are divided by.

    Returns:
        None where the reference is 0.
    """
    if 0 in reference:
        return None
    return statistics.median(a / b for a, b in zip(samples, reference, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest value that at least so many percent of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def latency(times: Sequence[float]) -> dict[str, float]:
    """Returns what clock readings before, between and after calls say of one call.

    Args:
        times: seconds; there are more than BLOCK of them.

    Returns:
        p50, the median over blocks of BLOCK calls, and p99 of single calls, in microseconds.
    """
    blocks = [
        (times[i + BLOCK] - times[i]) / BLOCK * 1e6 for i in range(0, len(times) - BLOCK, BLOCK)
    ]
    return {"p50": statistics.median(blocks), "p99": percentile(differences(times), 99) * 1e6}


def differences(times: Sequence[float]) -> list[float]:
    """Returns how long each call took, from clock readings before, between and after them."""
    return [after - before for before, after in pairwise(times)]
