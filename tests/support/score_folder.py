"""A folder with predictions and annotations, and `stvg score` run on them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stvg_core.cli import main

Document = dict[str, Any]
TRUE_BOX, NEAR_BOX = [10, 20, 50, 100], [20, 20, 60, 100.0]


def entry(start: int = 10, end: int = 19, box: list[float] | None = None, **more: object) -> Document:
    boxes = {str(frame): box or TRUE_BOX for frame in range(start, end + 1)}
    return {"num_frames": 100, "start_frame": start, "end_frame": end, "boxes": boxes} | more


def everywhere(start: int, end: int) -> Document:
    return entry(start, end) | {"boxes": {str(frame): NEAR_BOX for frame in range(100)}}


class Folder:
    """A folder with the two files, and the command run on them."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.monkeypatch, self.capsys = path, monkeypatch, capsys

    def write(self, name: str, content: object) -> Path:
        path = self.path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def run(
        self, predictions: object, annotations: object, *more: str, protocol: str = "tubedetr"
    ) -> tuple[int, str, str]:
        paths = self.write("predictions.json", predictions), self.write("annotations.json", annotations)
        return self.call("--predictions", str(paths[0]), "--annotations", str(paths[1]), "--protocol", protocol, *more)

    def call(self, *arguments: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["stvg", "score", *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = self.capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err
