"""report.html, as stvg ground leaves it: one sample, beside its video."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stvg_core.inputs.video import iterate_frames, probe_video
from stvg_core.outputs.report.document import ModelIdentity, build_document
from stvg_core.outputs.report.folder import write_output_folder
from stvg_core.values import Frames, PromptEffect, Tube
from tests.support.browsing import AXE, Open, check_with_axe
from tests.support.groundings import a_grounding
from tests.support.pages import END, HOSTILE, SAMPLED, START, WIDTH, square, write_clip
from tests.support.pixels import SKY, TRUTH, extent, of_color, picture

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result over the clip whose white square moves, with a query that wants to be markup."""
    folder = tmp_path_factory.mktemp("report")
    clip = write_clip(folder / "clip.mp4")
    info = probe_video(clip)
    boxes = np.array([square(frame) for frame in range(START, END + 1)])
    tube = Tube(START, boxes, info.frame_seconds[START : END + 1].copy(), info.frame_end_seconds(END))
    plain = a_grounding(len(SAMPLED), text=f"{HOSTILE} the man runs")
    pixels = np.zeros((len(SAMPLED), 24, 32, 3), np.uint8)
    grounding = replace(
        plain,
        frames=Frames(info, np.array(SAMPLED), pixels),
        tube=tube,
        unprompted_spatial_maps=plain.temporal_maps,
        diagnostics={"spatial_margin_step_0": 0.5, "spatial_margin_step_1": 1.5},
        prompts={"spatial": PromptEffect(0.5, 2.25, 0.125)},
    )
    model = ModelIdentity(id="<b>model</b>", backend="b", distribution="d", version="1", hook_api=1)
    document = build_document(grounding, model, {"preset": "paper", "tracker": "regions", "x": HOSTILE}, {})
    pictures = iterate_frames(clip, info, 0, info.frame_count - 1)
    return write_output_folder(folder / "out", grounding, document, pictures, truth=tube) / "report.html"


def test_the_report_plays_its_video_with_both_tubes(report: Path, open_page: Open) -> None:
    opened = open_page(report).settled()
    assert sorted(path.name for path in report.parent.iterdir()) == [
        *("contact_sheet.png", "overlay.mp4", "report.html", "tube.json", "video.mp4")
    ]
    assert opened.page.locator("h1 .part").all_text_contents() == ["the man(attribute)", "runs(action)"]
    assert opened.page.locator("main img, main b, main script").count() == 0
    opened.seek(20)
    opened.page.evaluate("stvg.current.view.preferences.branch = 'none'; stvg.current.view.changed()")
    opened.page.get_by_label("ground truth").uncheck()
    opened.page.wait_for_timeout(80)
    seen = picture(opened.page.locator(".frame"))
    scale = seen.shape[1] / WIDTH
    left, _, right, bottom = extent(of_color(seen, SKY))
    assert (left / scale, right / scale, bottom / scale) == pytest.approx(
        (square(20)[0], square(20)[2], square(20)[3]), abs=2.5
    )
    assert not of_color(seen, TRUTH).any()
    assert "vIoU 1.00" in opened.page.locator("[data-row='0'] .lane-detail").inner_text()
    assert opened.page.get_by_text("0.50, then 1.50").is_visible()
    assert opened.page.get_by_role("link", name="tube.json").get_attribute("href") == "tube.json"
    assert "media" not in "".join(opened.requests)


def test_the_report_has_no_samples_to_go_to(report: Path, open_page: Open) -> None:
    opened = open_page(report, width=390).settled()
    opened.page.locator("body").press("j")
    opened.page.locator("body").press("/")
    assert opened.page.locator(".sample-list").count() == 0
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.skipif(not AXE, reason="axe-core is fetched by nox -s browser where npm is there; STVG_AXE names it")
def test_axe_finds_nothing_in_the_report(report: Path, open_page: Open) -> None:
    check_with_axe(open_page(report, strict=False).settled())
