"""Figures, the rounds in which contestants take turns, and what comes of them.

Owns the shape of a result. Knows nothing of what is measured, nor how results are shown.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from bench.lab import Lab
from bench.statistics import Summary, ratio, summarise

Sample = Callable[[], dict[str, float]]
"""Takes part in one round; returns a value for each metric."""

Contest = Callable[[Lab], AbstractContextManager[dict[str, Sample]]]
"""Makes the contestants, by name; the first is what the others are compared to."""


@dataclass(frozen=True)
class Metric:
    """One value of a round.

    Attributes:
        name: of its key in a sample.
        unit: of the value; "" if it has none.
        label: what it is, for people.
        more_is_better: whether a larger value is the better one.
    """

    name: str
    unit: str
    label: str
    more_is_better: bool = False


@dataclass(frozen=True)
class Figure:
    """What is measured.

    Attributes:
        module: the module that defines it, whose last part is its name.
        text: that module's docstring: a title, and what exactly is timed.
        metrics: the values of each round; the first is the one that is plotted.
        contest: makes the contestants.
    """

    module: str
    text: str
    metrics: tuple[Metric, ...]
    contest: Contest

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]

    @property
    def title(self) -> str:
        return self.text.partition("\n")[0].rstrip(".")

    @property
    def explanation(self) -> str:
        return self.text.partition("\n")[2].strip()


@dataclass
class Result:
    """What a figure gave.

    Attributes:
        figure: what was measured.
        samples: the values of all rounds, by contestant and metric.
        error: why it failed; None if it did not.
        seconds: that it took.
    """

    figure: Figure
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0

    def values(self, contestant: str, metric: Metric) -> Summary:
        return summarise(self.samples[contestant][metric.name])

    def ratio(self, contestant: str, metric: Metric) -> float | None:
        """Returns how a contestant compares to the first one."""
        first = next(iter(self.samples.values()))
        return ratio(self.samples[contestant][metric.name], first[metric.name])

    def as_json(self) -> dict[str, Any]:
        contestants = {
            name: {
                metric.name: {
                    **self.values(name, metric)._asdict(),
                    "ratio": self.ratio(name, metric),
                    "samples": self.samples[name][metric.name],
                }
                for metric in self.figure.metrics
            }
            for name in self.samples
        }
        metrics = {
            metric.name: {
                "unit": metric.unit,
                "label": metric.label,
                "more_is_better": metric.more_is_better,
            }
            for metric in self.figure.metrics
        }
        return {
            "name": self.figure.name,
            "title": self.figure.title,
            "error": self.error,
            "seconds": self.seconds,
            "metrics": metrics,
            "contestants": contestants,
        }


def measure(figure: Figure, lab: Lab, runs: int, progress: Callable[[str], object]) -> Result:
    """Lets the contestants of a figure take turns.

    A round before the first one warms up and does not count. The order rotates, so that nobody
    always comes after the same other.

    Args:
        figure: what to measure.
        lab: where.
        runs: how many rounds count.
        progress: called with what is going on.

    Returns:
        The result; if anything failed, it holds the error and no samples.
    """
    result = Result(figure)
    started = perf_counter()
    try:
        progress("setting up")
        with figure.contest(lab) as contestants:
            names = list(contestants)
            samples: dict[str, dict[str, list[float]]] = {
                name: {metric.name: [] for metric in figure.metrics} for name in names
            }
            for run in range(runs + 1):
                first = run % len(names)
                for name in names[first:] + names[:first]:
                    progress(f"round {run} of {runs}: {name}" if run else f"warming up: {name}")
                    values = contestants[name]()
                    if run:
                        for metric in figure.metrics:
                            samples[name][metric.name].append(values[metric.name])
            result.samples = samples
    except Exception as error:
        result.error = f"{type(error).__name__}: {error}"
    result.seconds = perf_counter() - started
    return result
