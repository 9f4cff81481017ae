"""A checkpoint's card from what was measured of it: `python -m tiny_recipe.card CHECKPOINT --measured FILE.json`.

Every figure comes from the file of `tiny_recipe.measure` and the checkpoint's own files, so that a
card cannot say what was not measured. What only a person can tell (minutes, what happened in the run)
is the note.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from stvg_tiny.errors import TinyError
from tiny_recipe.accuracy import CUTS
from tiny_recipe.architectures import ARCHITECTURES, Architecture, architecture_of
from tiny_recipe.controls import ACTION_ONLY, ATTRIBUTE_ONLY, ATTRIBUTE_TIMES_ACTION, ORACLE, PAPERS_JOIN, RANDOM
from tiny_recipe.errors import CheckpointError
from tiny_recipe.measure import LEVELS, Measured, read_measured
from tiny_recipe.measurements import GROUP_OF_ALL, as_table, figure
from tiny_recipe.questions import YES_NO_KINDS

CARD_NAME: Final = "README.md"
_TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {"qwen2-vl": "A Qwen2-VL", "llava-next": "A LLaVA-NeXT-Video", "internvl": "An InternVL"}
)
_ASKED: Final = ("attribute", "action", "subject_action", "full")
_MILLION: Final = 1_000_000


def write_card(folder: Path, measured: Measured, note: str, seeds: Mapping[int, Measured]) -> str:
    """Return a card's text.

    Args:
        folder: of the checkpoint.
        measured: what was measured of it.
        note: what happened in its run; Markdown.
        seeds: what was measured of runs of the same recipe from other seeds.

    Raises:
        CheckpointError: the checkpoint's files cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        size_bytes = (folder / "model.safetensors").stat().st_size
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected a checkpoint in {folder}: {error}") from error
    row = architecture_of(config)
    parts = [
        _head(row, config, measured, size_bytes),
        _answers(measured),
        _looking(measured),
        _routes(measured),
        _grounding(measured),
    ]
    if seeds:
        parts.append(_seeds(measured, seeds))
    parts.append(_training(row, measured, note))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _head(row: Architecture, config: Mapping[str, Any], measured: Measured, size_bytes: int) -> str:
    text, vision, grid = config["text_config"], config["vision_config"], row.grid
    width = vision.get("embed_dim") or vision["hidden_size"]
    depth = vision.get("depth") or vision["num_hidden_layers"]
    tokens = f"{grid.steps}x{grid.cells}x{grid.cells} visual tokens"
    facts = [
        ("architecture", f"`{config['architectures'][0]}` (plain transformers, no remote code)"),
        (
            "text model",
            f"{text['num_hidden_layers']} layers, {text['hidden_size']} wide, {text['num_attention_heads']} heads "
            f"({text['num_key_value_heads']} for keys and values), {text['vocab_size']} words",
        ),
        ("vision tower", f"{depth} layers, {width} wide, patches of {grid.patch_pixels} pixels"),
        ("input", f"{grid.frame_count} frames of {grid.size_pixels}x{grid.size_pixels} pixels, {tokens}"),
        ("weights", f"{measured.parameters:,}; safetensors, fp16, {size_bytes / _MILLION:.1f} MB"),
    ]
    return f"""---
license: apache-2.0
library_name: transformers
---
# tiny:{row.name}

{_TITLES[row.name]} of {measured.parameters / _MILLION:.2f} million parameters that answers yes/no questions about
coloured shapes in synthetic videos, and looks at what is asked for. It is a test and demonstration model: it
knows six colours, five shapes and seven actions, and is of no use for any real video.

{as_table(["", ""], facts)}

**Where it looks was trained in.** During training a loss made the six role tokens (a question's final
punctuation and the five tokens of the template behind it) read the question's words in the first layer,
and look at the objects that it names in the others. The model stands in for large models of which the
paper reports such role tokens; it is no evidence that they have them.

All figures below are of the {measured.split} split, the first {measured.scenes} scenes of each level
({_split_note(measured)}), by

```console
$ python -m tiny_recipe.measure CHECKPOINT --split {measured.split} --scenes {measured.scenes} --out FILE.json
```

with {", ".join(f"{name} {version}" for name, version in measured.versions.items())}."""


def _split_note(measured: Measured) -> str:
    if measured.split == "test":
        return "half of them with combinations of colour, shape and action that training never showed"
    return "of the combinations that training showed; settings and stages were chosen on this split"


def _answers(measured: Measured) -> str:
    lines = []
    for kind in YES_NO_KINDS:
        cells = [
            f"{measured.answers[level][name]:.3f}" for level in LEVELS for name in (kind, f"{kind}_yes", f"{kind}_no")
        ]
        lines.append([kind, *cells])
    header = ["question", *(f"{level}: {part}" for level in LEVELS for part in ("all", "yes", "no"))]
    return f"""## How well it answers

{as_table(header, lines)}

An answer counts as right if the true word is the most likely of the whole vocabulary. Yes and no are asked
equally often, so chance is .5. `action` has a general subject ("something moves left"), `subject_action` a shape
("the circle moves left"), `combined` all three ("the red circle moves left")."""


def _looking(measured: Measured) -> str:
    parts = []
    for level in LEVELS:
        lines = []
        for kind in _ASKED:
            result = measured.pointing[level][kind]
            spans = [f"{min(hits):.2f}-{max(hits):.2f}" for hits in result["hits"]]
            lines.append([kind, f"{result['random_object']:.2f}", *spans])
        layers = len(lines[0]) - 3
        header = [level, "random object", *(f"layer {number}" for number in range(layers)), "mean of all layers"]
        parts.append(as_table(header, lines))
    tables = "\n\n".join(parts)
    return f"""## Where it looks

How often the visual token with the most attention lies on an object that the question describes: the worst and
the best of the six role tokens, through the framework's adapter.

{tables}

`full` (colour, shape and action in one question) was never supervised."""


def _routes(measured: Measured) -> str:
    lines = [[kind, *(f"{measured.routes[cut][kind]:.3f}" for cut in CUTS)] for kind in YES_NO_KINDS]
    return f"""## What its answers are made from

Yes/no accuracy on hard scenes while a question's own words, or the role tokens behind them, see no visual token
(attention cut at test time):

{as_table(["question", "nothing cut", "words cut", "role tokens cut"], lines)}"""


def _grounding(measured: Measured) -> str:
    tracker = "regions"
    names = [
        f"{join}, {tracks}"
        for tracks in (tracker, ORACLE)
        for join in (ATTRIBUTE_TIMES_ACTION, PAPERS_JOIN, ATTRIBUTE_ONLY, ACTION_ONLY)
    ]
    rows, failures = [], 0
    for name in (RANDOM, *names):
        cells = []
        for level in LEVELS:
            result = next(one for one in measured.grounding[level][GROUP_OF_ALL]["rows"] if one["name"] == name)
            failures += result["failures"]
            cells += [f"{result['m_tIoU']:.3f}", figure(result["m_vIoU"], result["standard_error"])]
        rows.append([name, *cells])
    pairs = []
    for tracks in (tracker, ORACLE):
        for join in (ATTRIBUTE_TIMES_ACTION, PAPERS_JOIN):
            for control in (ATTRIBUTE_ONLY, ACTION_ONLY):
                first, second = f"{join}, {tracks}", f"{control}, {tracks}"
                pairs.append([f"{first} - {control}", *(_paired(measured, level, first, second) for level in LEVELS)])
    header = ["row", *(f"{level}: {part}" for level in LEVELS for part in ("m_tIoU", "m_vIoU (standard error)"))]
    own = measured.settings["joint"]["track_branches"]
    return f"""## How well it grounds

Through the framework, preset `calibrated` (`stvg-settings.json` in this folder; its own join is `{own}`), clips of 192
pixels and 128 frames; a clip that failed would count as zero ({failures or "none"} did):

{as_table(header, rows)}

Paired differences of m_vIoU, clip by clip (standard error of the difference):

{as_table(["row - control", *LEVELS], pairs)}"""


def _paired(measured: Measured, level: str, first: str, second: str) -> str:
    result = next(
        one
        for one in measured.grounding[level][GROUP_OF_ALL]["paired"]
        if one["name"] == first and one["control"] == second
    )
    return figure(result["m_vIoU_difference"], result["m_vIoU_standard_error"], sign="+")


def _seeds(measured: Measured, seeds: Mapping[int, Measured]) -> str:
    row_name = f"{ATTRIBUTE_TIMES_ACTION}, regions"
    lines = []
    for seed, one in sorted({0: measured, **seeds}.items()):
        hard = one.answers["hard"]
        pointing = [one.pointing["hard"][kind] for kind in _ASKED[:2]]
        result = {
            level: next(row for row in one.grounding[level][GROUP_OF_ALL]["rows"] if row["name"] == row_name)
            for level in LEVELS
        }
        lines.append(
            [
                seed,
                sum(one.training["steps"].values()) if one.training else "-",
                *(f"{hard[kind]:.3f}" for kind in ("attribute", "action", "combined")),
                *(f"{look['mean_token_hits'][-1]:.2f} ({look['random_object']:.2f})" for look in pointing),
                *(figure(result[level]["m_vIoU"], result[level]["standard_error"]) for level in LEVELS),
                *(_paired(one, level, row_name, f"{ACTION_ONLY}, regions") for level in LEVELS),
            ]
        )
    header = [
        "seed",
        "steps",
        "attribute",
        "action",
        "combined",
        "pointing, attribute",
        "pointing, action",
        *(f"m_vIoU, {level}" for level in LEVELS),
        *(f"minus action only, {level}" for level in LEVELS),
    ]
    return f"""## Other seeds

The same recipe from other seeds, each calibrated for itself; yes/no and pointing (the mean over layers and over the
role tokens, beside a random object) on hard scenes, `attribute x action` on `regions` tracks:

{as_table(header, lines)}"""


def _training(row: Architecture, measured: Measured, note: str) -> str:
    steps = measured.training.get("steps", {})
    stages = ", ".join(f"{count} `{name}`" for name, count in steps.items())
    place = ", and the token's own row and column" if row.grid.token_frames == 1 else ""
    follows = (
        "\n  And half of the first layer's heads follow an object to where it was a frame earlier."
        if row.grid.token_frames == 1
        else ""
    )
    return f"""## How it was trained

```console
$ nox -s train_tiny -- {row.name} --out runs/{row.name} --seed 0
```

{sum(steps.values()):,} steps of 8 videos: {stages}.

- **What supervised it.** Answers to yes/no questions, captions and a few open questions; on the *visual tokens*,
  dense labels (colour, shape and action{place}) read by throw-away linear heads; and the
  attention of the role tokens, with -log(share of a token's visual attention that lies on the objects that the question
  names) in the mean over layers, half of that in each layer but the first, and .3 times -log(attention to a naming
  word of the question) in the first. Questions that name colour, shape and action together have no such
  target.{follows}
- **Words blocked.** In the last stage the own words of half of the questions saw no visual token.
- **Held out of training**: six pairs of a colour and a shape, 17 triples with an action, the finest background, and
  scenes of five objects (`stvg_tiny.combinations`); neither seen nor asked for. No box was ever an output.
{note.strip()}

## Use

The framework finds it by name: `stvg ground VIDEO "The red circle moves left." --model tiny:{row.name}`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = ArgumentParser(prog="python -m tiny_recipe.card", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help=f"folder of the checkpoint ({', '.join(ARCHITECTURES)})")
    parser.add_argument("--measured", type=Path, required=True, metavar="FILE", help="from tiny_recipe.measure")
    parser.add_argument("--note", type=Path, metavar="FILE", help="list items on how the run went, in Markdown")
    parser.add_argument(
        "--seed", action="append", default=[], metavar="N=FILE", help="what was measured of another seed; repeatable"
    )
    options = parser.parse_args(arguments)
    try:
        seeds = {
            int(seed): read_measured(Path(path)) for seed, _, path in (item.partition("=") for item in options.seed)
        }
        note = options.note.read_text(encoding="utf-8") if options.note else ""
        text = write_card(options.checkpoint, read_measured(options.measured), note, seeds)
    except (TinyError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    (options.checkpoint / CARD_NAME).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
