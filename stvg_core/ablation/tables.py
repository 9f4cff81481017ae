"""The tables of an ablation: those of the paper, what it leaves open, and what is ours.

All start from a model's own settings (its preset), so that one table reads alike on every family. Where those learn
no prompt (calibration may choose so), tables about prompts take one step.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from stvg_core.ablation.variants import Table, Variant
from stvg_core.comparison.ladder import LADDER
from stvg_core.config import Settings, load_settings
from stvg_core.errors import UsageError

ORACLE_TRACKS: Final = "oracle"
"""In the place of a tracker's name: the true tracks of all objects, where a source knows them."""

_PLAIN: Final = {"spatial.tune": False, "temporal.tune": False, "augment.enabled": False}
_BOTH: Final = {"spatial.tune": True, "temporal.tune": True}
_FULL: Final = {**_BOTH, "augment.enabled": True}
_IDENTIFIED: Final = {"spatial.tokens.rule": "max_activation", "temporal.tokens.rule": "max_activation"}
_PAPERS_JOIN: Final = {"joint.track_branches": "spatial", "joint.track_pooling": "max"}
_ROLE_TOKENS: Final = 6
_MOST_LAYERS: Final = 8
_SPAN_SHARES: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


def _prompted(base: Settings) -> dict[str, Any]:
    return {"prompt.steps": max(1, base.prompt.steps)}


def _ladder(base: Settings, join: Mapping[str, Any]) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            step.name,
            {**_prompted(base), **step.overrides, **join},
            controls=place in (0, len(LADDER) - 1),
            consistency=True,
        )
        for place, step in enumerate(LADDER)
    )


def _objective(base: Settings, _layers: int) -> tuple[Variant, ...]:
    tuned = {**_prompted(base), **_IDENTIFIED, **_BOTH, "augment.enabled": False}
    objectives = {
        "entropy": {"prompt.objective": "entropy", "prompt.contrast_neutral": False},
        "yes/no, linear": {"prompt.objective": "linear", "prompt.contrast_neutral": False},
        "yes/no, linear, against the neutral question": {"prompt.objective": "linear", "prompt.contrast_neutral": True},
        "yes/no, exponential": {"prompt.objective": "exponential", "prompt.contrast_neutral": False},
    }
    return (
        Variant("no prompt", {**_IDENTIFIED, **_PLAIN}),
        *(Variant(name, {**tuned, **overrides}) for name, overrides in objectives.items()),
    )


def _steps(base: Settings, _layers: int) -> tuple[Variant, ...]:
    # Without TAS, which would double the cost of a table about something else.
    rules = {"normalized": (0.01, 0.03, 0.1, 0.3), "raw": (8.0,)}
    return (
        Variant("no prompt", {**_IDENTIFIED, **_PLAIN}),
        *(
            Variant(
                f"{rule}, {count} step{'s' if count > 1 else ''} of {size:g}",
                {
                    **_IDENTIFIED,
                    **_BOTH,
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


def _tokens(_base: Settings, _layers: int) -> tuple[Variant, ...]:
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
                **_PLAIN,
                **{
                    f"{branch}.tokens.{key}": value
                    for branch in ("spatial", "temporal")
                    for key, value in choice.items()
                },
            },
        )
        for name, choice in choices.items()
    )


def _layers(_base: Settings, layer_count: int) -> tuple[Variant, ...]:
    parts = min(layer_count, _MOST_LAYERS)
    ranges = {
        "all": (0.0, 1.0),
        "first half": (0.0, 0.5),
        "second half": (0.5, 1.0),
        "6/32 to 26/32 (C)": (6 / 32, 26 / 32),
    }
    what = "layer" if parts == layer_count else f"part of {parts}"
    ranges |= {f"{what} {part}": (part / parts, (part + 1) / parts) for part in range(parts)}
    return tuple(
        Variant(
            name,
            {**_PLAIN, **{f"{branch}.layers": {"start": start, "stop": stop} for branch in ("spatial", "temporal")}},
        )
        for name, (start, stop) in ranges.items()
    )


def _relative(_base: Settings, _layers: int) -> tuple[Variant, ...]:
    modes: dict[str, dict[str, Any]] = {
        "ratio, epsilon uniform": {"relative.mode": "ratio", "relative.epsilon": "uniform"},
        "ratio, epsilon 1e-4": {"relative.mode": "ratio", "relative.epsilon": 1e-4},
        "raw": {"relative.mode": "raw"},
    }
    return tuple(Variant(name, {**_PLAIN, **mode}) for name, mode in modes.items())


def _frames(base: Settings, _layers: int) -> tuple[Variant, ...]:
    count, span = base.sampling.frame_count, base.joint.span_frame_count
    return tuple(
        Variant(
            f"{frames} frames",
            {
                **_PLAIN,
                "sampling.mode": "uniform",
                "sampling.frame_count": frames,
                "joint.span_frame_count": max(1, round(span * frames / count)),
            },
        )
        for frames in (count, max(2, count // 2), 2 * count)
    )


def _span(base: Settings, _layers: int) -> tuple[Variant, ...]:
    count = base.sampling.frame_count
    lengths = sorted({max(1, round(share * count)) for share in _SPAN_SHARES} | {base.joint.span_frame_count})
    rows = [Variant(f"top {base.joint.span_frame_count}", {**_PLAIN, "joint.boundary": "top_k"})]
    rows += [
        Variant(
            f"{'top' if rule == 'top_k' else 'contiguous'} {length}",
            {**_PLAIN, "joint.boundary": rule, "joint.span_frame_count": length},
        )
        for rule in ("top_k", "contiguous")
        for length in lengths
        if (rule, length) != ("top_k", base.joint.span_frame_count)
    ]
    rows += [
        Variant(f"threshold {share:g}", {**_PLAIN, "joint.boundary": "threshold", "joint.threshold_share": share})
        for share in (0.1, 0.5)
    ]
    rules: dict[str, dict[str, Any]] = {
        "largest centred sum": {"joint.boundary": "max_sum"},
        "two levels": {"joint.boundary": "two_level"},
        "threshold .3": {"joint.boundary": "threshold", "joint.threshold_share": 0.3},
    }
    rows += [
        Variant(f"{name}{' of logarithms' if scale == 'log' else ''}", {**_PLAIN, **rule, "joint.span_scale": scale})
        for scale in ("linear", "log")
        for name, rule in rules.items()
    ]
    return tuple(rows)


_ADAPTIVE: Final = {"joint.boundary": "max_sum", "joint.span_scale": "log"}
_THREE_TOKENS: Final = {"spatial.tokens.count": 3, "temporal.tokens.count": 3}
_SECOND_HALF: Final = {"spatial.layers": {"start": 0.5, "stop": 1.0}, "temporal.layers": {"start": 0.5, "stop": 1.0}}


def _ours(base: Settings, _layers: int) -> tuple[Variant, ...]:
    full = {**_prompted(base), **_IDENTIFIED, **_FULL}
    plain = {**_IDENTIFIED, **_PLAIN}
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


def _presets(base: Settings, _layers: int) -> tuple[Variant, ...]:
    """Return every preset on the frames and tokens that the model's own settings give it."""
    own = _leaves(base.model_dump(exclude={"sampling", "input", "preset"}))
    rows = []
    for name in ("paper", "released"):
        preset = load_settings(name)
        values = _leaves(preset.model_dump(exclude={"sampling", "input", "preset"}))
        share = preset.joint.span_frame_count / preset.sampling.frame_count
        values["joint.span_frame_count"] = max(1, round(share * base.sampling.frame_count))
        changed = {key: value for key, value in values.items() if own[key] != value}
        rows.append(Variant(name, changed, controls=True))
    rows.append(Variant("fast", {**rows[0].overrides, **_PLAIN}))
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


def _join(_base: Settings, _layers: int) -> tuple[Variant, ...]:
    names = {"spatial": "attribute (paper)", "product": "product of scores", "cell_product": "product of cells"}
    return tuple(
        Variant(f"{name}, {pooling}", {**_PLAIN, "joint.track_branches": branches, "joint.track_pooling": pooling})
        for branches, name in names.items()
        for pooling in ("max", "mean")
    )


def _tracker(_base: Settings, _layers: int) -> tuple[Variant, ...]:
    return (
        Variant("own", _PLAIN, controls=True),
        Variant("attention", _PLAIN, tracks="attention"),
        Variant("true tracks of all objects", _PLAIN, tracks=ORACLE_TRACKS, controls=True),
    )


def _prompts(base: Settings, _layers: int) -> tuple[Variant, ...]:
    full = {**_prompted(base), **_IDENTIFIED, **_FULL}
    changes: dict[str, dict[str, Any]] = {
        "the full method": {},
        "no prompt, no TAS": {**_PLAIN},
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


_Maker = Callable[[Settings, int], tuple[Variant, ...]]
_TABLES: Final[Mapping[str, tuple[str, _Maker]]] = MappingProxyType(
    {
        "ladder": ("The components, one after another (paper Table 2)", lambda base, _: _ladder(base, {})),
        "ladder-paper-join": (
            "The same, where the attribute alone chooses the track (paper section 3.5)",
            lambda base, _: _ladder(base, _PAPERS_JOIN),
        ),
        "objective": ("What a prompt is learned on (paper Table 3)", _objective),
        "steps": ("Steps and step size (paper Table 7)", _steps),
        "tokens": ("Which prompt tokens are read", _tokens),
        "layers": ("Which layers are read", _layers),
        "relative": ("Relative attention", _relative),
        "frames": ("Number of frames (paper Fig. 6)", _frames),
        "span": ("Length of the span (paper Fig. 6), and spans without a length", _span),
        "join": ("How the branches choose a track", _join),
        "tracker": ("Trackers (paper Fig. 6)", _tracker),
        "presets": ("The presets, on the frames that the model's own settings give it", _presets),
        "ours": ("What is ours, beside the full method", _ours),
        "prompts": ("Prompts restricted, smooth, stopped early; views combined", _prompts),
    }
)
TABLE_NAMES: Final = tuple(_TABLES)


def make_tables(names: Sequence[str], base: Settings, layer_count: int) -> tuple[Table, ...]:
    """Return tables for one model.

    Args:
        names: some of TABLE_NAMES; none: all.
        base: the model's own settings.
        layer_count: decoder layers of the model.

    Raises:
        UsageError: there is no table of a name.
    """
    for name in names:
        if name not in _TABLES:
            raise UsageError(f"expected a table ({', '.join(TABLE_NAMES)}), got {name!r}")
    return tuple(Table(name, _TABLES[name][0], _TABLES[name][1](base, layer_count)) for name in names or TABLE_NAMES)
