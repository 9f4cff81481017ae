"""The data sets that are read here, and how their files lie on disk: tables, no code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from stvg_core.inputs.datasets.entries import AnnotationSource, Entry, EntryMaker
from stvg_core.inputs.datasets.hcstvg import read_hcstvg_v1, read_hcstvg_v2, read_hcstvg_v2_thinned
from stvg_core.inputs.datasets.simple import read_simple
from stvg_core.inputs.datasets.vidstg import read_vidstg, read_vidstg_as_stcat

Reader = Callable[[AnnotationSource, EntryMaker], Iterator[Entry]]

SPLITS: Final = ("train", "val", "test", "query")
"""Names of splits in published data sets."""


@dataclass(frozen=True)
class Layout:
    """How one project lays a data set out.

    Attributes:
        name: the project, or `ours`.
        annotations: annotation file, relative to the root; `{split}` stands for the split.
        videos: folders of the videos, "" for the root; a last part `*` stands for every folder there.
        boxes: the same, for boxes in files of their own.
        any_split: whether splits may have any name.
    """

    name: str
    annotations: str
    videos: tuple[str, ...]
    boxes: tuple[str, ...] = ()
    any_split: bool = False


@dataclass(frozen=True)
class Description:
    """What is known of a data set before its files are looked at.

    Attributes:
        name: as the user types it.
        title: what it is.
        default_split: the split that papers report.
        source_convention: how its file counts frames and writes boxes.
        reader: reads it.
        layouts: where its files may lie, the first match wins.
    """

    name: str
    title: str
    default_split: str
    source_convention: str
    reader: Reader
    layouts: tuple[Layout, ...]


_VIDSTG_LAYOUTS: Final = (
    Layout("stcat", "sent_annos/{split}_annotations.json", ("videos",), ("bbox_annos",)),
    Layout("tubedetr", "{split}_annotations.json", ("video/*", "video"), ("training/*", "validation/*")),
    Layout(
        "ours",
        "annotations/{split}_annotations.json",
        ("video/*", "video", "videos"),
        ("vidor/training/*", "vidor/validation/*", "annotation/training/*", "annotation/validation/*", "vidor"),
    ),
)

_ALL: Final = (
    Description(
        "hcstvg-v1",
        "HC-STVG version 1",
        "test",
        "st_frame from 1; bbox (x, y, width, height), one per frame from there on",
        read_hcstvg_v1,
        (
            Layout("ours", "hcstvg_v1/{split}.json", ("video",), any_split=True),
            Layout("stcat", "annos/hcstvg_v1/{split}.json", ("v1_video",)),
            Layout("authors", "annos/hcstvg/{split}.json", ("v1_video",)),
            Layout("ta-stvg", "annos/{split}.json", ("v1_video",)),
            Layout("tubedetr", "{split}.json", ("video/*", "video")),
        ),
    ),
    Description(
        "hcstvg-v2",
        "HC-STVG version 2",
        "val",
        "st_frame from 1; bbox (x, y, width, height), one per frame from there on; img_size (height, width)",
        read_hcstvg_v2,
        (
            Layout("ours", "hcstvg_v2/{split}.json", ("video",), any_split=True),
            Layout("cg-stvg", "annos/hcstvg_v2/{split}.json", ("v2_video",)),
            Layout("authors", "annos/hcstvg/{split}.json", ("v2_video",)),
            Layout("authors", "annos/hcsvtg/{split}.json", ("v2_video",)),
            Layout("ta-stvg", "annos/{split}.json", ("v2_video",)),
            Layout("stvg-r1", "anno_v2/{split}_v2.json", ("video_parts/*", "video_parts")),
            Layout("tubedetr", "{split}v2.json", ("video/*", "video")),
        ),
    ),
    Description(
        "hcstvg-v2-thinned",
        "HC-STVG version 2, every tenth frame, as the method's authors evaluate",
        "val",
        "st_frame from 0 in thinned frames; thinned frame n is source frame 10 n; otherwise as hcstvg-v2",
        read_hcstvg_v2_thinned,
        (
            Layout("authors", "annos/hcstvg/{split}_proc.json", ("v2_video",)),
            Layout("authors", "annos/hcsvtg/{split}_proc.json", ("v2_video",)),
        ),
    ),
    Description(
        "vidstg",
        "VidSTG, with boxes of VidOR",
        "test",
        "frames from 0; temporal_gt.end_fid is the frame after the last; used_segment includes both ends; corners",
        read_vidstg,
        _VIDSTG_LAYOUTS,
    ),
    Description(
        "vidstg-stcat",
        "VidSTG as STCAT, CG-STVG and TA-STVG read it",
        "test",
        "as vidstg, but temporal_gt.end_fid belongs to the span, and a missing last box is copied",
        read_vidstg_as_stcat,
        _VIDSTG_LAYOUTS,
    ),
    Description(
        "folder",
        "a folder of your own: samples.json or samples.jsonl",
        "samples",
        "frames from 0, both ends included; boxes by corners",
        read_simple,
        (
            Layout("ours", "{split}.json", ("",), any_split=True),
            Layout("ours", "{split}.jsonl", ("",), any_split=True),
        ),
    ),
)

DATASETS: Final = {description.name: description for description in _ALL}
"""Every data set, by name."""
