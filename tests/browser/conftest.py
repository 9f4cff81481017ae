"""A real browser: Debian's Chromium, driven by Playwright, which downloads none of its own."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stvg_core.outputs.serving import serving
from tests.outputs.pages.support import answer, failing_third, write_comparison_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    found = os.environ.get("STVG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.fail("expected Chromium, got none; apt-get install chromium, or name it in STVG_CHROMIUM")
    return found


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False, args=[*FLAGS])
        yield opened
        opened.close()


@dataclass
class Opened:
    """A page, and everything that went wrong in it."""

    page: "Page"
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check(self) -> None:
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []
        assert self.page.evaluate("window.hurt") is None

    def settled(self) -> "Opened":
        """Wait until a sample is shown, and its video at the time that was sought."""
        self.page.wait_for_selector(".query")
        clock = "stvg.current.view.clock"
        self.wait(f"!{clock} || !{clock}.video || ({clock}.video.readyState >= 2 && !{clock}.video.seeking)")
        self.page.wait_for_timeout(150)
        return self

    def wait(self, expression: str) -> None:
        """Wait until an expression is true; asked from outside, because the page lets nobody evaluate text in it."""
        for _ in range(200):
            if self.page.evaluate(f"Boolean({expression})"):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def frame(self) -> int:
        return int(self.page.evaluate("stvg.current.view.clock.frame"))

    def seek(self, frame: int) -> None:
        self.page.evaluate("(frame) => stvg.current.view.clock.seekFrame(frame)", frame)
        self.settled()


Open = Callable[..., Opened]


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
