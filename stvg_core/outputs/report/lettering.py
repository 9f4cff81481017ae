"""Letters for pictures: which font can write a text, and what stands where none can.

Pillow's bundled font writes English the same on every machine. Other scripts are written
with a font of the system or with the letters of OpenCV 5, where one has them; else accents
are dropped, and what is left is named ("[4 CJK characters]") instead of drawn as empty boxes.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from stvg_core.outputs.report.opencv_letters import OpencvLetters
from stvg_core.outputs.report.text import clean_text

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "arialuni.ttf",
    "Arial Unicode.ttf",
    "msyh.ttc",
)
"""Files that Linux, macOS and Windows commonly have, in the order they are asked."""

_BUNDLED = ""
_OPENCV = "letters of OpenCV"
_RIGHT_TO_LEFT = ("R", "AL")
_PROBE_PIXELS = 20
_NO_CHARACTER = "\uffff"  # never a character, so every font answers with its mark for a missing one
_PLAIN_LETTERS = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-"}
)
_INVISIBLE_CATEGORIES = ("Cf", "Cn", "Co", "Me", "Mn")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont | OpencvLetters


@dataclass(frozen=True)
class Lettering:
    """A text that a font can write.

    Attributes:
        text: one line; may differ from what was asked where no font has its characters.
        font: the font, at the size that was asked.
    """

    text: str
    font: Font

    @property
    def width_pixels(self) -> int:
        """How far the line runs."""
        return round(self.font.getlength(self.text))


def letter(text: str, size_pixels: int, maximum_length: int = 300) -> Lettering:
    r"""Return text from a user with a font that can write it; never fails, whatever the text.

    >>> letter("the man\n in blue", 14).text
    'the man in blue'
    """
    line = clean_text(text, maximum_length).translate(_PLAIN_LETTERS)
    name = _best_font(line)
    return Lettering(_writable(line, name), _font(name, size_pixels))


def fit(text: str, size_pixels: int, width_pixels: int, line_count: int = 1) -> tuple[Lettering, ...]:
    """Return text as at most line_count lines that fit a width; what is too long ends in "..." .

    >>> [line.text for line in fit("the man in blue walks to the sofa", 16, 130, 2)]
    ['the man in blue', 'walks to the sofa']
    """
    whole = letter(text, size_pixels)
    lines: list[Lettering] = []
    rest = whole.text
    while rest and len(lines) < line_count:
        head, rest = _split(rest, whole.font, width_pixels, is_last=len(lines) + 1 == line_count)
        lines.append(Lettering(head, whole.font))
    return tuple(lines)


def write(
    draw: ImageDraw.ImageDraw, at_xy: tuple[int, int], lettering: Lettering, color: tuple[int, int, int], anchor: str
) -> None:
    """Write a line; anchor as in Pillow ("lm": at_xy is the left end's middle)."""
    if isinstance(lettering.font, OpencvLetters):
        lettering.font.write(draw, at_xy, lettering.text, color, anchor)
        return
    draw.text(at_xy, lettering.text, font=lettering.font, fill=color, anchor=anchor)


def line_height_pixels(size_pixels: int) -> int:
    """Return the distance between two lines of a font size."""
    return round(1.35 * size_pixels)


def _split(text: str, font: Font, width_pixels: int, *, is_last: bool) -> tuple[str, str]:
    """Return the part of text that fits and the rest: at a space where there is one."""
    if font.getlength(text) <= width_pixels:
        return text, ""
    ending = "..." if is_last else ""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle].rstrip() + ending) <= width_pixels:
            low = middle
        else:
            high = middle - 1
    # A line shows something even where not one character fits; its end is then cut by the picture.
    cut = max(1, low)
    space = text.rfind(" ", 0, cut + 1)
    if space > (cut // 2 if is_last else 0):
        cut = space
    return text[:cut].rstrip() + ending, text[cut:].lstrip()


def _best_font(line: str) -> str:
    """Return the first font that can write most of a line."""
    wanted = {character for character in line if not character.isspace()}
    best, best_count = _BUNDLED, sum(_has_glyph(_BUNDLED, character) for character in wanted)
    if best_count == len(wanted):
        return best
    for name in (*SYSTEM_FONTS, _OPENCV):
        if not _is_installed(name):
            continue
        count = sum(_has_glyph(name, character) for character in wanted)
        if count > best_count:
            best, best_count = name, count
    return best


def _writable(line: str, name: str) -> str:
    """Return a line with everything that the font lacks replaced."""
    pieces: list[str] = []
    last_script, count = "", 0
    for text, script in _replacements(line, name):
        # A space between two words of one script belongs to what is counted.
        if script and script == last_script:
            count += 1
            pieces[-1] = f" [{count} {script}s] "
        elif script:
            last_script, count = script, 1
            pieces.append(f" [1 {script}] ")
        elif not (text.isspace() and last_script):
            last_script = ""
            pieces.append(text)
    return " ".join("".join(pieces).split())


def _replacements(line: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield text that can be written with "", and each character that cannot with a word for its kind."""
    is_complete = all(character.isspace() or _has_glyph(name, character) for character in line)
    for character in line:
        # Joiners join nothing where one of their sides cannot be written.
        is_joiner = unicodedata.category(character) == "Cf"
        if is_complete or character.isspace() or (_has_glyph(name, character) and not is_joiner):
            yield character, ""
            continue
        invisible = unicodedata.category(character) in _INVISIBLE_CATEGORIES
        base = "".join(part for part in unicodedata.normalize("NFKD", character) if _has_glyph(name, part))
        if base and not invisible:
            yield base, ""
        elif not invisible:
            yield character, _kind(character)


def _kind(character: str) -> str:
    """Return what to call a character: after the writing system, which its name begins with.

    >>> _kind("\u4eba"), _kind("\u0436")
    ('CJK character', 'Cyrillic character')
    """
    if unicodedata.category(character).startswith("S"):
        return "symbol"
    word = unicodedata.name(character, "other").split()[0].split("-")[0]
    return f"{word if word == 'CJK' else word.capitalize()} character"


@lru_cache(maxsize=64)
def _font(name: str, size_pixels: int) -> Font:
    if name == _OPENCV:
        return OpencvLetters(size_pixels)
    return ImageFont.truetype(name, size_pixels) if name else ImageFont.load_default(size_pixels)


@lru_cache(maxsize=64)
def _is_installed(name: str) -> bool:
    try:
        _font(name, _PROBE_PIXELS)
    except OSError:
        return False
    return True


@lru_cache(maxsize=8192)
def _has_glyph(name: str, character: str) -> bool:
    font = _font(name, _PROBE_PIXELS)
    if name == _OPENCV:
        # Its mark for a missing letter is a question mark; letters that run the other way it would not turn round.
        if character.isascii():
            return True
        if unicodedata.bidirectional(character) in _RIGHT_TO_LEFT:
            return False
    return _ink(font, character) != _ink(font, _NO_CHARACTER)


def _ink(font: Font, character: str) -> bytes:
    """Return the pixels of a character, small."""
    if isinstance(font, OpencvLetters):
        return font.ink(character).tobytes()
    picture = Image.new("L", (3 * _PROBE_PIXELS, 2 * _PROBE_PIXELS))
    ImageDraw.Draw(picture).text((_PROBE_PIXELS, 0), character, font=font, fill=255)
    return picture.tobytes()
