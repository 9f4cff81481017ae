"""What index.html weighs with many samples, and how long a browser takes with it; made-up results over one clip.

From the repository's root, where Playwright and Chromium are installed: PYTHONPATH=. python benchmarks/page_weight.py
"""

import argparse
import base64
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from stvg_core.evaluation.runs.tasks import Outcome, Task
from tests.support import pages as support
from tests.support.browsing import FLAGS, chromium

GRID = 16
SAMPLED = 20


def maps(generator: np.random.Generator) -> str:
    """Maps of 20 frames on 16 x 16 cells, both branches, with and without the prompt."""

    def layer() -> dict[str, object]:
        codes = (255 * generator.beta(0.4, 4, (SAMPLED, GRID, GRID))).astype(np.uint8)
        return {"tokens": ["?"], "low": 0.0, "high": 3.0, "codes": base64.b64encode(codes.tobytes()).decode()}

    frames = np.linspace(0, support.FRAMES - 1, SAMPLED).round().astype(int).tolist()
    seconds = [support.frame_seconds()[frame] for frame in frames]
    branches = [
        {"name": name, "rows": GRID, "columns": GRID, "prompted": layer(), "unprompted": layer()}
        for name in ("attribute", "action")
    ]
    return json.dumps({"frames": frames, "seconds": seconds, "branches": branches})


def speak(shift_pixels: float, seed: int) -> object:
    """Return a made-up model."""
    generator = np.random.default_rng(seed)

    def answer(task: Task) -> Outcome:
        found = support.answer(task, shift_pixels)
        return Outcome(found.sample_id, found.document, found.track, None, 0.1, maps(generator))

    return answer


def wait(page: Page, expression: str) -> None:
    """Wait until an expression is true; asked from outside, because the page lets nobody evaluate text in it."""
    while not page.evaluate(f"Boolean({expression})"):
        time.sleep(0.005)


def milliseconds(page: Page, change: str, until: str) -> float:
    """Return how long a change takes until it is seen."""
    start = time.perf_counter()
    page.evaluate(change)
    wait(page, until)
    return 1000 * (time.perf_counter() - start)


def measure(page: Page, address: str, samples: int) -> dict[str, object]:
    """Open a page several times and use it."""
    opening = []
    for _ in range(5):
        page.goto("about:blank")
        start = time.perf_counter()
        page.goto(address + "#sample-1")
        wait(page, "window.stvg?.current?.view?.clock?.video?.readyState >= 2")
        opening.append(1000 * (time.perf_counter() - start))
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    moving = [
        milliseconds(
            page, f"location.hash = '#sample-{number}'", f"stvg.current.view.sample.id === 'sample-{number - 1}'"
        )
        for number in range(2, min(22, samples + 1))
    ]
    text = "const search = document.querySelector('.samples input'); search.value = {}; "
    text += "search.dispatchEvent(new Event('input'))"
    filtering = [
        milliseconds(
            page, text.format(json.dumps(word)), f"document.querySelectorAll('.sample-list a').length === {count}"
        )
        for word, count in ((f"sample-{samples - 1}", 1), ("", min(200, samples)))
    ]
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    return {
        "open_until_first_frame_ms": round(statistics.median(opening)),
        "dom_ready_ms": round(ready),
        "next_sample_ms": round(statistics.median(moving)),
        "filter_ms": [round(one) for one in filtering],
        "heap_mb": round(heap / 1e6, 1),
        "video_elements": page.locator("video").count(),
    }


def main() -> None:
    """Build pages of several sizes and print what they weigh and how long they take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 500])
    parser.add_argument("--rows", type=int, default=3)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False, args=[*FLAGS])
        for samples in arguments.samples:
            with tempfile.TemporaryDirectory() as folder:
                rows = {f"row {row}": speak(5.0 * row, row) for row in range(arguments.rows)}
                index = support.write_comparison_page(Path(folder), rows, samples)
                scripts = sorted((index.parent / "pages").glob("*.js"))
                kept = sum(path.stat().st_size for path in (index.parent / "runs").rglob("*"))
                page = browser.new_page(viewport={"width": 1440, "height": 1000})
                weight = {
                    "samples": samples,
                    "rows": arguments.rows,
                    "index_kb": round(index.stat().st_size / 1000),
                    "script_kb_per_sample": round(statistics.mean(path.stat().st_size for path in scripts) / 1000, 1),
                    "runs_kb_per_result": round(kept / 1000 / samples / arguments.rows, 1),
                }
                sys.stdout.write(json.dumps(weight | measure(page, index.resolve().as_uri(), samples)) + "\n")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
