"""A data set on disk: which layout it has, and its samples one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stvg_core._internal.plain_text import one_line
from stvg_core.errors import DatasetError, UsageError
from stvg_core.inputs.datasets.catalog import DATASETS, SPLITS, Description, Layout
from stvg_core.inputs.datasets.entries import AnnotationSource, Entry, EntryMaker
from stvg_core.inputs.datasets.paths import FileFinder, path_problem
from stvg_core.inputs.datasets.samples import GroundingSample


@dataclass(frozen=True)
class Dataset:
    """One split of a data set, located on disk and not read yet.

    Attributes:
        description: which data set.
        root: folder of its files.
        video_root: folder that its videos are relative to.
        split: which part.
        layout: how the files lie.
        file: the annotation file.
    """

    description: Description
    root: Path
    video_root: Path
    split: str
    layout: Layout
    file: Path

    @property
    def file_name(self) -> str:
        """Annotation file relative to the root; as it was named, where it lies elsewhere."""
        return one_line(
            self.file.relative_to(self.root).as_posix() if self.file.is_relative_to(self.root) else str(self.file)
        )

    def entries(self, *, corrections: bool = True) -> Iterator[Entry]:
        """Yield every sample of the file, also those that cannot be used; one is held at a time.

        Args:
            corrections: leave known defects out, and cut boxes at the picture's edge.

        Raises:
            DatasetError: the annotation file cannot be read.
        """
        folders = self.layout.videos
        if self.video_root != self.root:
            # Somebody names the folder that holds the layout's folders, or the one that holds the files.
            folders = (*folders, "", "*")
        finder = FileFinder(self.video_root, tuple(dict.fromkeys(folders)))
        maker = EntryMaker(self.description.name, self.file_name, finder, corrections)
        try:
            yield from self.description.reader(AnnotationSource(self.file, self.root, self.layout.boxes), maker)
        except OSError as error:
            raise DatasetError(
                f"cannot read {self.file_name}: {error.strerror or error}; check the file and its permissions"
            ) from error

    def samples(self, *, corrections: bool = True) -> Iterator[GroundingSample]:
        """Yield the samples that can be used; `stvg dataset check` reports the others."""
        for entry in self.entries(corrections=corrections):
            if entry.sample is not None:
                yield entry.sample


def find_description(name: str) -> Description:
    """Return what is known of a data set.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in DATASETS:
        raise UsageError(f"expected a data set ({', '.join(DATASETS)}), got {name!r}; stvg dataset list describes each")
    return DATASETS[name]


def open_dataset(
    name: str,
    root: Path,
    *,
    split: str | None = None,
    annotations: Path | None = None,
    video_root: Path | None = None,
) -> Dataset:
    """Find a data set's files; nothing is read yet.

    Args:
        name: a name of `stvg dataset list`.
        root: folder of the data set, in any of its layouts.
        split: which part; None: the one that papers report.
        annotations: the annotation file, where it has another name or place than in any layout.
        video_root: folder that the layout's video folders are relative to; None: the root.

    Raises:
        UsageError: no data set of this name.
        DatasetError: a folder is missing, or no layout's annotation file is there.
    """
    description = find_description(name)
    for folder in (root, video_root or root):
        if not _is(folder, folder=True):
            raise DatasetError(f"expected a folder with {name}, got {folder}; name the data set's folder with --root")
    chosen = description.default_split if split is None else split
    if path_problem(chosen, "split") is not None:
        raise UsageError(f"expected the name of a split, such as {description.default_split}, got {chosen!r}")
    if annotations is not None:
        if not _is(annotations, folder=False):
            raise DatasetError(f"expected an annotation file, got {annotations}; check --annotations")
        layout, file = _any_layout(description), annotations
    else:
        layout, file = _recognise(description, root, chosen, video_root or root)
    return Dataset(description, root, video_root or root, chosen, layout, file)


def find_layouts(description: Description, root: Path) -> tuple[tuple[Layout, str], ...]:
    """Return the layouts of a data set whose annotation files lie in a folder, with their splits."""
    matches = []
    for layout in description.layouts:
        if layout.any_split:
            path = PurePosixPath(layout.annotations)
            prefix, _, suffix = path.name.partition("{split}")
            names = sorted(file.name for file in (root / path.parent).glob(f"*{suffix}")) if suffix else []
            splits = [name.removeprefix(prefix).removesuffix(suffix) for name in names]
            if path.parent == PurePosixPath():
                # Any JSON file may lie in a folder of one's own; only the documented name is listed.
                splits = [split for split in splits if split == description.default_split]
        else:
            splits = [split for split in SPLITS if _is(root / layout.annotations.format(split=split), folder=False)]
        matches += [(layout, split) for split in splits]
    return tuple(matches)


def _recognise(description: Description, root: Path, split: str, video_root: Path) -> tuple[Layout, Path]:
    matches = [
        layout for layout in description.layouts if _is(root / layout.annotations.format(split=split), folder=False)
    ]
    if not matches:
        looked = ", ".join(dict.fromkeys(layout.annotations.format(split=split) for layout in description.layouts))
        others = ", ".join(sorted({other for _, other in find_layouts(description, root)}))
        cure = (
            f"name one of the splits {others} with --split"
            if others
            else "see docs/datasets.md, or name the file with --annotations"
        )
        raise DatasetError(f"expected the annotations of {description.name} in {root} ({looked}), got none; {cure}")
    with_videos = [
        layout
        for layout in matches
        if any(_is(video_root / name.removesuffix("/*"), folder=True) for name in layout.videos)
    ]
    layout = (with_videos or matches)[0]
    return layout, root / layout.annotations.format(split=split)


def _any_layout(description: Description) -> Layout:
    """Return a layout that looks for videos and boxes wherever a known one has them."""
    videos = dict.fromkeys(folder for layout in description.layouts for folder in layout.videos)
    boxes = dict.fromkeys(folder for layout in description.layouts for folder in layout.boxes)
    return Layout("named", "", tuple(videos), tuple(boxes))


def _is(path: Path, *, folder: bool) -> bool:
    """Return whether a file or folder is there; a path that the system refuses is not."""
    try:
        return path.is_dir() if folder else path.is_file()
    except (OSError, ValueError):
        return False
