"""Overlay and contact sheet: read back and measured."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stvg_core.errors import OutputError, VideoError
from stvg_core.outputs.report.contact_sheet import TileSheet, draw_contact_sheet
from stvg_core.outputs.report.document import build_document
from stvg_core.outputs.report.drawing import PAPER, PREDICTION, TRUTH, blend_heat, draw_box, heat_scale, save_png
from stvg_core.outputs.report.folder import write_output_folder
from stvg_core.outputs.report.overlay import VideoCanvas, write_overlay
from stvg_core.values import VideoInfo
from tests.support.groundings import GREY, IRREGULAR, MODEL, a_grounding, a_tube, an_info


def grey_pictures(info: VideoInfo) -> Iterator[tuple[int, np.ndarray]]:
    for frame in range(info.frame_count):
        yield frame, np.full((info.height, info.width, 3), GREY, np.uint8)


def read_back(path: Path) -> tuple[list[np.ndarray], list[float], float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = list(container.decode(stream))
        pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
        return pictures, [float(frame.time) for frame in frames], float(stream.duration * stream.time_base)


def share_of_color(pixels: np.ndarray, color: tuple[int, int, int]) -> float:
    """Return the share of pixels that are this colour, give or take what compression does."""
    return float((np.abs(pixels.astype(int) - color).max(axis=-1) < 40).mean())


def edges(picture: np.ndarray, geometry: VideoCanvas, box: tuple[float, float, float, float]) -> list[np.ndarray]:
    """Return the pixels along each of a box's four edges, away from the corners."""
    shown = picture[geometry.image_top :, geometry.image_left :]
    x0, y0, x1, y1 = np.rint(geometry.box_in_image(np.array(box))).astype(int)
    xs, ys = slice(x0 + 6, x1 - 6), slice(y0 + 6, y1 - 6)
    return [shown[y0, xs], shown[y1, xs], shown[ys, x0], shown[ys, x1]]


@pytest.mark.parametrize(("width", "height"), [(96, 96), (160, 90), (45, 80), (1400, 300)])
def test_the_overlay_keeps_frames_times_and_shows_the_box_in_the_span_only(tmp_path: Path, width: int, height: int):
    info = an_info(width, height)
    box = (0.3 * width, 0.25 * height, 0.7 * width, 0.75 * height)
    path = tmp_path / "overlay.mp4"
    assert write_overlay(path, grey_pictures(info), info, a_tube(info, 3, 6, box), "the man runs") == 10
    pictures, seconds, duration = read_back(path)
    geometry = VideoCanvas(info, "")
    assert np.abs(np.array(seconds) - IRREGULAR).max() < 1e-3
    assert duration == pytest.approx(info.duration_seconds, abs=0.09)
    assert pictures[0].shape == (geometry.height, geometry.width, 3)
    assert geometry.width % 2 == geometry.height % 2 == 0
    assert 480 <= max(geometry.image_width, geometry.image_height) <= 1280
    for frame, picture in enumerate(pictures):
        found = [share_of_color(edge, PREDICTION) for edge in edges(picture, geometry, box)]
        assert min(found) > 0.9 if 3 <= frame <= 6 else max(found) == 0, (frame, found)


def test_the_header_of_the_file_stands_in_front(tmp_path: Path):
    info = an_info()
    write_overlay(tmp_path / "o.mp4", grey_pictures(info), info, a_tube(info, 3, 6, (9, 9, 60, 60)), "x")
    data = (tmp_path / "o.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_truth_has_its_own_colour_and_span(tmp_path: Path):
    info, box = an_info(), (20.0, 20.0, 70.0, 70.0)
    tube, truth = a_tube(info, 1, 2, box), a_tube(info, 5, 6, box)
    write_overlay(tmp_path / "o.mp4", grey_pictures(info), info, tube, "x", truth=truth)
    pictures, _, _ = read_back(tmp_path / "o.mp4")
    geometry = VideoCanvas(info, "")
    for frame, picture in enumerate(pictures):
        shares = [share_of_color(edge, TRUTH) for edge in edges(picture, geometry, box)]
        assert min(shares) > 0.2 if frame in (5, 6) else max(shares) == 0, (frame, shares)
    bar = pictures[0][geometry.bar.top : geometry.bar.top + 8]
    columns = np.flatnonzero((np.abs(bar.astype(int) - TRUTH).max(axis=-1) < 50).any(axis=0))
    length = info.frame_end_seconds(9) - info.frame_seconds[0]
    left, right = geometry.bar.left, geometry.bar.right
    for column, at_seconds in ((columns[0], truth.span.start_seconds), (columns[-1], truth.span.end_seconds)):
        expected = left + (at_seconds - info.frame_seconds[0]) / length * (right - left)
        assert column == pytest.approx(expected, abs=3)


def test_the_position_moves_along_the_time_bar(tmp_path: Path):
    info = an_info()
    write_overlay(tmp_path / "o.mp4", grey_pictures(info), info, a_tube(info, 3, 3, (9, 9, 60, 60)), "x")
    geometry = VideoCanvas(info, "")
    brightest = [
        int(picture[geometry.bar.top + 2].sum(axis=-1).argmax()) for picture in read_back(tmp_path / "o.mp4")[0]
    ]
    assert brightest == sorted(brightest)
    assert brightest[-1] - brightest[0] > geometry.width // 2


def test_times_that_fall_together_are_moved_apart(tmp_path: Path):
    info = an_info(seconds=np.array([0.0, 0.1, 0.1, 0.2]))
    write_overlay(tmp_path / "o.mp4", grey_pictures(info), info, a_tube(info, 1, 2, (9, 9, 60, 60)), "x")
    _, seconds, _ = read_back(tmp_path / "o.mp4")
    assert np.abs(np.array(seconds) - [0.0, 0.1, 0.1, 0.2]).max() < 1e-3
    assert seconds == sorted(set(seconds))


@pytest.mark.parametrize("numbers", [[], [0, 0], [1, 0], [0, 10]])
def test_pictures_that_do_not_fit_the_video_leave_no_file(tmp_path: Path, numbers: list[int]):
    info = an_info()
    pictures = [(number, np.zeros((96, 96, 3), np.uint8)) for number in numbers]
    with pytest.raises(VideoError, match="has the file changed"):
        write_overlay(tmp_path / "o.mp4", pictures, info, a_tube(info, 3, 3, (9, 9, 60, 60)), "x")
    assert list(tmp_path.iterdir()) == []


def test_an_overlay_that_cannot_be_written_is_an_own_error(tmp_path: Path):
    info = an_info()
    with pytest.raises(OutputError, match="cannot write"):
        write_overlay(tmp_path / "no" / "o.mp4", grey_pictures(info), info, a_tube(info, 3, 3, (9, 9, 60, 60)), "x")


def test_pictures_are_taken_one_at_a_time(tmp_path: Path):
    info = an_info(64, 64, np.arange(60) / 30)
    alive = np.zeros(1, int)
    most = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            if self.base is None:
                alive[0] -= 1

    def pictures() -> Iterator[tuple[int, np.ndarray]]:
        nonlocal most
        for frame in range(60):
            picture = Counted((64, 64, 3), np.uint8)
            alive[0] += 1
            most = max(most, int(alive[0]))
            yield frame, picture
            del picture

    write_overlay(tmp_path / "o.mp4", pictures(), info, a_tube(info, 3, 3, (9, 9, 60, 60)), "x")
    assert most <= 3


def test_boxes_far_outside_are_cut_and_never_crash():
    picture = np.full((40, 60, 3), GREY, np.uint8)
    draw_box(picture, np.array([-1e12, -1e12, 1e12, 1e12]), PREDICTION, 3)
    assert (picture == GREY).all()
    draw_box(picture, np.array([10.0, -50, 30, 20]), PREDICTION, 3)
    assert (picture[20, 12:28] == PREDICTION).all()
    assert (picture[0, 10] == PREDICTION).all()
    assert (picture[10, 20] == GREY).all()


@pytest.mark.parametrize("sample_count", [1, 6, 20, 64])
@pytest.mark.parametrize(("width", "height"), [(160, 90), (96, 96), (45, 80), (4, 900), (900, 4)])
def test_the_contact_sheet_has_the_size_that_its_geometry_says(sample_count: int, width: int, height: int):
    sheet = draw_contact_sheet(a_grounding(sample_count, width, height))
    geometry = TileSheet("x", min(sample_count, 20), an_info(width, height), 2)
    assert sheet.shape == (geometry.height, 1280, 3)
    assert geometry.columns * geometry.rows >= min(sample_count, 20)
    last_left, last_top = geometry.corner(min(sample_count, 20) - 1)
    assert last_left + geometry.tile_width <= 1280
    assert last_top + geometry.tile_height <= geometry.height <= 1700
    # Below and beside the tiles there is a margin.
    assert (sheet[-8:] == PAPER).all()
    assert (sheet[:, -8:] == PAPER).all()


def test_tiles_show_heat_and_a_box_that_is_thick_inside_the_span():
    grounding = a_grounding(6)
    sheet, geometry = draw_contact_sheet(grounding), TileSheet("x", 6, grounding.frames.info, 2)
    thickness = []
    for tile, frame in enumerate(grounding.frames.indices):
        left, top = geometry.corner(tile)
        picture = sheet[top : top + geometry.image_height, left : left + geometry.image_width]
        row = picture[geometry.image_height // 2]
        left_half = row[: round(0.4 * geometry.image_width)]
        thickness.append((10 <= frame <= 25, int((left_half == PREDICTION).all(axis=-1).sum())))
        hot, cold = row[-4].astype(int), picture[4, -4].astype(int)
        assert hot[0] - hot[2] > 60, "full heat is yellow"
        assert np.ptp(cold) < 3, "no heat leaves grey grey"
    assert {count for inside, count in thickness if inside} == {4}
    assert {count for inside, count in thickness if not inside} == {1}


def test_heat_has_one_scale_for_all_frames_and_survives_constant_maps():
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 0], maps[1, 0, 0] = 1.0, 0.5
    scale = heat_scale(maps)
    picture = np.full((32, 32, 3), GREY, np.uint8)
    strong, weak = (blend_heat(picture, heat, scale)[2, 2].astype(int) for heat in maps)
    assert strong.sum() != weak.sum()
    flat = blend_heat(picture, np.full((4, 4), 3.0), heat_scale(np.full((2, 4, 4), 3.0)))
    assert np.ptp(flat) == 0


def test_any_query_and_an_unwritable_path(tmp_path: Path):
    grounding = a_grounding(2, text="\x1b[31m人 \ud800 \u202e" + "W" * 5000)
    save_png(tmp_path / "c.png", draw_contact_sheet(grounding))
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.size[0] == 1280
    with pytest.raises(OutputError, match="cannot write"):
        save_png(tmp_path / "no" / "c.png", draw_contact_sheet(grounding))


def test_the_output_folder_holds_the_three_files_or_none(tmp_path: Path):
    grounding = a_grounding()
    info, document = grounding.frames.info, build_document(grounding, MODEL, {}, {})

    def broken() -> Iterator[tuple[int, np.ndarray]]:
        yield 0, np.zeros((90, 160, 3), np.uint8)
        raise VideoError("damaged at frame 1")

    with pytest.raises(VideoError, match="damaged"):
        write_output_folder(tmp_path / "deep" / "out", grounding, document, broken())
    assert list(tmp_path.iterdir()) == []
    folder = write_output_folder(tmp_path / "deep" / "out", grounding, document, grey_pictures(info))
    assert sorted(path.name for path in folder.iterdir()) == [
        "contact_sheet.png",
        "overlay.mp4",
        "report.html",
        "tube.json",
    ]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(VideoError, match="damaged"):
        write_output_folder(folder, grounding, document, broken())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
