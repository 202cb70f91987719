"""Results as a page of the documentation: what was timed, and the tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.contest import Result
from bench.table import markdown, rows

_INTRODUCTION = """\
# Benchmarks

`scripts/bench` measures pyworkers and its peers, which take turns in the same run. With
`--docs docs` it also writes this page, `benchmarks.png`, and `benchmarks.json`, which holds every
single value.

| | |
|---|---|
{facts}

A cell is the median of the rounds, with the least and the greatest value. A ratio is the median of
the quotients of each round, by the value of the first row in that round. ↓ marks what is better
when smaller, ↑ what is better when larger. A round before the first one warms up and does not
count. The clock of a browser has steps of 5 µs: medians of calls are medians over blocks of 16
calls in a row; 99th percentiles are of single calls.

![The first column of each table](benchmarks.png)
"""


def page(about: Mapping[str, Any], results: Sequence[Result]) -> str:
    """Returns the page, in Markdown.

    Args:
        about: what ``as_json`` puts around the results.
        results: of all figures.
    """
    machine = about["machine"]
    facts = {
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
        "load average before the run": f"{machine['load'][0]} (1 minute)",
        "browser": about["browser"],
        "Pyodide": f"{about['pyodide']}, Python {about['python_in_pyodide']}",
        "CPython, for ProcessPoolExecutor": about["python"],
        "commit": about["commit"] + (" with changes" if about["changed"] else ""),
        "date": about["date"],
        "rounds": about["runs"],
    }
    if about["note"]:
        facts["note"] = about["note"]
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    sections = [_INTRODUCTION.format(facts=lines)]
    for result in results:
        figure = result.figure
        body = f"Failed: {result.error}" if result.error else markdown(rows(result))
        head = f"## `{figure.name}`: {figure.title}"
        sections.append(f"{head}\n\n{figure.explanation}\n\n{body}\n")
    return "\n".join(sections)
