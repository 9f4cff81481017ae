"""Screenshots as arrays, and where things are on them."""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SKY = (86, 180, 233)
GREEN = (0, 158, 115)
TRUTH = (230, 159, 0)


def picture(place: "Locator") -> np.ndarray:
    """Return what is seen of an element, as height x width x 3."""
    return np.array(Image.open(io.BytesIO(place.screenshot())).convert("RGB")).astype(int)


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom (ends excluded) of where a mask is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert rows.size, "nothing of this colour is seen"
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def of_color(seen: np.ndarray, color: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
    return np.abs(seen - np.array(color)).max(axis=-1) <= tolerance


def bright(seen: np.ndarray, least: int = 200) -> np.ndarray:
    """Return where a picture is bright; its edge is left out, where the page shows round its corners."""
    mask = seen.min(axis=-1) > least
    inner = np.zeros_like(mask)
    inner[4:-4, 4:-4] = mask[4:-4, 4:-4]
    return inner
