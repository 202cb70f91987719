"""Counts primes, and tells how far it is by objects that the page looks at."""

from pyworkers.sync import SharedCancellation, SharedCounter, SharedProgress


def count(
    start: int,
    stop: int,
    progress: SharedProgress,
    found: SharedCounter,
    cancellation: SharedCancellation,
) -> int:
    """Looks at each number of a range; returns how many of them it got to."""
    for number in range(start, stop):
        if cancellation.is_cancelled():
            return number - start
        if is_prime(number):
            found.add()
        progress.increment()
    return stop - start


def is_prime(number: int) -> bool:
    """Says so by trial division."""
    if number < 2:
        return False
    divisor = 2
    while divisor * divisor <= number:
        if number % divisor == 0:
            return False
        divisor += 1
    return True
