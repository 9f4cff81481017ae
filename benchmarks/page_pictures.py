"""Makes the pictures of pages that docs show, from the shipped tiny models and clips, offline.

nox -s screenshots; or, where Playwright and Chromium are installed, from the repository's root:
PYTHONPATH=. python benchmarks/page_pictures.py --out docs/images
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.support.browsing import FLAGS, chromium

CLIPS = 6
COLORS = 128


def stvg(*arguments: str | Path) -> None:
    """Run a command of ours; rows and samples that fail are a part of what is shown."""
    subprocess.run([sys.executable, "-m", "stvg_core", *map(str, arguments)], check=False)  # noqa: S603  # our own


def make_results(folder: Path) -> tuple[Path, Path]:
    """Run the demo, and a comparison of the three tiny models; return their pages."""
    subprocess.run(  # noqa: S603  # our own
        [
            Path(sys.executable).with_name("stvg-tiny"),
            "make-benchmark",
            "--out",
            folder / "clips",
            "--clips",
            str(CLIPS),
        ],
        check=True,
    )
    stvg("demo", "--out", folder / "demo")
    clips = folder / "clips"
    data = ("hcstvg-v2", "--root", clips, "--annotations", clips / "hcstvg_v2" / "easy_declarative.json")
    models = [part for name in ("qwen2-vl", "llava-next", "internvl") for part in ("--model", f"tiny:{name}")]
    stvg(
        *("compare", *data, "--video-root", clips / "video", *models),
        *("--set", "prompt.steps=1", "--bootstrap", "500", "--out", folder / "comparison"),
    )
    return folder / "demo" / "easy" / "report.html", folder / "comparison" / "index.html"


def settle(page: Page) -> None:
    """Wait until the video shows what was sought, and the tiles their pictures."""
    page.wait_for_selector(".query")
    page.wait_for_timeout(2500)


def save(page: Page, path: Path, *, full: bool = False) -> None:
    """Write what is seen as a small PNG."""
    page.screenshot(path=path, full_page=full)
    with Image.open(path) as picture:
        plain = picture.convert("RGB")
        plain.quantize(palette=plain.quantize(COLORS), dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    sys.stdout.write(f"{path}  {path.stat().st_size / 1000:.0f} kB\n")


def main() -> None:
    """Make results, open their pages, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    parser.add_argument("--results", type=Path, help="folder of earlier results to open again")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = arguments.results or Path(temporary)
        report, comparison = folder / "demo" / "easy" / "report.html", folder / "comparison" / "index.html"
        if not comparison.exists():
            report, comparison = make_results(folder)
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False, args=[*FLAGS])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1360, "height": 1060}, color_scheme=scheme)
            page.goto(comparison.resolve().as_uri())
            settle(page)
            save(page, arguments.out / f"comparison_{scheme}.png")
            # Where the models differ there is more to see.
            page.get_by_label("Order").select_option("apart")
            page.evaluate("stvg.current.list.onPick(stvg.current.list.shown[0].number)")
            settle(page)
            page.keyboard.press("h")
            page.locator(".sample-line").evaluate("(node) => scrollTo(0, node.offsetTop - 12)")
            settle(page)
            save(page, arguments.out / f"comparison_sample_{scheme}.png")
            page.set_viewport_size({"width": 1080, "height": 860})
            page.goto(report.resolve().as_uri())
            settle(page)
            page.keyboard.press("h")
            page.mouse.wheel(0, 1)
            page.locator(".strips").first.scroll_into_view_if_needed()
            settle(page)
            page.evaluate("scrollTo(0, 0)")
            save(page, arguments.out / f"report_{scheme}.png", full=scheme == "light")
            page.close()
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
        page.goto(report.resolve().as_uri())
        settle(page)
        save(page, arguments.out / "report_phone.png")
        browser.close()


if __name__ == "__main__":
    main()
