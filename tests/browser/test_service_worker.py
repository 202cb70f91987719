"""The service worker, on a host that sends no headers of its own and may be gone."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from pyworkers.cli.build import build_site
from tests.hosts import ISOLATION, Host
from tests.markdown import named

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(build_site(tmp_path / "site"))


class Visitor:
    """A page, with what it says and how often it was loaded."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.told: list[str] = []
        self.errors: list[str] = []
        self.loads = 0
        page.on("console", lambda message: self.told.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("framenavigated", self._loaded)

    def _loaded(self, _frame: Any) -> None:
        self.loads += 1

    def visit(self, host: Host) -> list[Any]:
        """Opens the page, and returns its mode and what its Python computes."""
        self.loads = 0
        self.page.goto(f"{host.url}/page.html")
        return self.result()

    def result(self) -> list[Any]:
        # The document may be replaced at any moment, but only by the one reload.
        self.page.wait_for_function("window.pyworkers && !document.querySelector('#out:empty')")
        found: list[Any] = self.page.evaluate(
            """pyworkers.ready.then(async (py) =>
                [py.mode, document.querySelector("#out").textContent.trim()])"""
        )
        return found

    def wait_for(self, text: str) -> None:
        """Waits until the console has said it."""
        if not any(text in line for line in self.told):
            self.page.wait_for_event(
                "console", lambda message: text in message.text, timeout=60_000
            )

    def service_workers(self) -> list[str]:
        found: list[str] = self.page.evaluate(
            """navigator.serviceWorker.getRegistrations().then((all) =>
                all.map(({ active }) => active?.scriptURL))"""
        )
        return found

    def caches(self) -> list[str]:
        found: list[str] = self.page.evaluate("caches.keys()")
        return [name for name in found if name.startswith("pyworkers http")]


@pytest.fixture
def visitor(page: Page) -> Visitor:
    return Visitor(page)


def html(attributes: str, answer: str = "str(sum(squares))") -> str:
    return f"""<pre id="out"></pre><script src="pyworkers.js" data-size="1" {attributes}></script>
        <script type="text/x-pyworkers" data-output="#out">
            from pyworkers import WorkerPool
            async with WorkerPool(1) as pool:
                squares = [await pool.submit(pow, n, 2) for n in range(4)]
            print({answer})
        </script>"""


@pytest.mark.parametrize("policy", ["require-corp", "credentialless"])
def test_a_page_without_headers_is_isolated_by_one_reload(
    host: Host, visitor: Visitor, policy: str
) -> None:
    """A-14: and by none on later visits."""
    host.write(html(f'data-isolate="{policy}"'))
    with host.up():
        assert visitor.visit(host) == ["shared", "14"]
        assert visitor.loads == 2
        assert "pyworkers: a service worker isolates this page, which is reloaded for that" in (
            visitor.told
        )
        assert visitor.visit(host) == ["shared", "14"]
        assert visitor.loads == 1
        headers: dict[str, str] = visitor.page.evaluate(
            "fetch('pyworkers.json').then(({ headers }) => Object.fromEntries(headers))"
        )
        assert "cross-origin-embedder-policy" not in headers
        assert visitor.errors == []


def test_the_page_of_the_documentation_is_isolated_and_works_offline(
    host: Host, visitor: Visitor
) -> None:
    docs = Path(__file__).parents[2] / "docs"
    (host.site / "page.html").write_text(named(docs / "javascript.md", "offline.html").text)
    with host.up():
        assert visitor.visit(host) == ["shared", "shared"]
        visitor.wait_for("this page now works offline")
    assert visitor.visit(host) == ["shared", "shared"]


def test_only_pages_that_ask_are_isolated(host: Host, visitor: Visitor) -> None:
    host.write(html("data-isolate"))
    (host.site / "other.html").write_text(
        "<!doctype html><script>new Worker('plain.js').onmessage = () => done = true</script>"
    )
    (host.site / "plain.js").write_text("postMessage(1)")
    with host.up():
        visitor.visit(host)
        visitor.page.goto(f"{host.url}/other.html")
        visitor.page.wait_for_function("window.done")
        assert visitor.page.evaluate(
            "[crossOriginIsolated, !!navigator.serviceWorker.controller]"
        ) == [
            False,
            True,
        ]


def test_a_page_with_headers_is_left_alone(host: Host, visitor: Visitor) -> None:
    host.write(html("data-isolate"))
    with host.up(ISOLATION):
        assert visitor.visit(host) == ["shared", "14"]
        assert visitor.loads == 1
        assert visitor.service_workers() == []
    with host.up():
        visitor.visit(host)
        assert len(visitor.service_workers()) == 1
    weaker = {**ISOLATION, "Cross-Origin-Embedder-Policy": "credentialless"}
    with host.up(weaker):
        assert visitor.visit(host) == ["shared", "14"]
        found = visitor.page.evaluate(
            "fetch(location).then(({ headers }) => headers.get('cross-origin-embedder-policy'))"
        )
        assert found == "credentialless"


DENIED = """Object.defineProperty(window, "%s", { get() { throw new DOMException("denied") } })"""


@pytest.mark.parametrize(
    ("hindrance", "loads", "reason"),
    [
        ("blocked", 1, "the page is not isolated by a service worker"),
        ("absent", 1, "there are no service workers here"),
        ("missing", 1, "service_worker.js"),
        ("forgetful", 1, "denied"),
        ("forbidden", 2, "a reload did not help"),
    ],
)
def test_a_page_that_cannot_be_isolated_goes_on_without_a_loop(
    chromium: Browser, host: Host, hindrance: str, loads: int, reason: str
) -> None:
    """In mode transfer, and the console says why."""
    host.write(html("data-isolate"))
    if hindrance == "missing":
        (host.site / "service_worker.js").unlink()
    headers = {"Cross-Origin-Embedder-Policy": "unsafe-none"} if hindrance == "forbidden" else {}
    with ExitStack() as stack:
        stack.enter_context(host.up(headers))
        context: BrowserContext = chromium.new_context(
            service_workers="block" if hindrance == "blocked" else "allow"
        )
        stack.callback(context.close)
        if hindrance == "absent":
            context.add_init_script("delete Navigator.prototype.serviceWorker")
        if hindrance == "forgetful":
            context.add_init_script(DENIED % "sessionStorage")
        visitor = Visitor(context.new_page())
        assert visitor.visit(host) == ["transfer", "14"]
        assert visitor.loads == loads
        assert any(reason in line for line in visitor.told), visitor.told
        assert visitor.visit(host) == ["transfer", "14"]
        assert visitor.loads == 1
        assert visitor.errors == []


MODULE = "answer = 42\n"


@pytest.mark.parametrize("isolated", ["by its headers", "by the service worker", "not at all"])
def test_a_page_starts_without_a_network_after_the_first_visit(
    host: Host, visitor: Visitor, isolated: str
) -> None:
    """A-14: with its own files, and as isolated as before."""
    asks = "data-isolate" if isolated == "by the service worker" else ""
    (host.site / "mine.py").write_text(MODULE)
    (host.site / "style.css").write_text("pre { color: rgb(1, 2, 3) }")
    host.write(
        '<link rel="stylesheet" href="style.css">'
        + html(
            f'data-offline data-modules="mine.py" {asks}', "sum(squares), __import__('mine').answer"
        )
    )
    mode = "transfer" if isolated == "not at all" else "shared"
    with host.up(ISOLATION if isolated == "by its headers" else {}):
        assert visitor.visit(host) == [mode, "14 42"]
        visitor.wait_for("this page now works offline")
    host.asked.clear()
    for _ in range(2):
        assert visitor.visit(host) == [mode, "14 42"]
        assert visitor.loads == 1
        assert visitor.page.evaluate("getComputedStyle(out).color") == "rgb(1, 2, 3)"
    assert host.asked == []
    assert visitor.errors == []


def test_who_is_online_never_gets_anything_stale(host: Host, visitor: Visitor) -> None:
    """But what is named by its content is not asked for again."""
    host.write(html("data-offline"))
    with host.up():
        visitor.visit(host)
        visitor.wait_for("this page now works offline")
        visitor.visit(host)  # through the service worker
        host.write(html("data-offline", "'new', sum(squares)"))
        host.asked.clear()
        assert visitor.visit(host) == ["transfer", "new 14"]
        assert "/pyworkers.json" in host.asked
        assert not [path for path in host.asked if re.search(r"snapshot-|start-", path)]
    assert visitor.visit(host) == ["transfer", "new 14"]


def test_a_new_build_takes_the_place_of_the_old_one(host: Host, visitor: Visitor) -> None:
    """Its files are kept, those of the old build are not, and it is the one that starts offline."""
    host.write(
        html("data-offline", "sum(squares), __import__('pyworkers').boot_report().assets[-1].name")
    )
    with host.up():
        visitor.visit(host)
        visitor.wait_for("this page now works offline")
        before = visitor.caches()
    build_site(host.site, extra=["msgspec==0.22.0"])
    with host.up():
        visitor.visit(host)
        visitor.page.evaluate(
            """async (before) => {
                const builds = async () =>
                    (await caches.keys()).filter((name) => / build /.test(name));
                for (;;) {
                    const names = await builds();
                    if (names.length === 1 && !before.includes(names[0])) return;
                    await new Promise((resolve) => setTimeout(resolve, 20));
                }
            }""",
            before,
        )
        kept: list[str] = visitor.page.evaluate(
            """async () => {
                const [name] = (await caches.keys()).filter((name) => / build /.test(name));
                return (await (await caches.open(name)).keys()).map(({ url }) => url);
            }"""
        )
        assert any("msgspec" in url for url in kept)
    mode, answer = visitor.visit(host)
    assert (mode, answer.split()[0]) == ("transfer", "14")


def test_a_page_can_take_it_back(host: Host, visitor: Visitor) -> None:
    """The last one that does leaves nothing behind."""
    host.write(html("data-offline data-isolate"))
    with host.up():
        visitor.visit(host)
        visitor.wait_for("this page now works offline")
        assert len(visitor.caches()) == 3
        host.write(html('data-offline="off"'))
        visitor.visit(host)
        assert visitor.service_workers() != []
        host.write(html('data-isolate="off"'))
        visitor.visit(host)
        assert visitor.loads == 2
        assert visitor.service_workers() == []
        assert visitor.caches() == []
        assert visitor.visit(host) == ["transfer", "14"]
        assert visitor.loads == 1


def test_a_page_for_which_there_is_no_room_works_online(host: Host, visitor: Visitor) -> None:
    """A-14: it is told so; nothing is kept by half."""
    host.write(html("data-offline"))
    with host.up() as url:
        devtools = visitor.page.context.new_cdp_session(visitor.page)
        devtools.send("Storage.overrideQuotaForOrigin", {"origin": url, "quotaSize": 1_000_000})
        for _ in range(2):
            assert visitor.visit(host) == ["transfer", "14"]
            visitor.wait_for("the page will not work offline: ")
            visitor.told.clear()
        assert not [name for name in visitor.caches() if " build " in name]


def test_a_page_that_must_not_be_stored_is_not(host: Host, visitor: Visitor) -> None:
    host.write(html("data-offline"))
    with host.up({"Cache-Control": "no-store"}):
        assert visitor.visit(host) == ["transfer", "14"]
        visitor.wait_for("the page will not work offline: Error: its server redirects, or forbids")


def test_a_page_outside_the_folder_of_the_site_is_told_so(tmp_path: Path, visitor: Visitor) -> None:
    build_site(tmp_path / "above" / "site")
    host = Host(tmp_path / "above")
    host.write(html("data-isolate data-offline").replace("pyworkers.js", "site/pyworkers.js"))
    with host.up():
        assert visitor.visit(host) == ["transfer", "14"]
        visitor.wait_for("the page will not work offline: the page does not lie below")
        assert visitor.loads == 1
        assert any(
            "is not isolated by a service worker: the page does not" in line
            for line in visitor.told
        )
        assert visitor.service_workers() == []
