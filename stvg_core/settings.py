"""Settings of the method: frozen, closed, documented; and the presets that pick them.

Every place where the paper's text and the authors' code differ is a setting of its own.
Preset `paper` follows the text of arXiv 2509.15178, preset `released` what the authors'
code does ("C" below), preset `fast` is what the measurements of docs/evidence.md leave of
`paper`. A backend may state what its family has differently in a preset. A checkpoint may
carry settings calibrated for it (preset `calibrated`, file stvg-settings.json in its
folder); they are never mixed into the others.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stvg_core._internal.plain_text import is_plain_line, one_line
from stvg_core._internal.presets import CALIBRATED, PRESET_NAMES, PRESETS
from stvg_core.errors import SettingsError

__all__ = [
    "CALIBRATED_FILE",
    "PRESET_NAMES",
    "PROVENANCE",
    "AugmentSettings",
    "BranchSettings",
    "FamilyOptions",
    "FamilyPresets",
    "InputSettings",
    "JointSettings",
    "LayerSettings",
    "PromptSettings",
    "RelativeSettings",
    "SamplingSettings",
    "Settings",
    "TokenSettings",
    "WindowSettings",
    "choose_settings",
    "has_calibration",
    "load_settings",
]

CALIBRATED_FILE = "stvg-settings.json"
_LONGEST_TEXT = 4096
_SHOWN_CHARACTERS = 200
PROVENANCE = ("preset", "preset_frame_count")
"""Fields of `Settings` that tell where the others come from: written by `load_settings`, and by nobody else."""
_COUNTING_RULES = ("top_k", "contiguous")


def _line(text: str) -> str:
    """Return text that a document records as it is, so that a recorded run can be made again."""
    if not is_plain_line(text):
        raise ValueError("expected one line of composed text (NFC) with single spaces, without control characters")
    return text


def _option_value(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    if isinstance(value, str):
        return _line(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError("expected a number, true, false, text or null")


_Line = Annotated[str, AfterValidator(_line), Field(min_length=1, max_length=_LONGEST_TEXT)]


_OptionName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]


_OptionsT = TypeVar("_OptionsT", bound="FamilyOptions")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _FrozenOptions(dict[str, Any]):
    """A mapping that cannot be changed; a dict, so that it is pickled and written as JSON like one."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("settings are frozen; make new ones with model_copy or load_settings")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type["_FrozenOptions"], tuple[dict[str, Any]]]:
        return _FrozenOptions, (dict(self),)


_FamilyMapping = Annotated[
    Mapping[_OptionName, Annotated[Any, AfterValidator(_option_value)]], AfterValidator(_FrozenOptions)
]


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
    answer_words: Literal["lowercase", "sentence_initial", "any_case"] = Field(
        "lowercase",
        description="tokens whose logits are yes and no: lowercase: the bare pieces yes and no (C); sentence_initial: "
        "Yes and No as an answer begins with them; any_case: all of them, their exponentials added (ours)",
    )
    system_prompt: _Line | None = Field(
        None,
        description="text of a system turn before the user's; None: what the checkpoint's chat template writes by "
        "itself, which may be nothing",
    )
    family: _FamilyMapping = Field(
        _FrozenOptions(),
        description="options of the model's family, by name; the family's backend declares and validates them",
    )


class FamilyOptions(_Settings):
    """Base class for the options of one family of models; derive from it and declare a field for each option.

    >>> class MyOptions(FamilyOptions):
    ...     pooling_stride: int = Field(4, ge=1, description="patches per token side")
    >>> MyOptions.of(InputSettings(family={"pooling_stride": 2})).pooling_stride
    2
    """

    @classmethod
    def of(cls: type[_OptionsT], settings: InputSettings) -> _OptionsT:
        """Return the options in `input.family`, and the family's defaults for the others.

        Raises:
            SettingsError: the family has no option of a name, or an option cannot have its value.
        """
        try:
            return cls.model_validate(settings.family)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise SettingsError(_unknown_option(name, cls.model_fields, "the model's family")) from error
            raise SettingsError(
                f"setting input.family.{name}: {first['msg']}, got "
                f"{one_line(repr(first['input']), _SHOWN_CHARACTERS)}; {_options_of('the family', cls.model_fields)}"
            ) from error


def _unknown_option(name: str, options: Iterable[str], owner: str) -> str:
    return f"setting input.family.{name}: expected an option of {owner}, got {name!r}; {_options_of('it', options)}"


def _options_of(owner: str, options: Iterable[str]) -> str:
    names = ", ".join(options)
    return f"{owner} has {names}" if names else f"{owner} has no options"


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
        1, ge=1, description="max_activation, min_entropy: number of best candidates that are averaged (ours)"
    )


class RelativeSettings(_Settings):
    """Relative attention against a neutral question (paper Algorithm 1)."""

    mode: Literal["ratio", "raw"] = Field("ratio", description="ratio: query / (neutral + epsilon); raw: query alone")
    epsilon: float | Literal["uniform"] = Field(
        1e-4, description="added to the neutral attention (C: 1e-4); uniform: one over the number of visual tokens"
    )
    neutral_question: _Line = Field(
        "Describe this video in details.", description="paper App. 7.2; C: please describe this video"
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
        1,
        ge=1,
        le=4095,
        description="odd: number of neighbouring time steps over which a step is averaged (ours)",
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
    track_cells: Literal["share", "centre"] = Field(
        "share",
        description="how much of a token cell a track covers: share: a box the exact share of its area, a mask what is "
        "sampled at its centre, or its share where no centre lies in the mask; centre: boxes as well as masks are "
        "sampled at the centres alone, so that what lies between them is not seen (C)",
    )
    frame_scores: Literal["cells", "pixels"] = Field(
        "cells",
        description="a frame's score is the highest attention inside the track: cells: of token cells, each multiplied "
        "by what the track covers of it; pixels: of the pixels of its mask (or box), to which the map is up-sampled "
        "bilinearly (C)",
    )
    boundary: Literal["top_k", "contiguous", "threshold", "max_sum", "two_level"] = Field(
        "top_k",
        description="top_k: hull of the K best frames (paper); contiguous: greedy growth around the peak (C); without "
        "a length (ours): threshold, max_sum, two_level (docs/method.md)",
    )
    threshold_share: float = Field(
        0.5, ge=0, le=1, description="threshold: how far between the lowest and the highest frame score the level lies"
    )
    span_share: float = Field(
        7 / 20,
        gt=0,
        le=1,
        description="top_k, contiguous: frames in the span, as a share of the sampled ones (of one window's). Paper "
        "K=7 of 20; C grows to K+1 (11 of 20 for K=10)",
    )
    span_frame_count: int | None = Field(
        None,
        ge=1,
        description="top_k, contiguous: number of sampled frames, in place of the share; None: the share",
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

    def span_length(self, sampled_frames: int) -> int:
        """Return how many of so many sampled frames the rules with a length want in the span; at least one.

        >>> JointSettings().span_length(20), JointSettings().span_length(8), JointSettings().span_length(1)
        (7, 3, 1)
        >>> JointSettings(span_frame_count=7).span_length(8)
        7
        """
        return (
            max(1, round(self.span_share * sampled_frames)) if self.span_frame_count is None else self.span_frame_count
        )


class Settings(_Settings):
    """Everything that decides a result besides video, query, model, decomposer and tracker."""

    preset: str = Field("paper", description="name of the preset these settings started from")
    preset_frame_count: int | None = Field(
        None,
        description="sampled frames for which the preset chose the span's share; None: the share is not a preset's",
    )
    sampling: SamplingSettings = SamplingSettings()
    windows: WindowSettings = WindowSettings()
    input: InputSettings = InputSettings()
    relative: RelativeSettings = RelativeSettings()
    prompt: PromptSettings = PromptSettings()
    spatial: BranchSettings = BranchSettings()
    temporal: BranchSettings = BranchSettings()
    augment: AugmentSettings = AugmentSettings()
    joint: JointSettings = JointSettings()
    question_template: _Line = Field(
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

    def scaled_span(self, sampled_frames: int, of: str = "sampled frames") -> str | None:
        """Return a sentence where the span's length follows another number of frames than the preset's; else None.

        >>> load_settings("paper", overrides={"sampling.frame_count": 8}).scaled_span(8)
        "the span is 3 of 8 sampled frames: preset paper's 7 of 20, scaled; joint.span_frame_count sets another number"
        >>> load_settings("paper").scaled_span(20)
        """
        own, joint = self.preset_frame_count, self.joint
        if own in (None, sampled_frames) or joint.boundary not in _COUNTING_RULES or joint.span_frame_count is not None:
            return None
        return (
            f"the span is {joint.span_length(sampled_frames)} of {sampled_frames} {of}: preset "
            f"{self.preset}'s {joint.span_length(own)} of {own}, scaled; joint.span_frame_count sets another number"
        )


@dataclass(frozen=True)
class FamilyPresets:
    """What the family of one backend adds to the settings, as the backend's manifest declares it.

    Attributes:
        owner: the backend, for messages.
        presets: by preset, dotted setting names to values (`stvg_core.host.registry.FoundBackend.presets`).
        options: options of `input.family`: each one's default, or a tuple of its choices with the default first;
            None: not declared, so that only the family's own model checks `input.family`.
    """

    owner: str = ""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] | None = None

    def complete(self, settings: Settings) -> Settings:
        """Return settings with the family's defaults for the options that are not set.

        Raises:
            SettingsError: the family has no option of a name, or the option has no such choice.
        """
        if self.options is None:
            return settings
        for name, value in settings.input.family.items():
            if name not in self.options:
                raise SettingsError(_unknown_option(name, self.options, f"backend {self.owner}"))
            choices = self.options[name]
            if isinstance(choices, tuple) and value not in choices:
                expected = ", ".join(map(repr, choices))
                raise SettingsError(
                    f"setting input.family.{name}: expected one of {expected}, got "
                    f"{one_line(repr(value), _SHOWN_CHARACTERS)}"
                )
        defaults = {name: value[0] if isinstance(value, tuple) else value for name, value in self.options.items()}
        chosen = _FrozenOptions(defaults | dict(settings.input.family))
        return settings.model_copy(update={"input": settings.input.model_copy(update={"family": chosen})})


def load_settings(
    preset: str,
    *,
    checkpoint: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    family: FamilyPresets | None = None,
) -> Settings:
    """Return the settings of a preset: its own values, the family's in their place, and single values replaced.

    Args:
        preset: one of PRESET_NAMES.
        checkpoint: the checkpoint's folder, needed for `calibrated`.
        overrides: dotted names to values, such as {"prompt.steps": 0}.
        family: what the model's family has differently; None: nothing.

    Raises:
        SettingsError: the preset is unknown, the checkpoint carries no calibration, the family names a setting that
            does not exist, or a value is out of range.

    >>> load_settings("released", overrides={"prompt.steps": 1}).prompt.momentum
    0.5
    >>> qwen = FamilyPresets("stvg-qwen2-vl:qwen2-vl", {"released": {"input.family.position_rule": "sequential"}})
    >>> load_settings("released", family=qwen).input.family["position_rule"]
    'sequential'
    """
    if preset == CALIBRATED:
        data = _calibrated(checkpoint)
    elif preset in PRESETS:
        data = json.loads(json.dumps(PRESETS[preset]))
    else:
        raise SettingsError(f"unknown preset {preset!r}; choose one of {', '.join(PRESET_NAMES)}")
    family = family or FamilyPresets()
    differences = family.presets.get(preset, {})
    source = f" of preset {preset} in the manifest of {family.owner}" if differences else ""
    for name, value in differences.items():
        _set(data, name, value, source)
    base = _with_share(_validated(data, source))
    data = base.model_dump(exclude=set(PROVENANCE))
    for name, value in (overrides or {}).items():
        _set(data, name, value)
    settings = family.complete(_validated(data))
    # A share that the user sets is nothing that was scaled.
    counted = base.sampling.mode == "uniform" and not {"joint", "joint.span_share"} & {*(overrides or ())}
    frame_count = base.sampling.frame_count if counted else None
    return settings.model_copy(update={"preset": preset, "preset_frame_count": frame_count})


def choose_settings(
    checkpoint: Path | None,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    family: FamilyPresets | None = None,
) -> Settings:
    """Return the settings of a preset; None: calibrated where the checkpoint carries it, else paper.

    Raises:
        SettingsError: the preset or a value is not possible.
    """
    if preset is None:
        preset = CALIBRATED if has_calibration(checkpoint) else "paper"
    return load_settings(preset, checkpoint=checkpoint, overrides=overrides, family=family)


def has_calibration(checkpoint: Path | None) -> bool:
    """Return whether a checkpoint folder carries calibrated settings."""
    return checkpoint is not None and (checkpoint / CALIBRATED_FILE).is_file()


def _with_share(settings: Settings) -> Settings:
    """Return a preset that counts the frames of its span with their share instead, so that it scales."""
    joint, sampling = settings.joint, settings.sampling
    if joint.span_frame_count is None or sampling.mode != "uniform":
        return settings
    share = min(1.0, joint.span_frame_count / sampling.frame_count)
    joint = joint.model_copy(update={"span_share": share, "span_frame_count": None})
    return settings.model_copy(update={"joint": joint})


def _validated(data: Mapping[str, Any], source: str = "") -> Settings:
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"setting {where}{source}: {first['msg']}, got {one_line(repr(first['input']), _SHOWN_CHARACTERS)}; "
            "see docs/settings.md"
        ) from error


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


def _set(data: dict[str, Any], name: str, value: object, source: str = "") -> None:
    if not isinstance(name, str):
        raise SettingsError(f"expected the dotted name of a setting{source}, got {name!r}; see docs/settings.md")
    *parents, leaf = name.split(".")
    if name in PROVENANCE:
        raise SettingsError(
            f"expected a setting{source}, got {name!r}, which tells where settings come from; give a preset"
        )
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise SettingsError(f"setting {name}{source}: {parent} holds a value, not settings; see docs/settings.md")
    data[leaf] = value
