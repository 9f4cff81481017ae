"""docs/metrics.md: what it says of the protocols is worked out from them, and its examples run."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stvg_core.errors import ScoreError
from stvg_core.metrics import METRIC_NAMES, PROTOCOLS, find_protocol, score_report
from stvg_core.metrics.bootstrap import Bootstrap
from stvg_core.metrics.files import MOST_BYTES
from stvg_core.metrics.rules import RULE_TEXTS
from stvg_core.metrics.sample_tube import LARGEST_CORNER, MOST_FRAMES
from stvg_core.metrics.score_report import CSV_COLUMNS, score_files
from stvg_core.metrics.summary import GROUPINGS
from tests.support.scored_cases import same_box, score

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
TEXT = PAGE.read_text(encoding="utf-8")


def rows(cells: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def rules() -> str:
    cells = [["rule", *(f"`{name}`" for name in PROTOCOLS)]]
    for rule in RULE_TEXTS:
        cells.append([f"`{rule}`", *(getattr(protocol.rules, rule) for protocol in PROTOCOLS.values())])
    limits = [protocol.rules for protocol in PROTOCOLS.values()]
    cells.append(
        ["`thresholds`", *(", ".join(f"{each.comparison} {at:g}" for at in each.thresholds) for each in limits)]
    )
    return rows(cells)


def values() -> str:
    return rows(
        [["rule", "value", "means"]]
        + [[f"`{rule}`", f"`{value}`", text] for rule, texts in RULE_TEXTS.items() for value, text in texts.items()]
    )


def sources() -> str:
    return rows(
        [["protocol", "gives the numbers of", "remarks"]]
        + [[f"`{name}`", protocol.source, "; ".join(protocol.remarks)] for name, protocol in PROTOCOLS.items()]
    )


def choice() -> str:
    return rows([["to compare with", "take"], *([each.compares_with, f"`{name}`"] for name, each in PROTOCOLS.items())])


def example() -> str:
    pairs = [((100, 149), (100, 149)), ((100, 149), (125, 174)), ((100, 149), (300, 349)), ((100, 100), (100, 100))]
    cells = [["protocol", *(f"{a}-{b}, found {c}-{d}" for (a, b), (c, d) in pairs), "boxes in the span alone, 125-174"]]
    for name, protocol in PROTOCOLS.items():
        row = [f"`{name}`"]
        for spans, around in [*((spans, 1000) for spans in pairs), (pairs[1], 0)]:
            try:
                numbers = score(same_box(*spans, around=around, frame_count=500), protocol.rules)
                row.append(" / ".join(f"{100 * number:.1f}" for number in numbers))
            except ScoreError:
                row.append("fails")
        cells.append(row)
    return rows(cells)


BLOCKS: dict[str, Callable[[], str]] = {
    "rules": rules,
    "values": values,
    "sources": sources,
    "example": example,
    "choice": choice,
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_generated_block_is_what_the_protocols_give(name: str) -> None:
    (block,) = re.findall(rf"<!-- generated: {name} -->\n(.*?)<!-- end -->", TEXT, re.DOTALL)
    assert block.strip() == BLOCKS[name](), "the protocols have changed: put this text into the block"


def fenced(language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_example_files_give_the_example_document(tmp_path: Path) -> None:
    given, printed = fenced("json")
    path = tmp_path / "both.json"
    path.write_text(given, encoding="utf-8")
    document = score_files(path, path, find_protocol("tubedetr")).document()
    expected = json.loads(printed)
    assert expected.pop("rules")["truth_end"] == document.pop("rules")["truth_end"]
    assert document == expected


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given, _ = fenced("json")
    for name in ("predictions.json", "annotations.json"):
        Path(name).write_text(given, encoding="utf-8")
    (program,) = fenced("python")
    exec(compile(program, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("0.666")


def test_names_and_limits_are_those_of_the_code() -> None:
    assert f"`{','.join(CSV_COLUMNS)}`" in TEXT
    for name in GROUPINGS:
        assert f"| `{name}` |" in TEXT
    for name in METRIC_NAMES:
        assert name in TEXT
    assert f"{MOST_FRAMES:,}".replace(",", " ") in TEXT
    assert f"{int(LARGEST_CORNER):,}".replace(",", " ") in TEXT
    assert MOST_BYTES == 2**29
    assert "512 MiB" in TEXT
    assert Bootstrap(1).confidence == 0.95
    assert score_report._SAMPLED_WHOLE_BELOW == 100
