"""Tables of what is ours: the presets side by side, settings of ours beside the full method, prompts kept in bounds."""

from collections.abc import Mapping
from typing import Any, Final

from stvg_core.evaluation.ablation.paper_tables import FULL, IDENTIFIED, PLAIN, prompted
from stvg_core.evaluation.ablation.variants import Variant
from stvg_core.settings import PROVENANCE, FamilyPresets, Settings, load_settings

_ADAPTIVE: Final = {"joint.boundary": "max_sum", "joint.span_scale": "log"}
_THREE_TOKENS: Final = {"spatial.tokens.count": 3, "temporal.tokens.count": 3}
_SECOND_HALF: Final = {"spatial.layers": {"start": 0.5, "stop": 1.0}, "temporal.layers": {"start": 0.5, "stop": 1.0}}


def ours(base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return what is ours, beside the full method."""
    full = {**prompted(base), **IDENTIFIED, **FULL}
    plain = {**IDENTIFIED, **PLAIN}
    return (
        Variant("the full method", full, controls=True),
        Variant("without prompts and TAS", plain),
        Variant("adaptive span", {**plain, **_ADAPTIVE}),
        Variant("three tokens", {**plain, **_THREE_TOKENS}),
        Variant("product of cells", {**plain, "joint.track_branches": "cell_product"}),
        Variant("adaptive span, three tokens", {**plain, **_ADAPTIVE, **_THREE_TOKENS}),
        Variant(
            "adaptive span, three tokens, product of cells",
            {**plain, **_ADAPTIVE, **_THREE_TOKENS, "joint.track_branches": "cell_product"},
        ),
        Variant("raw attention", {**plain, "relative.mode": "raw"}),
        Variant("raw attention, adaptive span", {**plain, **_ADAPTIVE, "relative.mode": "raw"}),
        Variant(
            "raw attention, adaptive span, three tokens",
            {**plain, **_ADAPTIVE, **_THREE_TOKENS, "relative.mode": "raw"},
            controls=True,
        ),
        Variant("second half of the layers", {**plain, **_SECOND_HALF}),
        Variant(
            "second half, raw attention, adaptive span, three tokens",
            {**plain, **_SECOND_HALF, **_ADAPTIVE, **_THREE_TOKENS, "relative.mode": "raw"},
        ),
        Variant("the full method with an adaptive span", {**full, **_ADAPTIVE}),
        Variant(
            "the full method, prompts limited and smooth", {**full, "prompt.norm_limit": 0.1, "prompt.time_window": 3}
        ),
        Variant(
            "the full method on raw attention, adaptive span, prompts limited and smooth",
            {**full, **_ADAPTIVE, "relative.mode": "raw", "prompt.norm_limit": 0.1, "prompt.time_window": 3},
        ),
        Variant(
            "product of views without prompts, adaptive span",
            {**plain, **_ADAPTIVE, "augment.enabled": True, "augment.combine": "product"},
        ),
    )


def presets(base: Settings, family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return every preset, as the model's family has it, with the model's own `sampling` and `input`."""
    left_out = {"sampling", "input", *PROVENANCE}
    own = _leaves(base.model_dump(exclude=left_out))
    rows = []
    for name in ("paper", "released"):
        values = _leaves(load_settings(name, family=family).model_dump(exclude=left_out))
        changed = {key: value for key, value in values.items() if own[key] != value}
        rows.append(Variant(name, changed, controls=True))
    rows.append(Variant("fast", {**rows[0].overrides, **PLAIN}))
    rows.append(Variant("paper, normalized steps of .03", {**rows[0].overrides, **_NORMALIZED}))
    rows.append(Variant("the model's own", {}, controls=True))
    return tuple(rows)


_NORMALIZED: Final = {
    "prompt.step_rule": "normalized",
    "prompt.step_size": 0.03,
    "prompt.objective": "linear",
    "prompt.contrast_neutral": True,
}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names.

    >>> _leaves({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def prompts(base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return prompts kept in bounds and views combined otherwise, beside the full method."""
    full = {**prompted(base), **IDENTIFIED, **FULL}
    changes: dict[str, dict[str, Any]] = {
        "the full method": {},
        "no prompt, no TAS": {**PLAIN},
        "TAS without prompts": {"prompt.steps": 0},
        "TAS by product": {"augment.combine": "product"},
        "TAS by product, no prompt": {"augment.combine": "product", "prompt.steps": 0},
        "TAS with the flipped prompt": {"augment.prompts": "flipped"},
        "no token's prompt above .1": {"prompt.norm_limit": 0.1},
        "smooth over 3 time steps": {"prompt.time_window": 3},
        "the same at all times": {"prompt.time_window": 4095},
        "no step above margin 0": {"prompt.stop_margin": 0.0},
        "no step above margin 4": {"prompt.stop_margin": 4.0},
    }
    return tuple(Variant(name, {**full, **change}) for name, change in changes.items())


def doubt(base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return prompts that are learned where the answer is no alone, beside the plain mean and the full method."""
    mean = {"spatial.tokens.rule": "mean", "temporal.tokens.rule": "mean"}
    full = {**prompted(base), **IDENTIFIED, **FULL}
    gated = {**full, "prompt.stop_margin": 0.0}
    persistent = {**gated, "prompt.steps": 5}
    product = {"augment.combine": "product"}
    return (
        Variant("mean of tokens", {**PLAIN, **mean}, controls=True),
        Variant("the full method", full),
        Variant("where the answer is no", gated),
        Variant("where it is no, up to 5 steps", persistent),
        Variant("where it is no, three tokens", {**gated, **_THREE_TOKENS}),
        Variant("where it is no, mean of tokens", {**gated, **mean}),
        Variant("where it is no, TAS by product", {**gated, **product}),
        Variant("where it is no, TAS by product, three tokens", {**gated, **product, **_THREE_TOKENS}),
        Variant("where it is no, TAS by product, mean of tokens", {**gated, **product, **mean}, controls=True),
        Variant("where it is no, up to 5 steps, TAS by product, mean of tokens", {**persistent, **product, **mean}),
        Variant("no prompt, TAS by product, mean of tokens", {**gated, **product, **mean, "prompt.steps": 0}),
    )
