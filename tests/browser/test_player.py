"""The player: frames, boxes and attention are where the data says, from the disk and through stvg view."""

import base64
from pathlib import Path

import numpy as np
import pytest

from stvg_core.outputs.report.kept_maps import decode_values
from tests.support.browsing import Open, Opened
from tests.support.pages import (
    END,
    FRAMES,
    GRID,
    HOT_COLUMN,
    HOT_ROW,
    START,
    WIDTH,
    frame_seconds,
    maps_record,
    square,
)
from tests.support.pixels import GREEN, SKY, TRUTH, bright, extent, of_color, picture

pytestmark = pytest.mark.browser


def only(opened: Opened, *kept: str) -> None:
    """Show the boxes of these alone; attention is off."""
    opened.page.evaluate(
        """(kept) => {
            const { preferences } = stvg.current.view;
            preferences.branch = "none";
            preferences.truth = kept.includes("truth");
            preferences.hidden = new Set([0, 1].filter((row) => !kept.includes(String(row))));
            stvg.current.view.changed();
        }""",
        list(kept),
    )
    opened.page.wait_for_timeout(80)


def scale(opened: Opened) -> float:
    return float(opened.page.evaluate("document.querySelector('.frame').clientWidth")) / WIDTH


@pytest.mark.parametrize("way", ["disk", "served"])
def test_the_player_seeks_to_exact_frames_of_a_variable_rate(
    way: str, index: Path, served_index: str, open_page: Open
) -> None:
    opened = open_page(index if way == "disk" else served_index).settled()
    only(opened)
    for frame in (0, 1, 2, 17, 18, 38, FRAMES - 1, 5):
        opened.seek(frame)
        assert opened.frame() == frame
        left, top, right, bottom = extent(bright(picture(opened.page.locator(".frame"))))
        found = np.array([left, top, right, bottom]) / scale(opened)
        assert np.abs(found - np.array(square(frame))).max() < 2.0, (frame, found)
        expected = frame_seconds()[frame]
        assert f"{expected:.2f} s, frame {frame} of {FRAMES}" in opened.page.locator(".readout").inner_text()


def test_the_player_plays_and_boxes_keep_up(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    opened.seek(START)
    opened.page.get_by_role("button", name="Play (space)").click()
    opened.wait(f"stvg.current.view.clock.frame > {START + 3}")
    opened.page.get_by_role("button", name="Pause (space)").click()
    opened.settled()
    only(opened, "0")
    seen = picture(opened.page.locator(".frame"))
    box, white = extent(of_color(seen, SKY)), extent(bright(seen))
    assert abs(box[0] - white[0]) < 3 * scale(opened)
    assert abs(box[2] - white[2]) < 3 * scale(opened)


@pytest.mark.parametrize("ratio", [1, 2])
def test_boxes_are_where_the_document_says(ratio: int, index: Path, open_page: Open) -> None:
    opened = open_page(index, device_scale_factor=ratio).settled()
    for frame in (START, 20, END):
        opened.seek(frame)
        for kept, color, shift in (("0", SKY, 0), ("1", GREEN, 20), ("truth", TRUTH, 0)):
            only(opened, kept)
            seen = of_color(picture(opened.page.locator(".frame")), color)
            # The number above the box is of its colour as well.
            seen[: round((square(frame)[1] * scale(opened) - 2) * ratio)] = False
            found = np.array(extent(seen)) / scale(opened) / ratio
            wanted = np.array(square(frame)) + np.array([shift, 0, shift, 0])
            assert np.abs(found - wanted).max() < 2.5, (kept, frame, found, wanted)
    for frame in (START - 1, END + 1):
        opened.seek(frame)
        only(opened, "0", "1", "truth")
        seen = picture(opened.page.locator(".frame"))
        assert not any(of_color(seen, color).any() for color in (SKY, GREEN, TRUTH)), frame


def test_attention_is_where_the_maps_say(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    opened.seek(16)
    only(opened)
    plain = picture(opened.page.locator(".frame"))

    def heat(branch: str, layer: str, opacity: float) -> np.ndarray:
        opened.page.evaluate(
            """([branch, layer, opacity]) => {
                Object.assign(stvg.current.view.preferences, { branch, layer, opacity });
                stvg.current.view.changed();
            }""",
            [branch, layer, opacity],
        )
        opened.page.wait_for_timeout(80)
        return np.abs(picture(opened.page.locator(".frame")) - plain).sum(axis=-1)

    height, width = plain.shape[:2]
    for layer, (row, column) in {"prompted": (HOT_ROW, HOT_COLUMN), "unprompted": (1, 1)}.items():
        for branch in ("attribute", "action"):
            changed = heat(branch, layer, 1.0)
            rows, columns = np.nonzero(changed > 0.9 * changed.max())
            assert abs(rows.mean() / height - (row + 0.5) / GRID) < 0.03, (layer, rows.mean() / height)
            assert abs(columns.mean() / width - (column + 0.5) / GRID) < 0.03
    strong, weak = heat("action", "prompted", 1.0).max(), heat("action", "prompted", 0.4).max()
    assert 0.2 * strong < weak < 0.7 * strong
    assert heat("none", "prompted", 1.0).max() < 12
    # The first sampled frame has no heat.
    opened.seek(0)
    plain = picture(opened.page.locator(".frame"))
    assert heat("action", "prompted", 1.0).max() < 12


def test_the_page_decodes_maps_as_python_does(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    record = maps_record()
    codes = np.random.default_rng(0).integers(0, 256, (len(record["frames"]), GRID, GRID)).astype(np.uint8)
    kept = record["branches"][0]["prompted"] | {"low": -0.5, "codes": base64.b64encode(codes.tobytes()).decode()}
    record["branches"][0]["prompted"] = kept
    values, scale, difference = opened.page.evaluate(
        """(record) => {
            const { layers, scale } = stvg.decodeMaps(record).branches.attribute;
            return [[...layers.prompted], scale, [...layers.difference]];
        }""",
        record,
    )
    expected = decode_values(-0.5, 2.0, codes).ravel()
    other = np.frombuffer(base64.b64decode(record["branches"][0]["unprompted"]["codes"]), np.uint8)
    before = decode_values(0.0, 2.0, other.reshape(codes.shape)).ravel()
    assert np.allclose(values, expected, atol=1e-6)
    assert np.allclose(scale, np.percentile(expected, [50, 99.5]), atol=1e-5)
    assert np.allclose(difference, expected - before, atol=1e-6)


def test_the_difference_shows_both_signs(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    opened.seek(16)
    only(opened)
    opened.page.select_option("select[data-control=heat]", "action")
    opened.page.get_by_label("Layer", exact=True).select_option("difference")
    opened.page.evaluate("stvg.current.view.preferences.opacity = 1; stvg.current.view.changed()")
    opened.page.wait_for_timeout(80)
    seen = picture(opened.page.locator(".frame"))
    height, width = seen.shape[:2]
    grown = seen[int((HOT_ROW + 0.5) / GRID * height), int((HOT_COLUMN + 0.5) / GRID * width)]
    shrunk = seen[int(1.5 / GRID * height), int(1.5 / GRID * width)]
    assert grown[0] > grown[2] + 50
    assert shrunk[2] > shrunk[0] + 50


def test_tiles_show_the_frames_of_the_video(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    opened.page.locator(".strips").first.scroll_into_view_if_needed()
    tile = opened.page.locator(".strip").first.locator(".tile canvas").nth(5)
    for _ in range(50):
        opened.page.wait_for_timeout(100)
        seen = picture(tile)
        if bright(seen, 150).any():
            break
    left, _, right, _ = extent(bright(seen, 150))
    assert abs((left + right) / 2 / seen.shape[1] - (square(39)[0] + square(39)[2]) / 2 / WIDTH) < 0.04
    assert opened.page.locator(".strip").count() == 2 + 6
    opened.page.locator(".strip").first.locator(".tile").nth(3).click()
    assert opened.settled().frame() == 24


def test_spans_and_scores_are_on_the_time_line(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    times = frame_seconds()
    lane = opened.page.locator("[data-row='0'] .lane").bounding_box()
    span = opened.page.locator("[data-row='0'] .span").bounding_box()
    assert lane is not None
    assert span is not None
    assert (span["x"] - lane["x"]) / lane["width"] == pytest.approx(times[START] / times[FRAMES], abs=0.01)
    assert span["width"] / lane["width"] == pytest.approx((times[END + 1] - times[START]) / times[FRAMES], abs=0.01)
    points = opened.page.locator("[data-row='0'] polyline").get_attribute("points")
    heights = [float(point.split(",")[1]) for point in (points or "").split()]
    assert heights == [96.0, 4.0, 4.0, 4.0, 96.0, 96.0]
    opened.page.mouse.click(lane["x"] + lane["width"] * 0.5, lane["y"] + 5)
    opened.settled()
    shown = opened.page.evaluate("stvg.current.view.clock.time")
    assert shown == pytest.approx(times[FRAMES] / 2, abs=0.13)


def test_without_a_video_boxes_move_by_a_clock_of_their_own(index: Path, open_page: Open, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(index.parent, folder)
    for video in (folder / "pages" / "media").iterdir():
        video.write_bytes(b"no video at all")
    opened = open_page(folder / "index.html", strict=False)
    opened.page.wait_for_selector(".stage-notice:visible")
    assert "cannot play the video" in opened.page.locator(".stage-notice").inner_text()
    opened.page.evaluate("stvg.current.view.clock.seekFrame(8)")
    opened.page.locator("body").press("ArrowRight")
    assert opened.frame() == 9
    opened.page.get_by_role("button", name="Play (space)").click()
    opened.wait("stvg.current.view.clock.frame > 12")
    opened.page.locator("body").press("Space")
    stopped = opened.frame()
    opened.page.wait_for_timeout(300)
    assert opened.frame() == stopped
    only(opened, "0")
    assert of_color(picture(opened.page.locator(".frame")), SKY).any()
