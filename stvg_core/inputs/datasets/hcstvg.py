"""HC-STVG, versions 1 and 2, and the file that the method's authors thinned.

One JSON object keyed by the video's file name. Boxes are (x, y, width, height), one for each
consecutive frame from `st_frame` on, which counts from 1 in the owners' files and from 0 in the
thinned one, where every tenth frame is kept (`datasets/hcstvg.py` of the authors).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from pydantic import ValidationError

from stvg_core.inputs.datasets.entries import AnnotationSource, Draft, Entry, EntryMaker
from stvg_core.inputs.datasets.json_elements import Element, JsonError, iterate_elements
from stvg_core.inputs.datasets.problems import Problem, problem, problems_of
from stvg_core.inputs.datasets.records import HcstvgRecord, HcstvgV1Record, HcstvgV2Record, ThinnedRecord

_OF_VERSION_2: Final = "English"
_OF_VERSION_1: Final = "caption"


@dataclass(frozen=True)
class HcstvgReader:
    """Reads one version of HC-STVG.

    Attributes:
        record: what a clip says.
        first_frame: number of the first frame in the file.
        frame_step: every how many-th source frame the file counts.
    """

    record: type[HcstvgRecord]
    first_frame: int = 1
    frame_step: int = 1

    def __call__(self, source: AnnotationSource, maker: EntryMaker) -> Iterator[Entry]:
        """Yield the entries of an annotation file, in its order."""
        with source.file.open("rb") as stream:
            index = -1
            try:
                for element in iterate_elements(stream):
                    index = element.index
                    yield self._entry(element, maker)
            except JsonError as fault:
                yield maker.broken(f"after record {index}", problem(fault.kind, "", str(fault)))

    def _entry(self, element: Element, maker: EntryMaker) -> Entry:
        if element.key is None:
            wrong = problem("wrong-type", "", "expected an object keyed by file name, got a list; is it another file?")
            return maker.broken(f"[{element.index}]", wrong)
        sample_id = PurePosixPath(element.key).stem
        try:
            content = element.parsed()
            if isinstance(content, str):
                # Queries of the test split of version 2: their boxes are not published.
                return maker.entry(Draft(element.key, sample_id, element.key, content, frame_step=self.frame_step))
            record = self.record.model_validate(content)
        except JsonError as fault:
            return maker.broken(element.key, problem(fault.kind, "", str(fault)), sample_id=sample_id)
        except ValidationError as error:
            return maker.broken(element.key, *problems_of(error), *self._hint(content), sample_id=sample_id)
        return maker.entry(self._draft(element.key, sample_id, record))

    def _hint(self, content: object) -> tuple[Problem, ...]:
        """Say so where the record looks like one of the other version."""
        if not isinstance(content, dict):
            return ()
        for other, mine, name in (
            (_OF_VERSION_2, HcstvgV1Record, "hcstvg-v2"),
            (_OF_VERSION_1, HcstvgV2Record, "hcstvg-v1"),
        ):
            if other in content and issubclass(self.record, mine) and other not in self.record.model_fields:
                return (problem("missing-field", "", f"this looks like a record of {name}; name that data set"),)
        return ()

    def _draft(self, key: str, sample_id: str, record: HcstvgRecord) -> Draft:
        if isinstance(record, HcstvgV1Record):
            query, width, height = record.caption, record.width, record.height
        elif isinstance(record, HcstvgV2Record):
            query, (height, width) = record.English, record.img_size
        else:
            raise TypeError(f"expected a record of version 1 or 2, got {type(record).__name__}")
        boxes = np.array(record.bbox, dtype=np.float64)
        boxes[:, 2:] += boxes[:, :2]
        times: tuple[Problem, ...] = ()
        if record.ed_time < record.st_time:
            message = f"expected ed_time after st_time, got {record.st_time:g} and {record.ed_time:g}"
            times = (problem("times-reversed", "ed_time", message),)
        return Draft(
            key=key,
            sample_id=sample_id,
            video_name=key,
            query=query,
            frame_count=record.img_num,
            width=width,
            height=height,
            frame_step=self.frame_step,
            start_frame=record.st_frame - self.first_frame,
            boxes_xyxy=boxes,
            problems=times,
        )


read_hcstvg_v1: Final = HcstvgReader(HcstvgV1Record)
read_hcstvg_v2: Final = HcstvgReader(HcstvgV2Record)
read_hcstvg_v2_thinned: Final = HcstvgReader(ThinnedRecord, first_frame=0, frame_step=10)
