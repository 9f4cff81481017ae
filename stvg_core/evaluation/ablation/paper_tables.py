"""Tables of the paper and of what it leaves open: components, objective, steps, tokens, layers, frames, spans."""

from collections.abc import Mapping
from typing import Any, Final

from stvg_core.evaluation.ablation.variants import TRUE_TRACKS, Variant
from stvg_core.evaluation.comparison.rows import LADDER
from stvg_core.settings import FamilyPresets, Settings

PLAIN: Final = {"spatial.tune": False, "temporal.tune": False, "augment.enabled": False}
BOTH: Final = {"spatial.tune": True, "temporal.tune": True}
FULL: Final = {**BOTH, "augment.enabled": True}
IDENTIFIED: Final = {"spatial.tokens.rule": "max_activation", "temporal.tokens.rule": "max_activation"}
PAPERS_JOIN: Final = {"joint.track_branches": "spatial", "joint.track_pooling": "max"}
_ROLE_TOKENS: Final = 6
_LAYER_PARTS: Final = 8
_SPAN_SHARES: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def prompted(base: Settings) -> dict[str, Any]:
    """Return a prompt's steps: the settings' own, or one where they take none."""
    return {"prompt.steps": max(1, base.prompt.steps)}


def ladder(base: Settings, join: Mapping[str, Any]) -> tuple[Variant, ...]:
    """Return the components, with controls beside the first and the last."""
    return tuple(
        Variant(
            step.name,
            {**prompted(base), **step.overrides, **join},
            controls=place in (0, len(LADDER) - 1),
        )
        for place, step in enumerate(LADDER)
    )


def objective(base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return what a prompt may be learned on, without TAS as in the paper's Table 3."""
    tuned = {**prompted(base), **IDENTIFIED, **BOTH, "augment.enabled": False}
    objectives = {
        "entropy": {"prompt.objective": "entropy", "prompt.contrast_neutral": False},
        "yes/no, linear": {"prompt.objective": "linear", "prompt.contrast_neutral": False},
        "yes/no, linear, against the neutral question": {"prompt.objective": "linear", "prompt.contrast_neutral": True},
        "yes/no, exponential": {"prompt.objective": "exponential", "prompt.contrast_neutral": False},
    }
    return (
        Variant("no prompt", {**IDENTIFIED, **PLAIN}),
        *(Variant(name, {**tuned, **overrides}) for name, overrides in objectives.items()),
    )


def steps(base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return steps and step sizes, normalized and raw, against no prompt."""
    # Without TAS, which would double the cost of a table about something else.
    rules = {"normalized": (0.01, 0.03, 0.1, 0.3), "raw": (4.0, 8.0, 16.0)}
    return (
        Variant("no prompt", {**IDENTIFIED, **PLAIN}),
        *(
            Variant(
                f"{rule}, {count} step{'s' if count > 1 else ''} of {size:g}",
                {
                    **IDENTIFIED,
                    **BOTH,
                    "augment.enabled": False,
                    "prompt.step_rule": rule,
                    "prompt.steps": count,
                    "prompt.step_size": size,
                    "prompt.objective": "linear",
                },
            )
            for rule, sizes in rules.items()
            for count in (1, 2)
            for size in sizes
        ),
    )


def tokens(_base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return rules for grounding tokens, and each position of the six template tokens."""
    choices: dict[str, dict[str, Any]] = {
        "mean of tokens": {"rule": "mean"},
        "highest activation": {"rule": "max_activation", "count": 1},
        "two of highest activation": {"rule": "max_activation", "count": 2},
        "three of highest activation": {"rule": "max_activation", "count": 3},
        "lowest entropy": {"rule": "min_entropy", "count": 1},
        "three of lowest entropy": {"rule": "min_entropy", "count": 3},
    }
    choices |= {f"position {place}": {"rule": "fixed", "fixed_position": place} for place in range(-_ROLE_TOKENS, 0)}
    return tuple(
        Variant(
            name,
            {
                **PLAIN,
                **{
                    f"{branch}.tokens.{key}": value
                    for branch in ("spatial", "temporal")
                    for key, value in choice.items()
                },
            },
        )
        for name, choice in choices.items()
    )


def layers(_base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return halves, the released code's middle, and eighths, which are single layers of a shallow model."""
    ranges = {
        "all": (0.0, 1.0),
        "first half": (0.0, 0.5),
        "second half": (0.5, 1.0),
        "6/32 to 26/32 (C)": (6 / 32, 26 / 32),
    }
    ranges |= {
        f"part {part} of {_LAYER_PARTS}": (part / _LAYER_PARTS, (part + 1) / _LAYER_PARTS)
        for part in range(_LAYER_PARTS)
    }
    parted = {name: {"start": start, "stop": stop} for name, (start, stop) in ranges.items()}
    weighted = {f"{name}, by activation": {**parted[name], "weights": "activation"} for name in ("all", "second half")}
    return tuple(
        Variant(name, {**PLAIN, **{f"{branch}.layers": chosen for branch in ("spatial", "temporal")}})
        for name, chosen in {**parted, **weighted}.items()
    )


def relative(_base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return relative attention with either epsilon, and raw attention."""
    modes: dict[str, dict[str, Any]] = {
        "ratio, epsilon uniform": {"relative.mode": "ratio", "relative.epsilon": "uniform"},
        "ratio, epsilon 1e-4": {"relative.mode": "ratio", "relative.epsilon": 1e-4},
        "raw": {"relative.mode": "raw"},
    }
    return tuple(Variant(name, {**PLAIN, **mode}) for name, mode in modes.items())


def frames(base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return half and double the frames, the span scaled with them."""
    count, length = base.sampling.frame_count, base.joint.span_frame_count
    return tuple(
        Variant(
            f"{frames} frames",
            {
                **PLAIN,
                "sampling.mode": "uniform",
                "sampling.frame_count": frames,
                "joint.span_share": base.joint.span_share if length is None else min(1.0, length / count),
                "joint.span_frame_count": None,
            },
        )
        for frames in (count, max(2, count // 2), 2 * count)
    )


def span(base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return spans of several lengths and spans without one; first the settings' own length."""
    count = base.sampling.frame_count
    own = base.joint.span_length(count)
    lengths = sorted({max(1, round(share * count)) for share in _SPAN_SHARES} | {own})
    rows = [Variant(f"top {own}", {**PLAIN, "joint.boundary": "top_k"})]
    rows += [
        Variant(
            f"{'top' if rule == 'top_k' else 'contiguous'} {length}",
            {**PLAIN, "joint.boundary": rule, "joint.span_frame_count": length},
        )
        for rule in ("top_k", "contiguous")
        for length in lengths
        if (rule, length) != ("top_k", own)
    ]
    rows += [
        Variant(f"threshold {share:g}", {**PLAIN, "joint.boundary": "threshold", "joint.threshold_share": share})
        for share in (0.1, 0.5)
    ]
    rules: dict[str, dict[str, Any]] = {
        "largest centred sum": {"joint.boundary": "max_sum"},
        "two levels": {"joint.boundary": "two_level"},
        "threshold .3": {"joint.boundary": "threshold", "joint.threshold_share": 0.3},
    }
    rows += [
        Variant(f"{name}{' of logarithms' if scale == 'log' else ''}", {**PLAIN, **rule, "joint.span_scale": scale})
        for scale in ("linear", "log")
        for name, rule in rules.items()
    ]
    return tuple(rows)


def join(_base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return every way in which the branches choose a track."""
    names = {"spatial": "attribute (paper)", "product": "product of scores", "cell_product": "product of cells"}
    return tuple(
        Variant(f"{name}, {pooling}", {**PLAIN, "joint.track_branches": branches, "joint.track_pooling": pooling})
        for branches, name in names.items()
        for pooling in ("max", "mean")
    )


def tracker(_base: Settings, _family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return the model's own tracker, that of attention, and the true tracks."""
    return (
        Variant("own", PLAIN, controls=True),
        Variant("attention", PLAIN, tracks="attention"),
        Variant("true tracks of all objects", PLAIN, tracks=TRUE_TRACKS, controls=True),
    )
