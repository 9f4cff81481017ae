"""Where things lie on the contact sheet. Knows no picture and no text, only their sizes in pixels."""

from dataclasses import dataclass

import numpy as np

from stvg_core.outputs.report.lettering import line_height_pixels

SHEET_WIDTH = 1280
_WANTED_HEIGHT = 1500
_LARGEST_PICTURE_SIDE = 320
_LARGEST_COLUMN_COUNT = 10
_SMALLEST_TILE_WIDTH = 100
_SMALLEST_PICTURE_SIDE = 24
MARGIN = 20
GAP = 10
TITLE_PIXELS = 22
TEXT_PIXELS = 15
CAPTION_PIXELS = 13
BAR_PIXELS = 6


@dataclass(frozen=True)
class SheetGeometry:
    """Where things lie on the sheet; all in pixels.

    Attributes:
        columns: tiles beside each other.
        rows: tiles below each other.
        tile_width: of a tile.
        picture_width: of one picture, centred in the tile's width.
        picture_height: of one picture.
        header_height: from the top to the first tile.
        pictures: of a tile, below each other; on a grounding's sheet one per branch.
    """

    columns: int
    rows: int
    tile_width: int
    picture_width: int
    picture_height: int
    header_height: int
    pictures: int = 2

    @classmethod
    def of(
        cls, tile_count: int, source_width: int, source_height: int, title_lines: int = 1, pictures: int = 2
    ) -> "SheetGeometry":
        """Return the geometry for a number of tiles of a video's shape: large tiles, on a sheet of bounded height.

        >>> geometry = SheetGeometry.of(20, 640, 360)
        >>> geometry.columns, geometry.rows, geometry.picture_width, geometry.picture_height
        (5, 4, 240, 135)
        """
        header_height = MARGIN + title_lines * line_height_pixels(TITLE_PIXELS) + 4 * line_height_pixels(TEXT_PIXELS)
        long_side = max(source_width, source_height)
        for columns in range(1, _LARGEST_COLUMN_COUNT + 1):
            tile_width = (SHEET_WIDTH - 2 * MARGIN + GAP) // columns - GAP
            scale = min(tile_width / source_width, _LARGEST_PICTURE_SIDE / long_side)
            picture_width = max(_SMALLEST_PICTURE_SIDE, round(source_width * scale))
            geometry = cls(
                columns=min(columns, tile_count),
                rows=-(-tile_count // columns),
                tile_width=min(tile_width, max(picture_width, _SMALLEST_TILE_WIDTH)),
                picture_width=picture_width,
                picture_height=max(_SMALLEST_PICTURE_SIDE, round(source_height * scale)),
                header_height=header_height + 3 * GAP,
                pictures=pictures,
            )
            if geometry.is_filled and geometry.height <= _WANTED_HEIGHT:
                break
        return geometry

    @property
    def is_filled(self) -> bool:
        """Whether there is no room for one more column, or no tile to put there."""
        return self.rows == 1 or (self.columns + 1) * (self.tile_width + GAP) > SHEET_WIDTH - 2 * MARGIN

    @property
    def caption_height(self) -> int:
        """Of a tile's lower end: time, score and bar."""
        return line_height_pixels(CAPTION_PIXELS) + BAR_PIXELS + 6

    @property
    def tile_height(self) -> int:
        """Of a tile: its pictures and the caption."""
        return self.pictures * (self.picture_height + 2) - 2 + self.caption_height

    @property
    def width(self) -> int:
        """Of the sheet: always the same, so that the header can be read."""
        return SHEET_WIDTH

    @property
    def height(self) -> int:
        """Of the sheet."""
        return self.header_height + self.rows * (self.tile_height + 2 * GAP) - 2 * GAP + MARGIN

    def corner(self, tile: int) -> tuple[int, int]:
        """Return x and y of a tile's upper left corner."""
        row, column = divmod(tile, self.columns)
        return MARGIN + column * (self.tile_width + GAP), self.header_height + row * (self.tile_height + 2 * GAP)


def spread_evenly(frame_count: int, maximum_tiles: int) -> list[int]:
    """Return at most so many sampled frames, spread evenly, the first and the last among them.

    >>> spread_evenly(9, 3)
    [0, 4, 8]
    """
    count = min(frame_count, max(1, maximum_tiles))
    return [int(sample) for sample in np.linspace(0, frame_count - 1, count).round()]
