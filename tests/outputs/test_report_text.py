"""Text from users: bounded, harmless, and drawn whatever it is."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from stvg_core.outputs.report.drawing import fit_text, printable, text_width_pixels, write_text
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
    lines = fit_text(text, 14, width, line_count)
    assert len(lines) <= line_count
    picture = Image.new("RGB", (200, 40))
    for line in lines:
        assert line.isascii()
        write_text(ImageDraw.Draw(picture), (0, 20), line, 14, (255, 255, 255))


def test_lines_fit_their_width_and_lose_no_word():
    text = "the man in blue clothes walks slowly to the red sofa and sits down beside the woman"
    lines = fit_text(text, 14, 150, 20)
    assert " ".join(lines) == text
    assert max(text_width_pixels(line, 14) for line in lines) <= 150
    assert len(lines) > 3
    assert fit_text(text, 14, 150, 2)[1].endswith("...")
    assert text_width_pixels(fit_text(text, 14, 150, 2)[1], 14) <= 150


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the café", "the cafe"),
        ("人在走路 slowly", "[4 non-Latin characters] slowly"),
        ("Человек в синем", "[13 non-Latin characters]"),
        ("go \N{GRINNING FACE}", "go [1 non-Latin character]"),
        ("“so” — on", '"so" - on'),
    ],
)
def test_characters_that_the_font_lacks_are_counted(text: str, shown: str):
    assert printable(text) == shown


def test_text_leaves_ink():
    image = Image.new("RGB", (100, 30))
    write_text(ImageDraw.Draw(image), (2, 15), "man", 14, (255, 255, 255))
    assert np.asarray(image).max() > 200
