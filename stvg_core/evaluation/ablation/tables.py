"""The tables of an ablation: those of the paper, what it leaves open, and what is ours.

All start from a model's own settings (its preset), so that one table reads alike on every family. If those learn no
prompt (calibration may choose so), tables about prompts take one step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from stvg_core.evaluation.comparison.rows import IDENTIFIED, LADDER, MEAN, PLAIN, TUNED
from stvg_core.settings import PROVENANCE, FamilyPresets, Settings, load_settings

TRUE_TRACKS: Final = "true tracks"
"""In place of a tracker's name: the true tracks of all objects, where the caller names a tracker of them."""

Overrides = Mapping[str, Any]
"""Dotted setting names to values."""
_Make = Callable[[Settings, FamilyPresets | None], "tuple[Variant, ...]"]

_LAYER_PARTS: Final = 8
_TOKEN_POSITIONS: Final = 6
_SPAN_SHARES: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
_TUNED: Final = {**TUNED, "augment.enabled": False}
_PAPERS_JOIN: Final = {"joint.track_branches": "spatial", "joint.track_pooling": "max"}
_ADAPTIVE: Final = {"joint.boundary": "max_sum", "joint.span_scale": "log"}
_RAW: Final = {"relative.mode": "raw"}
_PRODUCT: Final = {"augment.combine": "product"}
_NO_STEP: Final = {"prompt.steps": 0}
_RESTRICTED: Final = {"prompt.norm_limit": 0.1, "prompt.time_window": 3}


@dataclass(frozen=True)
class Variant:
    """One row: what differs from the model's own settings.

    Attributes:
        name: unique in its table.
        overrides: of the model's own settings.
        tracks: name of a tracker; None: the model's own.
        controls: controls that share its attention maps and tracks stand beside it.
    """

    name: str
    overrides: Overrides
    tracks: str | None = None
    controls: bool = False


@dataclass(frozen=True)
class VariantTable:
    """Variants that are read together; the first is what the others are compared with.

    Attributes:
        title: what it compares.
        variants: returns its rows for a model's own settings, and what the model's family has differently in presets.
    """

    title: str
    variants: _Make


_TABLES: dict[str, VariantTable] = {}
TABLES: Final[Mapping[str, VariantTable]] = MappingProxyType(_TABLES)
"""By name as `--table` takes it."""


def _table(name: str, title: str) -> Callable[[_Make], _Make]:
    """Register the function that returns a table's rows."""

    def register(variants: _Make) -> _Make:
        _TABLES[name] = VariantTable(title, variants)
        return variants

    return register


def _variants(shared: Overrides, rows: Mapping[str, Overrides], controls: Sequence[str] = ()) -> tuple[Variant, ...]:
    return tuple(Variant(name, {**shared, **own}, controls=name in controls) for name, own in rows.items())


def _both(**options: Any) -> dict[str, Any]:  # noqa: ANN401  # values of settings
    """Return options of both branches; "__" stands for a dot.

    >>> _both(tokens__rule="mean")
    {'spatial.tokens.rule': 'mean', 'temporal.tokens.rule': 'mean'}
    """
    branches = ("spatial", "temporal")
    return {f"{branch}.{name.replace('__', '.')}": value for branch in branches for name, value in options.items()}


_THREE_TOKENS: Final = _both(tokens__count=3)
_SECOND_HALF: Final = _both(layers={"start": 0.5, "stop": 1.0})


def _prompted(base: Settings) -> dict[str, Any]:
    """Return a prompt's steps: the settings' own, or one if they take none."""
    return {"prompt.steps": max(1, base.prompt.steps)}


def _full(base: Settings) -> dict[str, Any]:
    return {**_prompted(base), **IDENTIFIED, **_TUNED, "augment.enabled": True}


def _ladder_rows(base: Settings, join: Overrides) -> tuple[Variant, ...]:
    first, *_, last = LADDER
    rows = {component: {**overrides, **join} for component, overrides in LADDER.items()}
    return _variants(_prompted(base), rows, (first, last))


@_table("ladder", "The components, one after another (paper Table 2)")
def _ladder(base: Settings, *_: object) -> tuple[Variant, ...]:
    return _ladder_rows(base, {})


@_table("ladder-paper-join", "The same if the attribute alone chooses the track (paper section 3.5)")
def _ladder_paper_join(base: Settings, *_: object) -> tuple[Variant, ...]:
    return _ladder_rows(base, _PAPERS_JOIN)


@_table("objective", "What a prompt is learned on (paper Table 3)")
def _objective(base: Settings, *_: object) -> tuple[Variant, ...]:
    tuned = {**_prompted(base), **IDENTIFIED, **_TUNED}
    objectives = {
        "entropy": ("entropy", False),
        "yes/no, linear": ("linear", False),
        "yes/no, linear, against the neutral question": ("linear", True),
        "yes/no, exponential": ("exponential", False),
    }
    rows = {
        name: {"prompt.objective": objective, "prompt.contrast_neutral": contrast}
        for name, (objective, contrast) in objectives.items()
    }
    return (Variant("no prompt", {**IDENTIFIED, **PLAIN}), *_variants(tuned, rows))


@_table("steps", "Steps and step size (paper Table 7)")
def _steps(*_: object) -> tuple[Variant, ...]:
    # Without TAS, which would double the cost of a table about something else.
    rows = {
        f"{rule}, {count} step{'s' if count > 1 else ''} of {size:g}": {
            "prompt.step_rule": rule,
            "prompt.steps": count,
            "prompt.step_size": size,
        }
        for rule, sizes in {"normalized": (0.01, 0.03, 0.1, 0.3), "raw": (4.0, 8.0, 16.0)}.items()
        for count in (1, 2)
        for size in sizes
    }
    tuned = {**IDENTIFIED, **_TUNED, "prompt.objective": "linear"}
    return (Variant("no prompt", {**IDENTIFIED, **PLAIN}), *_variants(tuned, rows))


@_table("tokens", "Grounding tokens")
def _tokens(*_: object) -> tuple[Variant, ...]:
    rows = {
        "mean of tokens": MEAN,
        "highest activation": _both(tokens__rule="max_activation", tokens__count=1),
        "two of highest activation": _both(tokens__rule="max_activation", tokens__count=2),
        "three of highest activation": _both(tokens__rule="max_activation", tokens__count=3),
        "lowest entropy": _both(tokens__rule="min_entropy", tokens__count=1),
        "three of lowest entropy": _both(tokens__rule="min_entropy", tokens__count=3),
    }
    rows |= {
        f"position {place}": _both(tokens__rule="fixed", tokens__fixed_position=place)
        for place in range(-_TOKEN_POSITIONS, 0)
    }
    return _variants(PLAIN, rows)


@_table("layers", "Layers")
def _layers(*_: object) -> tuple[Variant, ...]:
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
    rows = {name: _both(layers={"start": start, "stop": stop}) for name, (start, stop) in ranges.items()}
    for name in ("all", "second half"):
        start, stop = ranges[name]
        rows[f"{name}, by activation"] = _both(layers={"start": start, "stop": stop, "weights": "activation"})
    return _variants(PLAIN, rows)


@_table("relative", "Relative attention")
def _relative(*_: object) -> tuple[Variant, ...]:
    rows: dict[str, Overrides] = {
        "ratio, epsilon uniform": {"relative.mode": "ratio", "relative.epsilon": "uniform"},
        "ratio, epsilon 1e-4": {"relative.mode": "ratio", "relative.epsilon": 1e-4},
        "raw": _RAW,
    }
    return _variants(PLAIN, rows)


@_table("frames", "Number of frames (paper Fig. 6)")
def _frames(base: Settings, *_: object) -> tuple[Variant, ...]:
    """Return half and double the frames, the span scaled with them."""
    count, length = base.sampling.frame_count, base.joint.span_frame_count
    share = base.joint.span_share if length is None else min(1.0, length / count)
    shared = {**PLAIN, "sampling.mode": "uniform", "joint.span_share": share, "joint.span_frame_count": None}
    rows = {f"{frames} frames": {"sampling.frame_count": frames} for frames in (count, max(2, count // 2), 2 * count)}
    return _variants(shared, rows)


@_table("span", "Length of the span (paper Fig. 6), and spans without a length")
def _span(base: Settings, *_: object) -> tuple[Variant, ...]:
    """Return spans of several lengths and spans without one; first the settings' own length."""
    count = base.sampling.frame_count
    own = base.joint.span_length(count)
    lengths = sorted({max(1, round(share * count)) for share in _SPAN_SHARES} | {own})
    rows: dict[str, Overrides] = {f"top {own}": {"joint.boundary": "top_k"}}
    for rule, title in (("top_k", "top"), ("contiguous", "contiguous")):
        for length in lengths:
            rows.setdefault(f"{title} {length}", {"joint.boundary": rule, "joint.span_frame_count": length})
    for share in (0.1, 0.5):
        rows[f"threshold {share:g}"] = {"joint.boundary": "threshold", "joint.threshold_share": share}
    rules: dict[str, Overrides] = {
        "largest centred sum": {"joint.boundary": "max_sum"},
        "two levels": {"joint.boundary": "two_level"},
        "threshold .3": {"joint.boundary": "threshold", "joint.threshold_share": 0.3},
    }
    for scale, ending in (("linear", ""), ("log", " of logarithms")):
        rows |= {f"{name}{ending}": {**rule, "joint.span_scale": scale} for name, rule in rules.items()}
    return _variants(PLAIN, rows)


@_table("join", "How the branches choose a track")
def _join(*_: object) -> tuple[Variant, ...]:
    names = {"spatial": "attribute (paper)", "product": "product of scores", "cell_product": "product of cells"}
    rows = {
        f"{name}, {pooling}": {"joint.track_branches": branches, "joint.track_pooling": pooling}
        for branches, name in names.items()
        for pooling in ("max", "mean")
    }
    return _variants(PLAIN, rows)


@_table("tracker", "Trackers (paper Fig. 6)")
def _tracker(*_: object) -> tuple[Variant, ...]:
    return (
        Variant("own", PLAIN, controls=True),
        Variant("attention", PLAIN, tracks="attention"),
        Variant("true tracks of all objects", PLAIN, tracks=TRUE_TRACKS, controls=True),
    )


@_table("presets", "The presets, on the frames of the model's own settings")
def _presets(base: Settings, family: FamilyPresets | None) -> tuple[Variant, ...]:
    """Return every preset, as the model's family has it, with the model's own `sampling` and `input`."""
    left_out = {"sampling", "input", *PROVENANCE}
    own = _leaves(base.model_dump(exclude=left_out))
    paper, released = (
        {
            name: value
            for name, value in _leaves(load_settings(preset, family=family).model_dump(exclude=left_out)).items()
            if own[name] != value
        }
        for preset in ("paper", "released")
    )
    normalized = {
        "prompt.step_rule": "normalized",
        "prompt.step_size": 0.03,
        "prompt.objective": "linear",
        "prompt.contrast_neutral": True,
    }
    rows: dict[str, Overrides] = {
        "paper": paper,
        "released": released,
        "fast": {**paper, **PLAIN},
        "paper, normalized steps of .03": {**paper, **normalized},
        "the model's own": {},
    }
    return _variants({}, rows, ("paper", "released", "the model's own"))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names.

    >>> _leaves({"a": {"b": 1}, "c": 2})
    {'a.b': 1, 'c': 2}
    """
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        leaves |= _leaves(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return leaves


@_table("ours", "What is ours, beside the full method")
def _ours(base: Settings, *_: object) -> tuple[Variant, ...]:
    full, plain = _full(base), {**IDENTIFIED, **PLAIN}
    cells = {"joint.track_branches": "cell_product"}
    changes: dict[str, Overrides] = {
        "without prompts and TAS": {},
        "adaptive span": _ADAPTIVE,
        "three tokens": _THREE_TOKENS,
        "product of cells": cells,
        "adaptive span, three tokens": {**_ADAPTIVE, **_THREE_TOKENS},
        "adaptive span, three tokens, product of cells": {**_ADAPTIVE, **_THREE_TOKENS, **cells},
        "raw attention": _RAW,
        "raw attention, adaptive span": {**_ADAPTIVE, **_RAW},
        "raw attention, adaptive span, three tokens": {**_ADAPTIVE, **_THREE_TOKENS, **_RAW},
        "second half of the layers": _SECOND_HALF,
        "second half, raw attention, adaptive span, three tokens": {
            **_SECOND_HALF,
            **_ADAPTIVE,
            **_THREE_TOKENS,
            **_RAW,
        },
    }
    rows: dict[str, Overrides] = {
        "the full method": full,
        **{name: {**plain, **change} for name, change in changes.items()},
        "the full method with an adaptive span": {**full, **_ADAPTIVE},
        "the full method, prompts limited and smooth": {**full, **_RESTRICTED},
        "the full method on raw attention, adaptive span, prompts limited and smooth": {
            **full,
            **_ADAPTIVE,
            **_RAW,
            **_RESTRICTED,
        },
        "product of views without prompts, adaptive span": {**plain, **_ADAPTIVE, "augment.enabled": True, **_PRODUCT},
    }
    return _variants({}, rows, ("the full method", "raw attention, adaptive span, three tokens"))


@_table("doubt", "Prompts only if the model's answer is no")
def _doubt(base: Settings, *_: object) -> tuple[Variant, ...]:
    full, five = _full(base), {"prompt.steps": 5}
    rows: dict[str, Overrides] = {
        "where the answer is no": {},
        "where it is no, up to 5 steps": five,
        "where it is no, three tokens": _THREE_TOKENS,
        "where it is no, mean of tokens": MEAN,
        "where it is no, TAS by product": _PRODUCT,
        "where it is no, TAS by product, three tokens": {**_PRODUCT, **_THREE_TOKENS},
        "where it is no, TAS by product, mean of tokens": {**_PRODUCT, **MEAN},
        "where it is no, up to 5 steps, TAS by product, mean of tokens": {**five, **_PRODUCT, **MEAN},
        "no prompt, TAS by product, mean of tokens": {**_PRODUCT, **MEAN, **_NO_STEP},
    }
    return (
        Variant("mean of tokens", {**PLAIN, **MEAN}, controls=True),
        Variant("the full method", full),
        *_variants({**full, "prompt.stop_margin": 0.0}, rows, ("where it is no, TAS by product, mean of tokens",)),
    )


@_table("prompts", "Prompts restricted, smooth, stopped early; views combined")
def _prompts(base: Settings, *_: object) -> tuple[Variant, ...]:
    rows: dict[str, Overrides] = {
        "the full method": {},
        "no prompt, no TAS": PLAIN,
        "TAS without prompts": _NO_STEP,
        "TAS by product": _PRODUCT,
        "TAS by product, no prompt": {**_PRODUCT, **_NO_STEP},
        "TAS with the flipped prompt": {"augment.prompts": "flipped"},
        "no token's prompt above .1": {"prompt.norm_limit": 0.1},
        "smooth over 3 time steps": {"prompt.time_window": 3},
        "the same at all times": {"prompt.time_window": 4095},
        "no step above margin 0": {"prompt.stop_margin": 0.0},
        "no step above margin 4": {"prompt.stop_margin": 4.0},
    }
    return _variants(_full(base), rows)


TABLE_NAMES: Final = tuple(TABLES)
