"""The tables of an ablation: those of the paper, what it leaves open, and what is ours.

All start from a model's own settings (its preset), so that one table reads alike on every family. Where those learn
no prompt (calibration may choose so), tables about prompts take one step.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from stvg_core.evaluation.ablation import own_tables, paper_tables
from stvg_core.evaluation.ablation.variants import Variant, VariantTable
from stvg_core.settings import FamilyPresets, Settings

_Maker = Callable[[Settings, FamilyPresets | None], tuple[Variant, ...]]
_TABLES: Final[Mapping[str, tuple[str, _Maker]]] = MappingProxyType(
    {
        "ladder": ("The components, one after another (paper Table 2)", lambda base, _: paper_tables.ladder(base, {})),
        "ladder-paper-join": (
            "The same, where the attribute alone chooses the track (paper section 3.5)",
            lambda base, _: paper_tables.ladder(base, paper_tables.PAPERS_JOIN),
        ),
        "objective": ("What a prompt is learned on (paper Table 3)", paper_tables.objective),
        "steps": ("Steps and step size (paper Table 7)", paper_tables.steps),
        "tokens": ("Which prompt tokens are read", paper_tables.tokens),
        "layers": ("Which layers are read", paper_tables.layers),
        "relative": ("Relative attention", paper_tables.relative),
        "frames": ("Number of frames (paper Fig. 6)", paper_tables.frames),
        "span": ("Length of the span (paper Fig. 6), and spans without a length", paper_tables.span),
        "join": ("How the branches choose a track", paper_tables.join),
        "tracker": ("Trackers (paper Fig. 6)", paper_tables.tracker),
        "presets": ("The presets, on the frames that the model's own settings give it", own_tables.presets),
        "ours": ("What is ours, beside the full method", own_tables.ours),
        "doubt": ("Prompts where the model's answer is no alone", own_tables.doubt),
        "prompts": ("Prompts restricted, smooth, stopped early; views combined", own_tables.prompts),
    }
)
TABLE_NAMES: Final = tuple(_TABLES)


def make_tables(names: Sequence[str], base: Settings, family: FamilyPresets | None = None) -> tuple[VariantTable, ...]:
    """Return tables for one model.

    Args:
        names: some of TABLE_NAMES; none: all.
        base: the model's own settings.
        family: what the model's family has differently in presets.
    """
    return tuple(VariantTable(name, _TABLES[name][0], _TABLES[name][1](base, family)) for name in names or TABLE_NAMES)
