"""The ways in from a web page, in every browser and mode; test_page.py has the rest of them."""

from pathlib import Path

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub, PageHub

BLOCKS = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<pre id="one"></pre><pre id="two"></pre>
<script src="pyworkers.js" data-size="1"></script>
<script type="text/x-pyworkers" data-output="#one">
    from pyworkers import WorkerPool
    async with WorkerPool(2) as pool:
        print("sum", sum([n async for n in pool.map(lambda n: n * n, range(10))]))
    def twice(n):
        return 2 * n
</script>
<script type="text/x-pyworkers" data-output="#two">twice(KeyError)</script>
<script type="text/x-pyworkers" data-output="#two">print("after", twice(4))</script>
"""


@pytest.mark.smoke
def test_a_page_calls_functions_and_hears_of_them(hub: Hub) -> None:
    """E-02: values, arrays, progress, aborts, errors and events."""
    skip_if("page", hub)
    assert isinstance(hub, PageHub)
    hub.run(
        """
        def steps(n):
            from pyworkers import task
            for done in range(n):
                task.progress(done + 1, n, "step")
            return {"n": n}
        def scale(data, by):
            from array import array
            return array("d", [by * value for value in data])
        def fails():
            raise LookupError("nothing there")
        async def waits():
            await asyncio.sleep(3600)
        sys.modules["__main__"].__dict__.update(steps=steps, scale=scale, fails=fails, waits=waits)
        """
    )
    answer = hub.page.evaluate(
        """async () => {
            const heard = [];
            let stop;
            const all = new Promise((resolve) => {
                stop = py.on("task_done", ({ outcome }) => {
                    if (heard.push(outcome) === 4) resolve();
                });
            });
            const told = [];
            const onProgress = ({ done, message }) => told.push([done, message]);
            const value = await py.run("steps", [3], { onProgress });
            const scaled = await py.run("scale", [new Float64Array([1, 2.5]), 2]);
            const failed = await py.run("fails").catch(({ name, message }) => [name, message]);
            const controller = new AbortController();
            const waits = py.run("waits", [], { signal: controller.signal });
            controller.abort();
            const aborted = await waits.catch(({ name }) => name);
            await all;
            stop();
            return [value, told, scaled.constructor.name, [...scaled], failed, aborted, heard];
        }"""
    )
    value, told, kind, scaled, failed, aborted, heard = answer
    assert value == {"n": 3}
    assert told == [[1, "step"], [2, "step"], [3, "step"]]
    assert (kind, scaled) == ("Float64Array", [2, 5])
    assert failed == ["LookupError", "nothing there"]
    assert aborted == "AbortError"
    assert heard == ["done", "done", "failed", "cancelled"]


@pytest.mark.smoke
def test_blocks_of_a_document_run_by_one_script_tag(hub: Hub, site: Path) -> None:
    """E-01: in order, each with its output."""
    skip_if("page", hub)
    assert isinstance(hub, PageHub)
    (site / "ways-in.html").write_text(BLOCKS, encoding="utf-8")
    hub.page.goto(f"{hub.url}/ways-in.html")
    try:
        mode, one, two = hub.page.evaluate(
            """async () => {
                const { mode } = await pyworkers.ready;
                const text = (id) => document.querySelector(id).textContent;
                return [mode, text("#one"), text("#two")];
            }"""
        )
    finally:
        hub.open()
    assert mode == hub.mode
    assert one == "sum 285\n"
    assert two.endswith("\nafter 8\n")
    assert "TypeError" in two
