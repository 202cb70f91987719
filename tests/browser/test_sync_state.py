"""B-15: keys and values on several sides, by messages; and bars over what workers do."""

from playwright.sync_api import Page

from tests.hubs import Hub


def test_hub_and_workers_end_with_the_same_values(hub: Hub) -> None:
    """B-15: whoever sets them, and whoever comes later; the hub passes on what workers tell."""
    assert hub.run(
        """
        from pyworkers.sync import MessageChannelSync
        async def follow(name):
            from pyworkers import task
            state = MessageChannelSync(task.channel("state"))
            heard = []
            end = state.subscribe("go", lambda key, value: heard.append(value))
            while state.get("go") is None:
                await asyncio.sleep(0.005)
            state.set(name, [name])
            while not {"a", "b", "c"} <= set(state):
                await asyncio.sleep(0.005)
            end()
            state.set("contested", name)
            while state.get("stop") is None:
                await asyncio.sleep(0.005)
            return {key: state.get(key) for key in sorted(state)}, heard
        async with WorkerPool(2) as pool:
            state = MessageChannelSync(pool.channel("state"))
            state.set("c", 3)
            await both_started(pool)  # a channel of a worker has one follower
            tasks = [pool.submit(follow, name) for name in "ab"]
            state.set("go", 1)
            while state.get("a") is None or state.get("b") is None or "contested" not in state:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            state.set("stop", True)
            ends = await asyncio.gather(*tasks)
            own = {key: state.get(key) for key in sorted(state)}
            shown = repr(state)
            state.close()
            assert own.pop("contested") in "ab"
            for end, _ in ends:
                assert end.pop("contested") in "ab"
            return own, [end == own for end, _ in ends], [heard for _, heard in ends], shown
        """
    ) == [
        {"a": ["a"], "b": ["b"], "c": 3, "go": 1, "stop": True},
        [True, True],
        [[1], [1]],
        "<MessageChannelSync of 6 keys over channel 'state'>",
    ]


def test_what_is_set_before_the_other_side_has_answered_gets_there(hub: Hub) -> None:
    """B-15: by a worker that comes later, and by a hub that does."""
    assert (
        hub.run(
            """
        from pyworkers.sync import MessageChannelSync
        async def set_at_once():
            from pyworkers import task
            state = MessageChannelSync(task.channel("state"))
            state.set("worker", 1)
            while "hub" not in state:
                await asyncio.sleep(0.005)
            state.set("done", True)
            while "seen" not in state:
                await asyncio.sleep(0.005)
            return sorted(state)
        found = []
        async with asyncio.timeout(60), WorkerPool(1) as pool:
            state = MessageChannelSync(pool.channel("state"))
            state.set("hub", 0)
            setting = pool.submit(set_at_once)
            while "done" not in state:
                await asyncio.sleep(0.005)
            state.set("seen", True)
            found += [sorted(state), await setting]
        return found
        """
        )
        == [["done", "hub", "seen", "worker"]] * 2
    )


def test_a_page_and_python_end_with_the_same_values(page: Page, plain_url: str) -> None:
    """B-15: over a channel, and over a MessagePort; the later setting wins."""
    page.goto(f"{plain_url}/pyworkers.json")
    answer = page.evaluate(
        """async () => {
            const { connect, MessageChannelSync } = await import("/page.mjs");
            const py = await connect({ size: 1 });
            const until = async (is) => {
                while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 5));
            };
            const early = new MessageChannelSync(py.channel("state"));
            early.set("first", { by: "page" });
            early.set("second", 1);
            await py.exec(`
from pyworkers import page
from pyworkers.sync import MessageChannelSync
state = MessageChannelSync(page.channel("state"))
told = []
state.subscribe(None, lambda key, value: told.append(key))
None`);
            await until(() => py.exec("state.get('second') == 1"));
            await py.exec("state.set('second', 2); state.set('third', None)");
            await until(() => early.get("second") === 2 && early.keys().includes("third"));
            early.set("second", 3);
            await until(() => py.exec("state.get('second') == 3"));
            const overChannel = [await py.exec("[told, state.get('first'), list(state)]")];
            early.close();
            await py.exec("state.set('second', 4)");

            const { port1, port2 } = new MessageChannel();
            const left = new MessageChannelSync(port1);
            left.set("n", 1);
            const right = new MessageChannelSync(port2);
            const seen = [];
            const end = right.subscribe("n", (key, value) => seen.push([key, value]));
            await until(() => right.get("n") === 1);
            left.set("n", 2);
            right.set("other", [1, 2]);
            await until(() => right.get("n") === 2 && left.get("other")?.length === 2);
            end();
            left.set("n", 3);
            right.set("n", 4);
            await until(() => left.get("n") === right.get("n"));

            const inPython = await py.exec(`
import asyncio, js
from pyworkers.sync import MessageChannelSync
channel = js.MessageChannel.new()
left, right = MessageChannelSync(channel.port1), MessageChannelSync(channel.port2)
left.set("a", {"deep": [1, None]})
right.set("b", "x")
while left.get("b") is None or right.get("a") is None:
    await asyncio.sleep(0.005)
right.close()
left.set("a", 0)
await asyncio.sleep(0.02)
right.get("a"), left.get("a"), repr(left)`);
            return [overChannel, early.get("second"), seen, inPython];
        }"""
    )
    assert answer == [
        [
            [
                ["first", "second", "second", "third", "second"],
                {"by": "page"},
                ["first", "second", "third"],
            ]
        ],
        3,
        [["n", 1], ["n", 2]],
        [{"deep": [1, None]}, 0, "<MessageChannelSync of 2 keys over a MessagePort>"],
    ]


def test_a_bar_follows_results_and_shared_progress(hub: Hub) -> None:
    """B-12: without tqdm a line of text for each tenth."""
    assert hub.run(
        """
        import contextlib, io
        from pyworkers.sync import SharedProgress, progress
        async def work(shared):
            for _ in range(10):
                shared.increment()
        async with WorkerPool(2) as pool:
            text = io.StringIO()
            with contextlib.redirect_stderr(text):
                results = [n async for n in progress(pool.map(abs, range(-10, 0)), desc="abs")]
                shared = SharedProgress(20)
                tasks = [pool.submit(work, shared) for _ in range(2)]
                last = [done async for done in progress(shared)][-1]
                await asyncio.gather(*tasks)
            lines = text.getvalue().splitlines()
            return results, last, lines[0][:25], "| 10 of 10, " in lines[9], lines[-1][:5]
        """
    ) == [list(range(10, 0, -1)), 20, "abs:  10% |###           ", True, "100% "]
