"""Measures a decomposer against sentences that people split by hand.

Run as `python -m benchmarks.decomposition FILE`. Knows no decomposer's inside.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from stvg_core.errors import QueryError, StvgError
from stvg_core.inputs.query.catalog import open_decomposer
from stvg_core.inputs.query.sentence import as_sub_query, words_of
from stvg_core.plugin.decomposer import Decomposer
from stvg_core.values import SubQueries


class LabelledSentence(BaseModel):
    """A sentence and the sub-queries that a person made of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    style: str
    split: str
    text: str
    attribute: str
    action: str


class LabelledSentences(BaseModel):
    """The file that `evaluate` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    note: str = ""
    sentences: tuple[LabelledSentence, ...]


@dataclass(frozen=True)
class Outcome:
    """One sentence, as labelled and as decomposed."""

    sentence: LabelledSentence
    found: SubQueries

    @property
    def attribute_is_exact(self) -> bool:
        """Whether the attribute is the labelled one, case and final stop aside."""
        return as_sub_query(self.sentence.attribute) == as_sub_query(self.found.attribute)

    @property
    def action_is_exact(self) -> bool:
        """Whether the action is the labelled one, case and final stop aside."""
        return as_sub_query(self.sentence.action) == as_sub_query(self.found.action)

    @property
    def f1(self) -> float:
        """Mean token F1 of attribute and action, 0..1."""
        attribute = token_f1(self.sentence.attribute, self.found.attribute)
        return (attribute + token_f1(self.sentence.action, self.found.action)) / 2


def token_f1(expected: str, found: str) -> float:
    """Return the harmonic mean of precision and recall over words, as multisets, 0..1.

    >>> round(token_f1("the red circle", "the circle"), 3)
    0.8
    """
    ours, theirs = Counter(words_of(found)), Counter(words_of(expected))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 1.0


def load_sentences(path: Path) -> tuple[LabelledSentence, ...]:
    """Read labelled sentences.

    Raises:
        QueryError: the file cannot be read, or is not of the expected form.
    """
    try:
        return LabelledSentences.model_validate_json(path.read_bytes()).sentences
    except OSError as error:
        raise QueryError(f"expected a readable file of labelled sentences, got {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise QueryError(
            f"expected labelled sentences in {path}, got at {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def evaluate(decomposer: Decomposer, sentences: Iterable[LabelledSentence]) -> list[Outcome]:
    """Decompose every sentence."""
    return [Outcome(sentence, decomposer.decompose(sentence.text)) for sentence in sentences]


def table(outcomes: Sequence[Outcome]) -> str:
    """Return accuracy per split and style as a Markdown table."""
    groups = sorted({(item.sentence.split, item.sentence.style) for item in outcomes})
    groups += [(split, "all") for split in sorted({split for split, _ in groups})]
    rows = ["| split | style | sentences | attribute exact | action exact | both exact | token F1 |", "|" + "---|" * 7]
    for split, style in groups:
        chosen = [item for item in outcomes if item.sentence.split == split and style in ("all", item.sentence.style)]
        shares = (
            share(chosen, lambda item: item.attribute_is_exact),
            share(chosen, lambda item: item.action_is_exact),
            share(chosen, lambda item: item.attribute_is_exact and item.action_is_exact),
            share(chosen, lambda item: item.f1),
        )
        rows.append(f"| {split} | {style} | {len(chosen)} | " + " | ".join(f"{value:.3f}" for value in shares) + " |")
    return "\n".join(rows)


def share(outcomes: Sequence[Outcome], measure: Callable[[Outcome], float]) -> float:
    """Return the mean of a measure, 0..1."""
    return sum(map(measure, outcomes)) / len(outcomes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and with --misses what differs; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decomposition", description=__doc__)
    parser.add_argument("file", type=Path, help="labelled sentences (JSON)")
    parser.add_argument("--decomposer", default="rules", help="name, or file:PATH")
    parser.add_argument("--misses", metavar="SPLIT", help="also show what differs in this split")
    options = parser.parse_args(arguments)
    try:
        decomposer = open_decomposer(options.decomposer, generate=None, video_name=None)
        outcomes = evaluate(decomposer, load_sentences(options.file))
    except StvgError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(table(outcomes) + "\n")
    for item in outcomes:
        exact = item.attribute_is_exact and item.action_is_exact
        if item.sentence.split == options.misses and not exact:
            sys.stdout.write(
                f"\n{item.sentence.id}: {item.sentence.text}\n"
                f"  expected: {item.sentence.attribute} / {item.sentence.action}\n"
                f"  found:    {item.found.attribute} / {item.found.action}\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
