"""A real browser: Debian's Chromium, driven by Playwright, which downloads none of its own."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stvg_core.outputs.serving import serving
from tests.support.browsing import FLAGS, Open, Opened, chromium
from tests.support.pages import answer, failing_third, write_comparison_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False, args=[*FLAGS])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Open]:
    """Open an address, and fail at the end where the page complained of anything or asked for anything elsewhere."""
    opened: list[Opened] = []

    def start(
        address: str | Path, *, width: int = 1280, height: int = 900, strict: bool = True, **options: Any
    ) -> Opened:
        url = address if isinstance(address, str) else address.resolve().as_uri()
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.add_init_script(WATCH)
        page = Opened(context.new_page())
        if strict:
            page.page.on("console", lambda message: page.complaints.append(f"{message.type}: {message.text}"))
        page.page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.page.on("request", lambda request: page.requests.append(request.url))
        page.page.goto(url)
        opened.append(page)
        return page

    yield start
    for page in opened:
        page.check()
        own = {url.partition(":")[0] + ":" + url.split("/")[2] for url in page.requests if not url.startswith("data:")}
        assert len(own) <= 1, own
        page.page.context.close()


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of two rows: one right, one 20 pixels off that fails on every third sample."""
    return write_comparison_page(tmp_path_factory.mktemp("index"), {"right": answer, "worse": failing_third}, 6)


@pytest.fixture(scope="session")
def served_index(index: Path) -> Iterator[str]:
    """The address of the same comparison, served as `stvg view` does."""
    with serving(index.parent, index.name) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.address
        finally:
            server.shutdown()
            thread.join()
