"""Sub-queries that somebody made before: the authors' JSON, or one keyed by sentence.

The file is untrusted: bounded in size, validated entry by entry. Knows no language.
"""

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from stvg_core.errors import QueryError, UsageError
from stvg_core.inputs.query.sentence import as_sub_query, clean_sentence
from stvg_core.plugin.decomposer import Decomposer, GenerateText
from stvg_core.values import SubQueries

MAXIMUM_BYTES: Final = 64 * 2**20
"""Largest file; the decomposition of HC-STVG v2 (16,000 sentences) is some megabytes."""
FAILED: Final = "please describe this video"
"""What the authors' language model wrote where it failed (llava, focus_attr.py:176-189)."""


class VideoEntry(BaseModel):
    """What the authors store for one video; the last text of each list counts."""

    model_config = ConfigDict(frozen=True)

    decompose_attribute: tuple[str, ...]
    decompose_action: tuple[str, ...]


class SentenceEntry(BaseModel):
    """What our own format stores for one sentence."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    attribute: str
    action: str


class FileDecomposer(Decomposer):
    """Looks sub-queries up in a JSON file, by sentence or else by the video's file name.

    Two forms, which may be mixed:
    `{"<video file>": {"decompose_attribute": ["..."], "decompose_action": ["..."]}}` is the
    released code's; `{"<sentence>": {"attribute": "...", "action": "..."}}` is ours, where
    case, spaces and final stop of the sentence do not count.
    """

    def __init__(self, path: Path | str, *, video_name: str | None = None) -> None:
        """Read and check the file.

        Args:
            path: the JSON file.
            video_name: file name of the video, with or without folder; None where the file is keyed by sentence.

        Raises:
            QueryError: the file is missing, larger than 64 MiB, no JSON, or an entry is malformed.
        """
        self._path = Path(path)
        self._video_name = video_name
        self._by_video: dict[str, VideoEntry] = {}
        self._by_sentence: dict[str, SentenceEntry] = {}
        for key, value in _read(self._path).items():
            self._add(key, value)

    @classmethod
    def open(cls, argument: str, generate: GenerateText | None, video_name: str | None) -> Decomposer:
        """Return the decomposer of a file.

        Raises:
            UsageError: there is no path.
            QueryError: the file is missing or malformed.
        """
        if not argument:
            raise UsageError("expected decomposer file:PATH, got no path; write it after the colon")
        return cls(argument, video_name=video_name)

    @property
    def name(self) -> str:
        """Name as the user types it, without the path."""
        return "file"

    def decompose(self, text: str) -> SubQueries:
        """Return the stored sub-queries; the whole sentence for one that is marked as failed.

        Raises:
            QueryError: the text is empty or too long, or neither the sentence nor the video is in the file.
        """
        sentence = clean_sentence(text)
        whole = as_sub_query(sentence)
        stored = self._by_sentence.get(whole)
        if stored is not None:
            pair = (("attribute", stored.attribute), ("action", stored.action))
        else:
            entry = self._entry_of_video(sentence)
            pair = (
                ("attribute", entry.decompose_attribute[-1] if entry.decompose_attribute else ""),
                ("action", entry.decompose_action[-1] if entry.decompose_action else ""),
            )
        found, warnings = [], []
        for what, value in pair:
            sub_query = self._stored_text(what, value, sentence)
            if sub_query in ("", FAILED):
                warnings.append(f"{self._path} holds no {what} for this query, so the {what} is the whole sentence")
                sub_query = whole
            found.append(sub_query)
        return SubQueries(sentence, found[0], found[1], self.name, tuple(warnings))

    def _stored_text(self, what: str, value: str, sentence: str) -> str:
        if not as_sub_query(value):
            return ""
        try:
            return as_sub_query(clean_sentence(value))
        except QueryError as error:
            raise QueryError(f"{what} of {sentence[:80]!r} in {self._path}: {error}") from error

    def _add(self, key: str, value: object) -> None:
        by_video = isinstance(value, dict) and bool({"decompose_attribute", "decompose_action"} & value.keys())
        try:
            if by_video:
                self._by_video[key] = VideoEntry.model_validate(value)
            else:
                self._by_sentence[as_sub_query(key)] = SentenceEntry.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            shown = repr(first["input"])[:80]
            raise QueryError(
                f"expected sub-queries for {key[:80]!r} in {self._path}, got {place or 'entry'} = {shown}: "
                f'{first["msg"]}; write {{"attribute": "...", "action": "..."}}'
            ) from error

    def _entry_of_video(self, sentence: str) -> VideoEntry:
        if self._video_name is None:
            raise QueryError(
                f"expected the query as a key of {self._path} ({len(self._by_sentence)} sentences), got "
                f"{sentence[:80]!r}; add it, or name the video where the file is keyed by video"
            )
        wanted = Path(self._video_name)
        for same in (str, lambda name: Path(name).name, lambda name: Path(name).stem):
            matches = [entry for key, entry in self._by_video.items() if same(key) == same(str(wanted))]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise QueryError(
                    f"expected one entry for video {wanted.name!r} in {self._path}, got {len(matches)}; "
                    "name the video with its folder"
                )
        raise QueryError(
            f"expected an entry for this query or for video {wanted.name!r} in {self._path}, got "
            f"{len(self._by_sentence)} sentences and {len(self._by_video)} videos without it; "
            "add it, or use decomposer rules"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise QueryError(
                f"expected sub-queries of at most {MAXIMUM_BYTES // 2**20} MiB, got {path} of {size // 2**20} MiB; "
                "split the file"
            )
        content = from_json(path.read_bytes())
    except OSError as error:
        raise QueryError(f"expected a readable JSON file of sub-queries, got {path}: {error.strerror}") from error
    except ValueError as error:
        raise QueryError(f"expected JSON in {path}, got {error}; write it anew") from error
    if not isinstance(content, dict):
        raise QueryError(
            f"expected a JSON object keyed by video or sentence in {path}, got {type(content).__name__}; "
            "see docs/decomposition.md"
        )
    return content
