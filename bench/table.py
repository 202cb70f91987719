"""Results as tables, in plain text and in Markdown. Knows nothing of how they came about."""

from collections.abc import Sequence

from bench.contest import Metric, Result
from bench.statistics import Summary


def number(value: float) -> str:
    """Returns a value with three digits or so."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def cell(summary: Summary) -> str:
    """Returns a median, and the extremes behind it."""
    return f"{number(summary.median)} ({number(summary.low)} to {number(summary.high)})"


def header(metric: Metric) -> str:
    """Returns what stands above a column: label, unit, and which way is better."""
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.more_is_better else '↓'}"


def rows(result: Result) -> list[list[str]]:
    """Returns the cells of a result: a header, then one row for each contestant."""
    table = [[""]]
    for metric in result.figure.metrics:
        table[0] += [header(metric), "ratio"]
    for name in result.samples:
        row = [name]
        for metric in result.figure.metrics:
            ratio = result.ratio(name, metric)
            row += [cell(result.values(name, metric)), "-" if ratio is None else number(ratio)]
        table.append(row)
    return table


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Lays out cells for a terminal: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *others in table:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Lays out cells as a table of Markdown."""
    rules = ["---", *["---:"] * (len(table[0]) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (table[0], rules, *table[1:])]
    return "\n".join(lines)


def text(result: Result) -> str:
    """Returns a result for a terminal."""
    head = f"{result.figure.name}: {result.figure.title}"
    body = f"FAILED: {result.error}" if result.error else aligned(rows(result))
    return f"{head}\n{body}\n"
