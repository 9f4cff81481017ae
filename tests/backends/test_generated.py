"""The method against the plain procedure: answers generated, whole maps of eager attention."""

import numpy as np
import pytest

from stvg_core.method.pipeline import EncodedViews, Pipeline
from stvg_core.settings import PromptSettings, load_settings
from stvg_core.values import SubQueries
from stvg_huggingface.testing.plain_procedure import PlainProcedure
from tests.support.backends.measure import telling_step
from tests.support.backends.subjects import ONE_CASE, Case, Subject, frames

QUERY = SubQueries("The man in red walks to the car.", "the man in red", "the man walks to the car", "given")


@pytest.mark.parametrize("case", ONE_CASE, ids=str)
def test_maps_are_those_of_the_plain_procedure(subject: Subject, case: Case) -> None:
    prompting = PromptSettings(objective="linear", contrast_neutral=True, momentum=0.5, steps=2)
    prompting = telling_step(subject, case, prompting)
    settings = load_settings("released").model_copy(update={"input": case.settings, "prompt": prompting})
    clip = subject.encode(case)
    reversed_clip = subject.session.augment_frames(frames(case), clip, case.settings)
    views = EncodedViews(frames(case), clip, reversed_clip)
    (own,) = Pipeline(subject.session, settings).compute_maps(views, (QUERY,))
    procedure = PlainProcedure(subject.session, settings)
    plain = procedure.maps(clip, reversed_clip, QUERY)
    for found, expected in zip((own.spatial, own.temporal), plain, strict=True):
        assert np.abs(found.values - expected.values).max() < 1e-4 * np.abs(expected.values).max()
        assert found.grounding_tokens == expected.grounding_tokens
    assert set(procedure.watch.seconds) == {"prompts", "attention"}
    # The plain procedure leaves the model as it found it.
    (again,) = Pipeline(subject.session, settings).compute_maps(views, (QUERY,))
    np.testing.assert_array_equal(again.spatial.values, own.spatial.values)
