"""Calibration candidates, and loose floors for the shipped checkpoints."""

import pytest

from stvg_core import open_session
from stvg_core.api.grounder import settings_of
from stvg_core.settings import Settings
from stvg_tiny.sampling import Split
from tiny_recipe.architectures import ARCHITECTURES
from tiny_recipe.calibrate import _with, choices, start_settings
from tiny_recipe.controls import ground_scenes, random_choice, scenes_of


def test_every_calibration_candidate_is_a_valid_setting() -> None:
    for row in ARCHITECTURES.values():
        start = start_settings(row)
        for _, candidates in choices(start):
            for candidate in candidates:
                settings = Settings.model_validate(_with(start, candidate))
                assert settings.joint.span_length(settings.sampling.frame_count) < settings.sampling.frame_count
                assert settings.temporal.tokens.rule == "max_activation"
                assert settings.input == row.inputs


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_shipped_checkpoint_grounds_easy_scenes_better_than_chance(name: str) -> None:
    scenes = scenes_of(Split.DEVELOPMENT, "easy", 30)
    with open_session(f"tiny:{name}") as session:
        settings = settings_of(session)
        grounded = ground_scenes(session, settings, "regions", scenes).summary()
    chance = random_choice(settings, scenes).summary()
    assert grounded["failures"] == 0
    assert grounded["m_vIoU"] > chance["m_vIoU"] + 0.08
