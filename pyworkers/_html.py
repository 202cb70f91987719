"""What a notebook shows of pools, futures and progress: fragments of HTML.

Owns their form. Is handed plain values and escapes all of them; knows nothing of pools, futures
and notebooks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from reprlib import Repr
from typing import Final

from pyworkers._statistics import PoolStatistics, WorkerInfo

_SHORT: Final = Repr()
_SHORT.maxlevel = 3
_SHORT.maxtuple = _SHORT.maxlist = _SHORT.maxdict = _SHORT.maxset = 8
_SHORT.maxstring = _SHORT.maxother = 120

_TABLE: Final = "border-collapse:collapse"
_COLOURS: Final = {
    "busy": "#2e7d32",
    "idle": "#78909c",
    "initializing": "#f9a825",
    "error": "#c62828",
    "pending": "#78909c",
    "running": "#f9a825",
    "finished": "#2e7d32",
    "failed": "#c62828",
    "cancelled": "#6d4c41",
}


def pool(title: str, workers: Sequence[WorkerInfo], stats: PoolStatistics) -> str:
    """Shows a pool: its counts, and a line for each worker."""
    counts = {
        name: getattr(stats, name)
        for name in ("queued", "delayed", "running", "done", "failed", "cancelled", "lost")
    }
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    rows = [
        (
            str(each.number),
            _state(each.state),
            "" if each.task is None else str(each.task),
            str(each.ahead),
            f"{each.tasks_done:,}",
            f"{each.age:.0f} s",
        )
        for each in workers
    ]
    head = ("worker", "state", "task", "ahead", "done", "age")
    return _box(
        f"<strong>{escape(title)}</strong>"
        f"<div>{escape(told or 'no tasks so far')}; the workers ran tasks "
        f"{stats.utilisation:.0%} of their time</div>"
        + (_table(head, rows) if rows else "<div>no workers yet</div>")
    )


def future(
    number: int, state: str, progress: tuple[float, float | None, str] | None, outcome: object
) -> str:
    """Shows a future.

    Args:
        number: of its task.
        state: "pending", "running", "finished", "failed" or "cancelled".
        progress: what its task told last: done, total, message; None if it told nothing.
        outcome: what it returned, or raised; looked at only if it has.
    """
    parts = [f"<strong>Task {number}</strong> {_state(state)}"]
    if state in ("finished", "failed"):
        parts.append(f"<pre style='margin:0'>{escape(_shortened(outcome))}</pre>")
    elif progress is not None:
        parts.append(bar("", *progress))
    return _box("".join(parts))


def bar(label: str, done: float, total: float | None, message: str = "", extra: str = "") -> str:
    """Shows a progress bar.

    Args:
        label: what is being done.
        done: how much of it is.
        total: how much there is; None where that is not known.
        message: for people.
        extra: HTML that follows it, of pyworkers' own making.
    """
    known = total is not None and 0 < total < math.inf and math.isfinite(done)
    place = f" value='{done:g}' max='{total:g}'" if known else ""
    words = [label, bar_text(done, total), message]
    texts = [f"<span>{escape(each)}</span>" for each in words if each]
    texts.insert(1 if label else 0, f"<progress{place} style='width:16em'></progress>")
    return (
        "<div class='pyworkers-bar' style='display:flex;gap:.7em;align-items:center'>"
        f"{''.join(texts)}{extra}</div>"
    )


def bar_text(done: float, total: float | None) -> str:
    """Returns how far something is, in words."""
    return f"{done:g}" if total is None else f"{done:g} of {total:g}"


def facts(title: str, values: Mapping[str, str]) -> str:
    """Shows names and what each of them is."""
    return _box(f"<strong>{escape(title)}</strong>" + _table((), list(values.items()), raw=()))


def _shortened(value: object) -> str:
    try:
        return _SHORT.repr(value)
    except Exception as error:
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def _state(state: str) -> str:
    colour = _COLOURS.get(state, "inherit")
    return f"<span style='color:{colour}'>{escape(state)}</span>"


def _box(inner: str) -> str:
    return f"<div class='pyworkers'>{inner}</div>"


def _table(head: Iterable[str], rows: Sequence[Sequence[str]], raw: Sequence[int] = (1,)) -> str:
    """A table; the cells of columns in ``raw`` are HTML already."""
    top = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell if index in raw else escape(cell)}</td>" for index, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table style='{_TABLE}'>{f'<tr>{top}</tr>' if top else ''}{body}</table>"
