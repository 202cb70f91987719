"""What is called: plain Python, the same in Pyodide and in CPython."""

from time import perf_counter


def noop() -> None:
    """Does nothing."""


def square(number: int) -> int:
    """Does next to nothing."""
    return number * number


def pattern(size: int) -> bytes:
    """Returns so many bytes that are not all zero."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def count_primes(first: int, stop: int) -> int:
    """Computes for a while, by trial division."""
    count = 0
    for number in range(max(2, first), stop):
        divisor = 2
        while divisor * divisor <= number and number % divisor:
            divisor += 1
        count += divisor * divisor > number
    return count


def spin(seconds: float) -> float:
    """Computes for so many seconds."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass
    return seconds
