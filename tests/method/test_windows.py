"""Windows of a long video: where they lie, which join, and their maps on one time line; against plain loops."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from stvg_core.inputs.video import Window, lay_windows
from stvg_core.method.windows import WindowFrames, choose_windows, merge_frames, merge_maps, widened
from stvg_core.settings import JointSettings, Settings, WindowSettings
from stvg_core.values import FrameMaps, VideoInfo

QUARTERS = st.sampled_from([0.0, 0.25, 0.5, 0.75])


def info_of(times_ms: list[int], last_ms: int) -> VideoInfo:
    """A video whose frames come on screen at whole milliseconds; the last one is shown for `last_ms`."""
    duration = (times_ms[-1] + last_ms - times_ms[0]) / 1000
    return VideoInfo("a.mp4", 64, 48, len(times_ms) / duration, duration, np.array(times_ms) / 1000)


def plain_windows(times_ms: list[int], end_ms: int, length_ms: int, quarters: int) -> list[Window]:
    """The same in whole numbers (of quarter milliseconds), frame by frame."""
    times, end, length, step = [4 * time for time in times_ms], 4 * end_ms, 4 * length_ms, length_ms * (4 - quarters)
    if end - times[0] <= length:
        return [(0, len(times) - 1)]
    starts, start = [], times[0]
    while start + length < end:
        starts.append(start)
        start += step
    starts.append(end - length)
    windows: list[Window] = []
    for number, start in enumerate(starts):
        final = number == len(starts) - 1
        inside = [frame for frame, time in enumerate(times) if start <= time and (final or time < start + length)]
        if inside and not (windows and inside[-1] <= windows[-1][1]):
            windows.append((inside[0], inside[-1]))
    return windows


@st.composite
def videos(draw: st.DrawFn) -> tuple[list[int], int]:
    """Presentation times of a video, even or variable, freezes among them, and how long the last frame is shown."""
    if draw(st.booleans()):
        gaps = [draw(st.sampled_from([33, 40, 50, 100, 1000]))] * draw(st.integers(0, 80))
    else:
        gaps = draw(st.lists(st.integers(1, 4000), max_size=60))
    start = draw(st.sampled_from([0, 7, 1500]))
    return np.cumsum([start, *gaps]).tolist(), draw(st.integers(1, 3000))


@given(videos(), st.integers(100, 20_000), QUARTERS)
@example(([0, 1000, 2000, 3000], 1000), 2000, 0.5)
@example(([0, 10_000, 10_040], 40), 500, 0.0)
def test_windows_lie_where_a_plain_loop_lays_them(video: tuple[list[int], int], length_ms: int, overlap: float) -> None:
    times_ms, last_ms = video
    windows = lay_windows(info_of(times_ms, last_ms), WindowSettings(length_seconds=length_ms / 1000, overlap=overlap))
    assert list(windows) == plain_windows(times_ms, times_ms[-1] + last_ms, length_ms, round(4 * overlap))


@given(
    st.lists(st.floats(1e-4, 5.0), min_size=1, max_size=80),
    st.floats(0.1, 30.0),
    st.floats(0.0, 0.9),
    st.integers(0, 79),
    st.integers(0, 79),
)
def test_every_frame_of_the_segment_is_in_a_window(
    gaps: list[float], length_seconds: float, overlap: float, one: int, other: int
) -> None:
    seconds = np.cumsum(gaps)
    first, last = sorted((min(one, len(gaps) - 1), min(other, len(gaps) - 1)))
    info = VideoInfo("a.mp4", 64, 48, 1.0, float(seconds[-1] - seconds[0]) + 0.1, seconds)
    windows = lay_windows(info, WindowSettings(length_seconds=length_seconds, overlap=overlap), (first, last))
    assert windows[0][0] == first
    assert windows[-1][1] == last
    assert sorted({frame for start, end in windows for frame in range(start, end + 1)}) == list(range(first, last + 1))
    assert all(before[0] <= after[0] and before[1] < after[1] for before, after in pairwise(windows))
    if len(windows) > 1:
        for start, end in windows:
            assert seconds[end] - seconds[start] <= length_seconds + 2e-6


@pytest.mark.parametrize(("overlap", "shared"), [(0.0, 0), (0.2, 2), (0.5, 5), (0.9, 9)])
def test_neighbours_share_what_the_overlap_says(overlap: float, shared: int) -> None:
    info = VideoInfo("a.mp4", 64, 48, 10.0, 9.7, np.arange(97) / 10)
    windows = lay_windows(info, WindowSettings(length_seconds=1.0, overlap=overlap))
    assert all(end - start == 9 for start, end in windows)
    assert {before[1] - after[0] + 1 for before, after in pairwise(windows[:-1])} == {shared}
    assert windows[-1] == (87, 96), "the last window is as long as the others"


def test_a_video_of_one_length_is_one_window() -> None:
    info = VideoInfo("a.mp4", 64, 48, 10.0, 1.0, np.arange(10) / 10)
    for length_seconds in (None, 1.0, 5.0):
        assert lay_windows(info, WindowSettings(length_seconds=length_seconds)) == ((0, 9),)
    assert len(lay_windows(info, WindowSettings(length_seconds=0.9))) == 2


MARGINS = st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=1, max_size=20)


@given(MARGINS, st.sampled_from(["relative", "positive", "none"]), st.integers(1, 8))
def test_windows_that_join_are_the_best_and_those_like_it(
    margins: list[float | None], join: str, most_joined: int
) -> None:
    known = [margin for margin in margins if margin is not None]
    assume(known)
    settings = WindowSettings.model_validate({"join": join, "most_joined": most_joined})
    chosen = choose_windows(margins, settings)
    best = margins.index(max(known))

    def fits(number: int) -> bool:
        if not 0 <= number < len(margins):
            return False
        margin = margins[number]
        if margin is None or join == "none":
            return False
        return margin >= (0 if join == "positive" else (min(known) + max(known)) / 2)

    assert best in chosen
    assert all(number == best or fits(number) for number in chosen)
    assert len(chosen) <= most_joined
    assert len(chosen) == most_joined or not (fits(chosen[0] - 1) or fits(chosen[-1] + 1))


def test_the_better_neighbour_joins_first() -> None:
    assert choose_windows([1.0, 3.0, 5.0, 4.0, 2.0], WindowSettings(join="positive", most_joined=3)) == range(1, 4)
    assert choose_windows([1.0, 3.0, 5.0, 4.0, 3.5], WindowSettings(join="positive", most_joined=3)) == range(2, 5)


def test_a_model_that_always_says_yes_joins_no_more() -> None:
    margins = [-4.0, -3.5, 2.0, 3.0, -4.0]
    shifted = [margin + 9 for margin in margins]
    settings = WindowSettings(most_joined=5)
    assert choose_windows(margins, settings) == choose_windows(shifted, settings) == range(2, 4)


@st.composite
def joined_windows(draw: st.DrawFn) -> list[WindowFrames]:
    """Windows in a row, overlapping or not, each with sampled frames, repeats among them."""
    windows, first, last = [], draw(st.integers(0, 50)), -1
    for _ in range(draw(st.integers(1, 5))):
        last = max(last + 1, first + draw(st.integers(3, 30)))
        inner = draw(st.lists(st.integers(first, last), max_size=8))
        windows.append(WindowFrames(first, last, np.array(sorted([first, *inner, last]))))
        first = draw(st.integers(first + 1, last + 1))
    return windows


@given(joined_windows(), st.sampled_from(["none", "probability"]), st.sampled_from(["central", "average"]), st.data())
def test_maps_on_one_time_line_are_those_of_a_plain_loop(
    windows: list[WindowFrames], weight: str, shared: str, data: st.DataObject
) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 99)))
    seconds = np.cumsum(generator.uniform(0.01, 1.0, windows[-1].last_frame + 1))
    margins = generator.uniform(-6, 6, len(windows)).tolist()
    maps = [FrameMaps(generator.uniform(0, 1, (len(window.indices), 2, 3)), ("t",)) for window in windows]
    settings = WindowSettings.model_validate({"weight": weight, "shared_frames": shared})
    merged = merge_frames(windows)
    found = merge_maps(windows, merged, maps, margins, seconds, settings)

    yes = [1 / (1 + np.exp(-margin)) for margin in margins]
    weights = [1.0 if weight == "none" else one / max(yes) for one in yes]
    frames, expected, inner = [], [], 0
    for number, window in enumerate(windows):
        for place, frame in enumerate(window.indices.tolist()):
            if number > 0 and 2 * frame < windows[number - 1].last_frame + window.first_frame + 1:
                continue
            if number + 1 < len(windows) and 2 * frame >= window.last_frame + windows[number + 1].first_frame + 1:
                continue
            seen = [weights[number] * maps[number].values[place]]
            if shared == "average":
                for other, neighbour in enumerate(windows):
                    if other != number and neighbour.first_frame <= frame <= neighbour.last_frame:
                        away = [abs(seconds[shown] - seconds[frame]) for shown in neighbour.indices]
                        seen.append(weights[other] * maps[other].values[away.index(min(away))])
            frames.append(frame)
            expected.append(sum(seen) / len(seen))
            inner += windows[0].last_frame < frame < windows[-1].first_frame
    assert [windows[owner].indices[place] for owner, place in zip(merged.owners, merged.places, strict=True)] == frames
    assert frames == sorted(frames)
    np.testing.assert_allclose(found.values, expected)
    assert merged.inner_count == inner
    assert found.grounding_tokens == ("t",)


@given(joined_windows())
def test_one_window_keeps_its_maps(windows: list[WindowFrames]) -> None:
    window = windows[0]
    maps = FrameMaps(np.random.default_rng(0).uniform(0, 1, (len(window.indices), 2, 3)))
    merged = merge_frames([window])
    assert merged.places.tolist() == list(range(len(window.indices)))
    found = merge_maps([window], merged, [maps], [-3.0], np.arange(window.last_frame + 1.0), WindowSettings())
    assert (found.values == maps.values).all()
    count = len(window.indices)
    assert widened(JointSettings(), merged).span_length(count) == JointSettings().span_length(count)


def test_an_event_through_whole_windows_is_as_long_as_they() -> None:
    windows = [WindowFrames(10 * n, 10 * n + 9, np.arange(10 * n, 10 * n + 10)) for n in range(4)]
    assert widened(JointSettings(span_frame_count=7), merge_frames(windows)).span_frame_count == 27
    assert widened(JointSettings(span_frame_count=7), merge_frames(windows[:2])).span_frame_count == 7


@given(joined_windows(), st.floats(0.01, 1.0))
def test_a_share_is_of_one_window_whatever_is_joined(windows: list[WindowFrames], share: float) -> None:
    merged = merge_frames(windows)
    in_one = max(1, round(share * max(len(window.indices) for window in windows)))
    assert widened(JointSettings(span_share=share), merged).span_frame_count == in_one + merged.inner_count


def test_windows_are_off_by_default_and_closed() -> None:
    assert Settings().windows.length_seconds is None
    for wrong in ({"length_seconds": 0.0}, {"overlap": 1.0}, {"most_joined": 0}, {"length_seconds": float("nan")}):
        with pytest.raises(ValidationError):
            WindowSettings.model_validate(wrong)
