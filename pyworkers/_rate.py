"""How many calls may start in a time.

Owns a token bucket. Knows nothing of calls; the clock is handed in.
"""


class TokenBucket:
    """Says when the next may start, so that they keep to a rate.

    Args:
        rate: how many a second.
        burst: how many at once, after a time in which none started.
        now: seconds.
    """

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._since = now

    def take(self, count: int, now: float) -> float:
        """Reserves the next free time for some that start together; returns seconds until then."""
        earned = (now - self._since) * self._rate
        self._since = now
        self._tokens = min(self._burst, self._tokens + earned) - count
        return max(0.0, -self._tokens / self._rate)
