"""How far each backend is from plain transformers, on tiny random models of the real architectures.

    python -m benchmarks.exactness [--family qwen2-vl]
    python -m benchmarks.exactness --dtype bfloat16 [--device cuda]

In float32 prints one Markdown row a family: the largest differences from transformers alone with eager
attention, over every way to show a clip (docs/exactness.md says what each column is). In another dtype
prints how well the order of attention survives: rank correlation of relative-attention maps with
float32's and how often the same cell is highest, for the backend and, beside it, for eager attention in
the same dtype. Measuring is shared with the tests (tests/support/backends/measure.py).
"""

import argparse
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from scipy.stats import spearmanr
from torch import Tensor
from transformers.utils import logging as transformers_logging

from stvg_core.method.attention import relative_rows
from stvg_core.plugin.adapter import AttentionRequest, QuestionAttention
from stvg_core.settings import PromptSettings, RelativeSettings
from stvg_huggingface.testing import TINY_FAMILIES, save_tiny_model
from tests.support.backends import measure
from tests.support.backends.plain_method import plain_rows
from tests.support.backends.subjects import CASES, ONE_CASE, QUESTIONS, Case, Subject, open_subject

OBJECTIVES = [PromptSettings(objective=name, contrast_neutral=True) for name in ("exponential", "linear")]
SEEDS = range(40)


@dataclass(frozen=True)
class Agreement:
    """How alike two sets of relative-attention maps order their cells.

    Attributes:
        rank_correlations: Spearman's, one per row.
        same_peaks: per row, whether the same cell is highest.
    """

    rank_correlations: tuple[float, ...]
    same_peaks: tuple[bool, ...]

    def __str__(self) -> str:
        """Return the mean and the least correlation, and how many peaks are the same."""
        correlations = torch.tensor(self.rank_correlations)
        return (
            f"{correlations.mean():.4f} | {correlations.min():.4f} | {sum(self.same_peaks)} of {len(self.same_peaks)}"
        )


def main() -> None:
    """Print the table that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=list(TINY_FAMILIES), action="append", help="one family; may be repeated")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    families = given.family or list(TINY_FAMILIES)
    where = torch.cuda.get_device_name() if given.device == "cuda" else f"cpu, {platform.machine()}"
    say(f"transformers {transformers.__version__}, torch {torch.__version__}, {given.dtype}, {where}\n")
    with tempfile.TemporaryDirectory() as folder:
        if given.dtype == "float32":
            print_exactness(families, Path(folder), given.device)
        else:
            print_agreement(families, Path(folder), given.dtype, given.device)


def print_exactness(families: Sequence[str], folder: Path, device: str) -> None:
    """Print the largest differences in float32, a row per family."""
    columns = (
        "family", "visual tokens", "logits", "logits with prompt", "rows", "reversed view", "packed", "padded",
        "gradient", "gradient, differences", "learned prompt", "method", "text",
    )  # fmt: skip
    say(f"| {' | '.join(columns)} |\n|---{'|---:' * (len(columns) - 1)}|")
    for family in families:
        single = open_subject(family, save_tiny_model(family, folder / family), device=device)
        halved = save_tiny_model(family, folder / f"{family}-double", layers=2)
        double = open_subject(family, halved, dtype="float64", device=device)
        cells = [f"{value:.1e}" for value in differences(single, double)]
        instruction = "please describe the man"
        same = single.plain.generate(instruction, 12)[1] == single.session.adapter.generate_text(instruction, 12)
        say(f"| {family} | {' | '.join(cells)} | {'equal' if same else 'DIFFERENT'} |")


def differences(single: Subject, double: Subject) -> list[float]:
    """Return the largest difference of each kind over all cases of a family, in the table's order."""
    cases = [case for case in CASES if case.family == single.family]
    (one,) = [case for case in ONE_CASE if case.family == single.family]
    learned = [
        measure.telling_step(single, one, settings.model_copy(update={"momentum": 0.4, "steps": 2}))
        for settings in OBJECTIVES
    ]
    return [
        max(measure.visual_token_difference(single, case) for case in cases),
        max(measure.logit_difference(single, case, prompted=False) for case in cases),
        max(measure.logit_difference(single, case, prompted=True) for case in cases),
        max(measure.row_difference(single, case, layers) for case in cases for layers in (single.layers(), (1, 2))),
        max(measure.reversal_difference(single, case)[1] for case in cases),
        measure.packing_difference(single, one, QUESTIONS)[0],
        measure.padding_difference(single, one),
        max(measure.gradient_difference(single, one, settings) for settings in OBJECTIVES),
        max(measure.slope_difference(double, one, settings) for settings in OBJECTIVES),
        max(measure.learned_prompt_difference(single, one, settings) for settings in learned),
        max(measure.method_difference(single, case) for case in cases),
    ]


def print_agreement(families: Sequence[str], folder: Path, dtype: str, device: str) -> None:
    """Print how well the order of relative attention survives a narrower dtype."""
    say("| family | ours: rank correlation | least | same peak | eager: rank correlation | least | same peak |")
    say("|---|---:|---:|---:|---:|---:|---:|")
    for family in families:
        (case,) = [case for case in ONE_CASE if case.family == family]
        exact, ours, eager = [], [], []
        for seed in SEEDS:
            checkpoint = save_tiny_model(family, folder / f"{family}-{seed}", seed=seed)
            single = open_subject(family, checkpoint, device=device)
            narrow = open_subject(family, checkpoint, dtype=dtype, device=device)
            exact += own_maps(single, case)
            ours += own_maps(narrow, case)
            eager += eager_maps(narrow, case)
        say(f"| {family} | {agreement(ours, exact)} | {agreement(eager, exact)} |")


def own_maps(subject: Subject, case: Case) -> list[Tensor]:
    """Return relative-attention rows of every template token, as the method makes them."""
    request = AttentionRequest(subject.encode(case), (QUESTIONS[0], QUESTIONS[1]), None, subject.layers())
    return _relative(*subject.session.capture_attention(request))


def eager_maps(subject: Subject, case: Case) -> list[Tensor]:
    """Return the same rows from eager attention."""
    request = AttentionRequest(subject.encode(case), (QUESTIONS[0], QUESTIONS[1]), None, subject.layers())
    attentions = [
        QuestionAttention(
            captured.question,
            captured.tokens,
            plain_rows(subject, case, captured.question, subject.layers(), None)[-len(captured.tokens) :],
        )
        for captured in subject.session.capture_attention(request)
    ]
    return _relative(*attentions)


def _relative(query: QuestionAttention, neutral: QuestionAttention) -> list[Tensor]:
    rows = relative_rows(query, neutral, RelativeSettings()).float().cpu()
    return [row for row, token in zip(rows, query.tokens, strict=True) if token.kind == "role"]


def agreement(maps: Sequence[Tensor], exact: Sequence[Tensor]) -> Agreement:
    """Compare maps row by row."""
    pairs = list(zip(maps, exact, strict=True))
    return Agreement(
        tuple(float(spearmanr(first, second).statistic) for first, second in pairs),
        tuple(int(first.argmax()) == int(second.argmax()) for first, second in pairs),
    )


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
