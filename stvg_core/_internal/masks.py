"""Masks as run lengths: small enough to keep for every frame of a track, exact at every size.

The runs are those of COCO (pycocotools): down the columns, background first. Knows no video.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from stvg_core.errors import TrackError


@dataclass(frozen=True, eq=False)
class RunLengthMask:
    """Which pixels of a picture show an object.

    Attributes:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        counts: lengths of runs of equal pixels, down the columns; the first is of background and may be 0.
    """

    height: int
    width: int
    counts: Int64[np.ndarray, " run"]

    def __post_init__(self) -> None:
        """Check that the runs fill the picture."""
        if self.height < 1 or self.width < 1:
            raise TrackError(f"expected a mask of at least 1x1 pixels, got {self.width}x{self.height}")
        if (self.counts < 0).any() or int(self.counts.sum()) != self.height * self.width:
            raise TrackError(
                f"expected runs that fill {self.width}x{self.height} pixels, got {int(self.counts.sum())} pixels; "
                "is the mask of another picture?"
            )
        view = self.counts.view()
        view.flags.writeable = False
        object.__setattr__(self, "counts", view)

    @classmethod
    def of(cls, pixels: Bool[np.ndarray, "height width"]) -> "RunLengthMask":
        """Return the run lengths of a mask.

        >>> RunLengthMask.of(np.array([[False, True], [True, True]])).counts.tolist()
        [1, 3]
        """
        flat = pixels.ravel(order="F")
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        starts = [0, 0] if flat[0] else [0]
        counts = np.diff(np.concatenate([starts, changes, [flat.size]])).astype(np.int64)
        height, width = pixels.shape
        return cls(height, width, counts)

    def pixels(self) -> Bool[np.ndarray, "height width"]:
        """Return the mask itself.

        >>> RunLengthMask(2, 2, np.array([1, 3])).pixels().tolist()
        [[False, True], [True, True]]
        """
        shown = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(shown, self.counts).reshape((self.height, self.width), order="F")

    @property
    def area_pixels(self) -> int:
        """Number of pixels that show the object."""
        return int(self.counts[1::2].sum())

    def box_xyxy(self) -> Float64[np.ndarray, " xyxy=4"] | None:
        """Return the smallest box around the object, in pixels of the mask; None where there is none.

        >>> RunLengthMask(2, 4, np.array([3, 2, 3])).box_xyxy().tolist()
        [1.0, 0.0, 3.0, 2.0]
        """
        ends = np.cumsum(self.counts)
        kept = self.counts[1::2] > 0
        first, last = ends[0:-1:2][kept], ends[1::2][kept] - 1
        if first.size == 0:
            return None
        x0, x1 = int(first[0]) // self.height, int(last[-1]) // self.height
        # A run that goes on in the next column covers the whole height.
        wraps = (first // self.height != last // self.height).any()
        y0 = 0 if wraps else int((first % self.height).min())
        y1 = self.height - 1 if wraps else int((last % self.height).max())
        return np.array([x0, y0, x1 + 1, y1 + 1], dtype=np.float64)

    def resized(self, width: int, height: int) -> "RunLengthMask":
        """Return the mask of the same picture at another size, by the nearest pixel.

        >>> RunLengthMask(1, 2, np.array([1, 1])).resized(4, 1).counts.tolist()
        [2, 2]
        """
        if (width, height) == (self.width, self.height):
            return self
        rows, columns = (np.arange(height) + 0.5) * self.height / height, (np.arange(width) + 0.5) * self.width / width
        return RunLengthMask.of(self.pixels()[np.ix_(rows.astype(np.int64), columns.astype(np.int64))])

    def at_centres(self, rows: int, columns: int) -> Float64[np.ndarray, "row column"]:
        """Return how much of the object lies at the centre of each cell of a grid, 0..1.

        Bilinear between the pixels around a centre, as the released code samples its masks
        (spatial_tuning.py:300-306; `torch.nn.functional.interpolate`). What lies between the centres is not seen.

        >>> RunLengthMask.of(np.array([[False, False, True, True]])).at_centres(1, 2).tolist()
        [[0.0, 1.0]]
        """
        return bilinear(self.pixels(), rows, columns)

    def on_grid(self, rows: int, columns: int) -> Float64[np.ndarray, "row column"]:
        """Return how much of each cell of a grid shows the object, 0..1.

        What lies at the cells' centres; of a mask that lies between all of them nothing would be left, and it is given
        as the exact share of each cell instead.

        >>> RunLengthMask.of(np.array([[True, False, False, False]])).on_grid(1, 1).tolist()
        [[0.25]]
        """
        sampled = self.at_centres(rows, columns)
        if sampled.any() or not self.area_pixels:
            return sampled
        return np.asarray(_shares(self.height, rows) @ self.pixels() @ _shares(self.width, columns).T, dtype=np.float64)


def bilinear(
    values: Float64[np.ndarray, "height width"] | Bool[np.ndarray, "height width"],
    rows: int,
    columns: int,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> Float64[np.ndarray, "row column"]:
    """Return a picture or map sampled bilinearly at the centres of a grid, coarser or finer than itself.

    The numbers are those of `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`, without smoothing
    where the grid is coarser.

    Args:
        values: of cells that divide the picture evenly.
        rows: of the grid over the same picture.
        columns: of the grid.
        window: rows and columns of the grid to compute.

    >>> bilinear(np.array([[0.0, 4.0]]), 1, 4).tolist()
    [[0.0, 1.0, 3.0, 4.0]]
    """
    down, across = window
    return sampled(sampled(values, columns, across).T, rows, down).T


def sampled(
    values: Float64[np.ndarray, "row column"] | Bool[np.ndarray, "row column"], cells: int, window: slice = slice(None)
) -> Float64[np.ndarray, "row cell"]:
    """Return rows of values sampled at the centres of other cells, linearly between the nearest two.

    Args:
        values: of columns that divide each row evenly.
        cells: that divide the same row.
        window: which of them are wanted.
    """
    before, after, share = (part[window] for part in _neighbours(values.shape[1], cells))
    return np.asarray(values[:, before] * (1 - share) + values[:, after] * share, dtype=np.float64)


def _neighbours(pixels: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels before and after each cell's centre, and how far it is from the one towards the other."""
    centre = np.maximum((np.arange(cells) + 0.5) * pixels / cells - 0.5, 0.0)
    before = np.floor(centre).astype(np.int64)
    return before, np.minimum(before + 1, pixels - 1), centre - before


def _shares(pixels: int, cells: int) -> np.ndarray:
    """Return which share of each cell each pixel covers, along one side."""
    start, edges = np.arange(pixels) * cells / pixels, np.arange(cells)[:, None]
    shared = np.minimum(start + cells / pixels, edges + 1) - np.maximum(start, edges)
    return np.asarray(np.clip(shared, 0.0, None))
