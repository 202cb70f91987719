"""Results as a picture: the first value of each figure, as bars with their extremes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bench.contest import Result
from bench.table import cell, header

_COLUMNS: Final = 3
_OURS: Final = "#3776ab"
_THEIRS: Final = "#b0b0b0"


def plot(results: Sequence[Result], file: Path) -> None:
    """Writes a picture of all results that did not fail."""
    good = [result for result in results if result.error is None]
    lines = math.ceil(len(good) / _COLUMNS)
    canvas = Canvas(figsize=(5.6 * _COLUMNS, 2.3 * lines), layout="constrained")
    axes = canvas.subplots(lines, _COLUMNS, squeeze=False).flatten()
    for axis, result in zip(axes, good, strict=False):
        _draw(axis, result)
    for axis in axes[len(good) :]:
        axis.set_axis_off()
    canvas.savefig(file, dpi=110)


def _draw(axis: Axes, result: Result) -> None:
    metric = result.figure.metrics[0]
    names = list(result.samples)[::-1]
    values = [result.values(name, metric) for name in names]
    medians = [value.median for value in values]
    spread = [
        [value.median - value.low for value in values],
        [value.high - value.median for value in values],
    ]
    colours = [_OURS if name.startswith("pyworkers") else _THEIRS for name in names]
    axis.barh(names, medians, xerr=spread, color=colours, capsize=3, ecolor="#444444")
    for i, value in enumerate(values):
        axis.annotate(
            cell(value),
            (value.high, i),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.margins(x=0.8)
    axis.ticklabel_format(axis="x", style="plain")
    axis.locator_params(axis="x", nbins=5)
    axis.set_title(f"{result.figure.name}: {header(metric)}", fontsize=10)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
