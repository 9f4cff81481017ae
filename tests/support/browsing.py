"""A page in a browser, and everything that went wrong in it."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

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
AXE = os.environ.get("STVG_AXE", "")


def check_with_axe(opened: Opened) -> None:
    opened.page.evaluate(Path(AXE).read_text(encoding="utf-8") + "; undefined")
    found = opened.page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    told = [
        f"{one['id']}: {one['help']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"][:3]
    ]
    assert told == []
    opened.page.evaluate("window.violations = []")
    opened.complaints.clear()
