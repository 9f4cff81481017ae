"""Text from users: bounded, harmless, and drawn whatever it is."""

import unicodedata

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from stvg_core.outputs.report import lettering
from stvg_core.outputs.report.lettering import fit, letter, write
from stvg_core.outputs.report.text import clean_text

harmful = st.sampled_from("\x00\x1b\x7f\x9b\n\u2028\u202e\u2066\ud800\udfff\uffff\u0301\u200d")
any_text = st.lists(harmful | st.characters(exclude_categories=()), max_size=80).map("".join)


@given(any_text, st.integers(4, 50))
def test_clean_text_is_one_bounded_line_without_controls(text: str, length: int):
    line = clean_text(text, length)
    assert len(line) <= length
    assert line == " ".join(line.split())
    assert not {unicodedata.category(character) for character in line} & {"Cc", "Cs", "Zl", "Zp"}
    line.encode("utf-8")
    assert clean_text(line, length) == line


def test_what_fits_is_not_changed():
    assert clean_text("Der Mann läuft über die Straße.", 100) == "Der Mann läuft über die Straße."


@settings(max_examples=60, deadline=None)
@given(any_text, st.integers(1, 400), st.integers(1, 3))
def test_any_text_can_be_drawn_in_few_lines(text: str, width: int, line_count: int):
    lines = fit(text, 14, width, line_count)
    assert len(lines) <= line_count
    picture = Image.new("RGB", (200, 40))
    for line in lines:
        write(ImageDraw.Draw(picture), (0, 20), line, (255, 255, 255), "lm")


def test_lines_fit_their_width_and_lose_no_word():
    text = "the man in blue clothes walks slowly to the red sofa and sits down beside the woman"
    lines = fit(text, 14, 150, 20)
    assert " ".join(line.text for line in lines) == text
    assert max(line.width_pixels for line in lines) <= 150
    assert len(lines) > 3
    assert fit(text, 14, 150, 2)[1].text.endswith("...")
    assert fit(text, 14, 150, 2)[1].width_pixels <= 150


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the café", "the cafe"),
        ("人在走路 slowly", "[4 CJK characters] slowly"),
        ("Человек в синем", "[13 Cyrillic characters]"),
        ("go \N{GRINNING FACE}", "go [1 symbol]"),
        ("“so” — on", '"so" - on'),
    ],
)
def test_what_no_font_has_is_named(monkeypatch: pytest.MonkeyPatch, text: str, shown: str):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())
    # As with OpenCV 4.
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    known = (lettering._is_installed, lettering._font)
    for found in known:
        found.cache_clear()
    assert letter(text, 14).text == shown
    for found in known:
        found.cache_clear()


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV 4 has no letters of its own")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the café", "the café"),
        ("人在走路 slowly?", "人在走路 slowly?"),
        ("Человек в синем", "Человек в синем"),
        ("한국어 man", "한국어 man"),
        ("人 go \N{GRINNING FACE}", "人 go [1 symbol]"),
        ("人 \u05d0\u05d1", "人 [2 Hebrew characters]"),
        ("人 \u0e44\u0e17\u0e22", "人 [3 Thai characters]"),
    ],
)
def test_opencv_writes_what_no_font_of_the_system_has(monkeypatch: pytest.MonkeyPatch, text: str, shown: str):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())
    words = letter(text, 20)
    assert words.text == shown
    pictures = {}
    for anchor, x in (("lm", 20), ("rm", 380), ("ls", 20)):
        picture = Image.new("RGB", (400, 60))
        write(ImageDraw.Draw(picture), (x, 30), words, (255, 200, 0), anchor)
        rows, columns = np.nonzero(np.asarray(picture).max(axis=-1) > 100)
        pictures[anchor] = (int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max()))
    left, right, top, bottom = pictures["lm"]
    assert abs(left - 20) <= 4
    assert abs(right - 20 - words.width_pixels) <= 4
    assert abs((top + bottom) / 2 - 30) <= 5
    assert abs(pictures["rm"][1] - 380) <= 4
    # On the baseline: only what hangs below it is lower.
    assert pictures["ls"][2] < 20
    assert pictures["ls"][3] <= 36


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV 4 has no letters of its own")
def test_letters_of_opencv_are_cut_at_the_picture_and_fit_a_width(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ())
    lines = fit("人在走路" * 40, 16, 200, 2)
    assert len(lines) == 2
    assert all(line.width_pixels <= 200 for line in lines)
    picture = Image.new("RGB", (50, 20))
    for at in ((-30, 5), (45, 18), (0, -10)):
        write(ImageDraw.Draw(picture), at, lines[0], (255, 255, 255), "lm")
    assert np.asarray(picture).max() > 200


def test_a_letter_leaves_ink():
    picture = Image.new("RGB", (100, 30))
    write(ImageDraw.Draw(picture), (2, 15), letter("man", 14), (255, 255, 255), "lm")
    assert np.asarray(picture).max() > 200
