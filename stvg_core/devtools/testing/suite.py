"""Every check of the kit, in the order in which a new backend meets them."""

from typing import Final

from stvg_core.devtools.testing.check import Check
from stvg_core.devtools.testing.checks import (
    answers,
    attention,
    interface,
    layout,
    memory,
    packing,
    prompting,
    selection,
    state,
    views,
)

CHECKS: Final[tuple[Check, ...]] = (
    interface.discovery,
    interface.manifest,
    interface.hooks,
    layout.token_layout,
    layout.frame_order,
    layout.token_places,
    answers.prompt_tokens,
    answers.answer_logits,
    answers.prompted_logits,
    attention.attention_rows,
    attention.prompted_rows,
    attention.row_shares,
    attention.causality,
    packing.batch,
    prompting.loss,
    prompting.gradient,
    prompting.zero_prompt,
    selection.token_selection,
    views.reversed_view,
    state.capture,
    state.text_generation,
    state.restoration,
    state.interruption,
    state.untouched_inputs,
    packing.repeatability,
    packing.clips,
    packing.sessions,
    packing.fresh_process,
    memory.memory,
    interface.refusals,
)
"""The kit; docs/conformance.md has a section for each."""
