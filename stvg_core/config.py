"""Settings of the method: frozen, closed, documented; and the presets that pick them.

Every place where the paper's text and the authors' code differ is a setting of its own.
Preset `paper` follows the text of arXiv 2509.15178, preset `released` what the authors'
code does ("C" below), preset `fast` is what the measurements of docs/evidence.md leave of
`paper`. A checkpoint may carry settings calibrated for it (preset `calibrated`, file
stvg-settings.json in its folder); they are never mixed into the others.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stvg_core.errors import SettingsError

CALIBRATED_FILE = "stvg-settings.json"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SamplingSettings(_Settings):
    """Which source frames the model sees (paper section 4.1: 20 frames, uniform)."""

    mode: Literal["uniform", "fps"] = "uniform"
    frame_count: int = Field(20, ge=1, le=4096, description="frames, evenly spread over the video (mode uniform)")
    frames_per_second: float = Field(2.0, gt=0, description="sampling rate (mode fps)")
    maximum_frame_count: int = Field(256, ge=1, le=4096, description="upper bound on frames (mode fps)")
    maximum_side_pixels: int | None = Field(
        None,
        ge=16,
        description="frames are shrunk to this longer side while decoding, to save memory; None: not at all",
    )


class WindowSettings(_Settings):
    """How a long video is searched in windows, each sampled as a video of its own; ours, off in every preset."""

    length_seconds: float | None = Field(
        None,
        ge=0.1,
        allow_inf_nan=False,
        description="a longer video is searched in windows of this length, each sampled as `sampling` says; "
        "None: it is sampled as a whole",
    )
    overlap: float = Field(0.5, ge=0, le=0.9, description="share of a window that the next one shows again")
    question: Literal["sentence", "action", "attribute", "both"] = Field(
        "sentence",
        description="whose yes/no margin, without a prompt, ranks windows: of the whole sentence, of one sub-query, or "
        "of both sub-queries added",
    )
    join: Literal["relative", "positive", "none"] = Field(
        "relative",
        description="which windows in a row with the best one hold the event as well: relative: those whose margin is "
        "nearer to the best than to the lowest; positive: those answered with yes; none: the best alone",
    )
    most_joined: int = Field(
        2,
        ge=1,
        le=64,
        description="windows at most whose maps are merged; bounds memory. More for events longer than a window",
    )
    weight: Literal["none", "probability"] = Field(
        "probability",
        description="what the maps of joined windows are multiplied by, to compare them: nothing, or the probability "
        "of yes against no (of each window, as a share of the best one's)",
    )
    shared_frames: Literal["central", "average"] = Field(
        "central",
        description="where joined windows overlap, a frame's map is that of the window it is farther inside, or the "
        "mean of all",
    )


class InputSettings(_Settings):
    """How frames become visual tokens, and which tokens answer."""

    frame_size_pixels: int | None = Field(
        None,
        ge=16,
        le=4096,
        description="frames are squashed to this square; None: the backend's default for its family",
    )
    temporal_merge: Literal["duplicate", "merge"] = Field(
        "duplicate",
        description="families whose tokens cover two frames: show each frame twice (C) or let neighbours share a token",
    )
    pooling_stride: int | None = Field(
        None,
        ge=1,
        le=64,
        description="families that pool a frame's tokens (LLaVA-NeXT-Video): patches per token side; None: the "
        "backend's default (4: 6 x 6 tokens a frame, C; transformers and the checkpoints' training: 2)",
    )
    pooling_order: Literal["before_projector", "after_projector"] = Field(
        "before_projector",
        description="families that pool a frame's tokens: before the projector (transformers) or after it (C)",
    )
    answer_words: Literal["lowercase", "sentence_initial", "any_case"] = Field(
        "lowercase",
        description="tokens whose logits are yes and no: lowercase: the bare pieces yes and no (C); sentence_initial: "
        "Yes and No as an answer begins with them; any_case: all of them, their exponentials added (ours)",
    )
    position_rule: Literal["original", "transformers"] = Field(
        "original", description="rotary position of text after a video: the family's own rule, or transformers 5.x's"
    )


class LayerSettings(_Settings):
    """Which decoder layers are averaged, as fractions of depth: [start, stop), and how."""

    start: float = Field(0.0, ge=0, le=1, description="fraction of the depth, 0: from the first layer")
    stop: float = Field(1.0, ge=0, le=1, description="fraction of the depth, 1: to the last layer")
    weights: Literal["equal", "activation"] = Field(
        "equal",
        description="equal: the plain mean (paper); activation: each layer by the highest visual activation of a "
        "candidate token in it (ours). Reads each layer in a pass of its own",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "LayerSettings":
        if self.start >= self.stop:
            raise ValueError(f"expected start < stop, got {self.start} and {self.stop}")
        return self

    def layers(self, layer_count: int) -> tuple[int, ...]:
        """Return 0-based layer numbers of a decoder; never none.

        >>> LayerSettings(start=6 / 32, stop=26 / 32).layers(32)[::19]
        (6, 25)
        """
        first = min(round(self.start * layer_count), layer_count - 1)
        return tuple(range(first, max(first + 1, round(self.stop * layer_count))))


class TokenSettings(_Settings):
    """Which prompt token's attention is read (paper section 3.2)."""

    candidates: Literal["role", "question"] = Field(
        "role",
        description="role: the question's final punctuation and the template tokens after it; "
        "question: the words of the question as well",
    )
    rule: Literal["max_activation", "fixed", "mean", "min_entropy"] = Field(
        "max_activation",
        description="max_activation: the candidate with the highest visual activation (paper); fixed: one place (C); "
        "mean: all of them (paper Table 2, first row); min_entropy: the candidate with the most peaked attention",
    )
    fixed_position: int | None = Field(
        None,
        le=-1,
        description="position from the prompt's end (rule fixed); None: the backend's own (C: -5 for "
        "LLaVA-NeXT-Video, -3 for Qwen2-VL and InternVL)",
    )
    count: int = Field(
        1, ge=1, description="max_activation, min_entropy: so many of the best candidates are averaged (ours)"
    )


class RelativeSettings(_Settings):
    """Relative attention against a neutral question (paper Algorithm 1)."""

    mode: Literal["ratio", "raw"] = Field("ratio", description="ratio: query / (neutral + epsilon); raw: query alone")
    epsilon: float | Literal["uniform"] = Field(
        1e-4, description="added to the neutral attention (C: 1e-4); uniform: one over the number of visual tokens"
    )
    neutral_question: str = Field(
        "Describe this video in details.", min_length=1, description="paper App. 7.2; C: please describe this video"
    )

    @model_validator(mode="after")
    def _positive(self) -> "RelativeSettings":
        if self.epsilon != "uniform" and self.epsilon <= 0:
            raise ValueError(f"expected epsilon > 0, got {self.epsilon}")
        return self


class PromptSettings(_Settings):
    """Logit-guided re-attention: the visual prompt's optimisation (paper section 3.3, Algorithm 1)."""

    steps: int = Field(1, ge=0, le=100, description="gradient steps; 0 turns prompts off. Paper 1; C 2")
    step_size: float = Field(
        8.0,
        gt=0,
        description="raw, margin: learning rate in embedding units; normalized: fraction of the tokens' norm",
    )
    step_rule: Literal["raw", "margin", "normalized"] = Field(
        "raw",
        description="raw: P -= s g (paper, C); margin: P -= s g / |dL/dm|, the loss's own slope divided out, so that a "
        "step does not depend on how large the margin m is (ours); normalized: P -= s ||V|| g / ||g||, free of the "
        "model's embedding scale as well (ours)",
    )
    objective: Literal["exponential", "linear", "entropy"] = Field(
        "exponential",
        description="exponential: -exp(yes - no) (paper Algorithm 1); linear: 1 - (yes - no) (C); entropy: that of the "
        "answer between yes and no (after the paper's Table 3)",
    )
    contrast_neutral: bool = Field(False, description="subtract the neutral question's margin from the sub-query's (C)")
    momentum: float | None = Field(
        None,
        gt=0,
        le=1,
        description="weight b of the newest iterate in the applied prompt b P + (1-b) P_previous (C: 0.5)",
    )
    norm_limit: float | None = Field(
        None, gt=0, description="largest norm of a token's prompt, as a share of the tokens' mean norm (ours)"
    )
    time_window: int = Field(
        1, ge=1, le=4095, description="odd: a prompt's step is averaged over so many neighbouring time steps (ours)"
    )
    stop_margin: float | None = Field(
        None, description="no step where the sub-query's yes - no is this large already; None: all steps (ours)"
    )

    @model_validator(mode="after")
    def _odd(self) -> "PromptSettings":
        if self.time_window % 2 == 0:
            raise ValueError(f"expected an odd time_window, got {self.time_window}")
        return self


class BranchSettings(_Settings):
    """One branch of the decomposed grounding: spatial (attribute) or temporal (action)."""

    tokens: TokenSettings = TokenSettings()
    layers: LayerSettings = LayerSettings()
    tune: bool = Field(True, description="learn a visual prompt for this branch (paper Table 2: +S_p, +T_p)")
    inference_question: Literal["sub_query", "sentence"] = Field(
        "sub_query",
        description="what is asked when attention is read; Algorithm 1 says the sentence, Fig. 3 and C the sub-query",
    )


class AugmentSettings(_Settings):
    """Temporally assembled spatial attention, TAS (paper section 3.4)."""

    enabled: bool = Field(True, description="read the spatial branch on reversed frames as well")
    prompts: Literal["independent", "flipped"] = Field(
        "independent",
        description="independent: each view learns from zeros (C); flipped: the forward prompt, reversed in time",
    )
    combine: Literal["sum", "product"] = Field(
        "sum", description="how both views' maps are put together: sum (C), or the root of their product (ours)"
    )


class JointSettings(_Settings):
    """How maps choose a track and a span (paper section 3.5)."""

    track_branches: Literal["spatial", "product", "cell_product"] = Field(
        "spatial",
        description="spatial: the attribute map alone scores tracks; product: attribute and action scores multiplied; "
        "cell_product: both maps multiplied cell by cell (ours)",
    )
    track_pooling: Literal["max", "mean"] = Field(
        "max", description="attention inside a track: peak (paper, C) or mean"
    )
    boundary: Literal["top_k", "contiguous", "threshold", "max_sum", "two_level"] = Field(
        "top_k",
        description="top_k: hull of the K best frames (paper); contiguous: greedy growth around the peak (C); without "
        "a length (ours): threshold, max_sum, two_level (docs/method.md)",
    )
    threshold_share: float = Field(
        0.5, ge=0, le=1, description="threshold: how far between the lowest and the highest frame score the level lies"
    )
    span_frame_count: int = Field(
        7, ge=1, description="sampled frames in the span. Paper K=7; C grows to K+1 (11 for K=10)"
    )
    span_scale: Literal["linear", "log"] = Field(
        "linear",
        description="how far frame scores lie apart for the rules without a length: linear, or their logarithm",
    )
    stop_growth_at_ties: bool = Field(False, description="contiguous: an exact tie between neighbours ends growth (C)")
    boundary_extent: Literal["sample", "midpoint"] = Field(
        "sample",
        description="sample: the span ends at the outer sampled frames (C); midpoint: half-way to the next ones",
    )


class Settings(_Settings):
    """Everything that decides a result besides video, query, model, decomposer and tracker."""

    preset: str = Field("paper", description="name of the preset these settings started from")
    sampling: SamplingSettings = SamplingSettings()
    windows: WindowSettings = WindowSettings()
    input: InputSettings = InputSettings()
    relative: RelativeSettings = RelativeSettings()
    prompt: PromptSettings = PromptSettings()
    spatial: BranchSettings = BranchSettings()
    temporal: BranchSettings = BranchSettings()
    augment: AugmentSettings = AugmentSettings()
    joint: JointSettings = JointSettings()
    question_template: str = Field(
        "Is there {} in this video?",
        description="{} is the sub-query (C; the paper prints 'Is there a __ in this video?')",
    )

    @model_validator(mode="after")
    def _one_gap(self) -> "Settings":
        if self.question_template.count("{}") != 1:
            raise ValueError(f"expected one {{}} in question_template, got {self.question_template!r}")
        return self

    def question(self, sub_query: str) -> str:
        """Return the yes/no question about a sub-query.

        >>> Settings().question("the man in blue.")
        'Is there the man in blue in this video?'
        """
        return self.question_template.replace("{}", sub_query.strip().rstrip(".?! "))


_RELEASED_BRANCH = {
    "tokens": {"candidates": "role", "rule": "fixed"},
    "layers": {"start": 6 / 32, "stop": 26 / 32},
}
_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "fast": {"prompt": {"steps": 0}, "augment": {"enabled": False}},
    "released": {
        "input": {"pooling_order": "after_projector"},
        "relative": {"neutral_question": "please describe this video"},
        "prompt": {"steps": 2, "objective": "linear", "contrast_neutral": True, "momentum": 0.5},
        "spatial": _RELEASED_BRANCH,
        "temporal": _RELEASED_BRANCH,
        "joint": {"boundary": "contiguous", "span_frame_count": 11, "stop_growth_at_ties": True},
    },
}
PRESET_NAMES = (*_PRESETS, "calibrated")


def load_settings(
    preset: str, *, checkpoint: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of a preset, with single values replaced.

    Args:
        preset: one of PRESET_NAMES.
        checkpoint: the checkpoint's folder, needed for `calibrated`.
        overrides: dotted names to values, such as {"prompt.steps": 0}.

    Raises:
        SettingsError: the preset is unknown, the checkpoint carries no calibration, or a value is out of range.

    >>> load_settings("released", overrides={"prompt.steps": 1}).prompt.momentum
    0.5
    """
    if preset == "calibrated":
        data = _calibrated(checkpoint)
    elif preset in _PRESETS:
        data = json.loads(json.dumps(_PRESETS[preset]))
    else:
        raise SettingsError(f"unknown preset {preset!r}; choose one of {', '.join(PRESET_NAMES)}")
    data["preset"] = preset
    for name, value in (overrides or {}).items():
        _set(data, name, value)
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {where}: {first['msg']}, got {first['input']!r}; see docs/settings.md") from error


def has_calibration(checkpoint: Path | None) -> bool:
    """Return whether a checkpoint folder carries calibrated settings."""
    return checkpoint is not None and (checkpoint / CALIBRATED_FILE).is_file()


def _calibrated(checkpoint: Path | None) -> dict[str, Any]:
    if checkpoint is None or not has_calibration(checkpoint):
        raise SettingsError(
            f"preset 'calibrated' needs {CALIBRATED_FILE} in the checkpoint's folder, and there is none; "
            "use preset 'paper' or 'released'"
        )
    try:
        data = json.loads((checkpoint / CALIBRATED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {checkpoint / CALIBRATED_FILE}: {error}") from error
    if not isinstance(data, dict):
        raise SettingsError(f"expected a JSON object in {checkpoint / CALIBRATED_FILE}, got {type(data).__name__}")
    return data


def _set(data: dict[str, Any], name: str, value: object) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise SettingsError(f"setting {name}: {parent} holds a value, not settings; see docs/settings.md")
    data[leaf] = value
