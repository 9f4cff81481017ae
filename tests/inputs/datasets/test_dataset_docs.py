"""docs/datasets.md says what is so: its example is read, and its tables name everything there is."""

import json
import re
from pathlib import Path

from stvg_core.inputs.datasets import open_dataset
from stvg_core.inputs.datasets.catalog import DATASETS
from stvg_core.inputs.datasets.problems import KINDS, known_defects

PAGE = (Path(__file__).parents[3] / "docs/datasets.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_example_is_read(tmp_path: Path) -> None:
    (tmp_path / "samples.json").write_text(block("json"), encoding="utf-8")
    first, second = open_dataset("folder", tmp_path).entries()
    assert (first.problems, second.problems) == ((), ())
    assert first.sample is not None
    assert first.sample.truth is not None
    assert first.sample.truth.boxes_by_frame() == {100: (10, 20, 50, 100), 101: (11, 20, 51, 100)}
    (tmp_path / "samples.json").unlink()
    lines = "\n".join(json.dumps(row) for row in json.loads(block("json")))
    (tmp_path / "samples.jsonl").write_text(lines, encoding="utf-8")
    assert all(entry.sample for entry in open_dataset("folder", tmp_path).entries())


def test_the_python_example_runs(tmp_path: Path) -> None:
    (tmp_path / "my-data").mkdir()
    (tmp_path / "my-data/samples.json").write_text(block("json"), encoding="utf-8")
    code = block("python").replace('"my-data"', repr(str(tmp_path / "my-data")))
    told: list[tuple[object, ...]] = []
    exec(compile(code, "docs/datasets.md", "exec"), {"print": lambda *values: told.append(values)})
    assert [values[0] for values in told] == ["kitchen-1", "kitchen-2"]


def test_the_tables_name_everything() -> None:
    names = set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))
    assert DATASETS.keys() <= names
    assert KINDS.keys() <= names
    assert {row.key for row in known_defects()} <= names
    for description in DATASETS.values():
        for layout in description.layouts:
            assert layout.name in PAGE
            assert layout.annotations.partition("{")[0] in PAGE
