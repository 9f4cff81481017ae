"""Several queries about one clip in passes of their own and in shared ones: the same maps."""

import numpy as np
import pytest

from stvg_core.method.pipeline import EncodedViews, Pipeline
from stvg_core.method.stages import Stopwatch
from stvg_core.settings import PromptSettings, load_settings
from stvg_core.values import SubQueries
from tests.support.backends.measure import telling_step
from tests.support.backends.subjects import ONE_CASE, Case, Subject, frames

QUERIES = (
    SubQueries("The man in red walks to the car.", "the man in red", "the man walks to the car", "given"),
    SubQueries("The woman opens the door.", "the woman", "the woman opens the door", "given"),
    SubQueries("The man walks.", "the man", "the man walks to the car", "given"),
)


def encoded(subject: Subject, case: Case) -> EncodedViews:
    clip = subject.encode(case)
    return EncodedViews(frames(case), clip, subject.session.augment_frames(frames(case), clip, case.settings))


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("case", ONE_CASE, ids=str)
def test_maps_are_those_of_each_query_alone(subject: Subject, case: Case, steps: int) -> None:
    prompting = PromptSettings(objective="linear", contrast_neutral=True, momentum=0.5, steps=max(steps, 1))
    prompting = telling_step(subject, case, prompting).model_copy(update={"steps": steps})
    settings = load_settings("released").model_copy(update={"input": case.settings, "prompt": prompting})
    session, views = subject.session, encoded(subject, case)
    passes: list[int] = []
    layer = subject.model.model.language_model.layers[0]
    handle = layer.register_forward_pre_hook(lambda _module, _given: passes.append(1))
    together = Pipeline(session, settings).compute_maps(views, QUERIES)
    shared = len(passes)
    alone = [Pipeline(session, settings).compute_maps(views, (query,))[0] for query in QUERIES]
    handle.remove()
    single = len(passes) - shared
    # Without prompts one pass a view; with two steps the first is shared by all, the rest is each prompt's own.
    assert (shared, single) == ((2, 6) if steps == 0 else (1 + 6 + 6 + 1 + 3 + 3, 3 * (1 + 2 + 2 + 1 + 1 + 1)))
    for own, expected in zip(together, alone, strict=True):
        assert own.margins == pytest.approx(expected.margins, abs=2e-4)
        for found, wanted in ((own.spatial, expected.spatial), (own.temporal, expected.temporal)):
            assert np.abs(found.values - wanted.values).max() < 1e-4 * np.abs(wanted.values).max()
            assert found.grounding_tokens == wanted.grounding_tokens
    differing = np.abs(together[0].spatial.values - together[1].spatial.values).max()
    assert differing > 1e-2 * np.abs(together[0].spatial.values).max(), "queries must differ to be told apart"


@pytest.mark.parametrize("case", ONE_CASE, ids=str)
def test_maps_without_the_prompt_are_those_of_no_steps_and_change_nothing(subject: Subject, case: Case) -> None:
    prompting = PromptSettings(objective="linear", contrast_neutral=True, momentum=0.5, steps=1)
    prompting = telling_step(subject, case, prompting)
    settings = load_settings("released").model_copy(update={"input": case.settings, "prompt": prompting})
    session, views = subject.session, encoded(subject, case)
    watch = Stopwatch()
    pipeline = Pipeline(session, settings, watch=watch)
    (plain,) = pipeline.compute_maps(views, QUERIES[:1])
    assert (plain.unprompted_spatial, plain.unprompted_temporal, "unprompted" in watch.seconds) == (None, None, False)
    (kept,) = pipeline.compute_maps(views, QUERIES[:1], unprompted=True)
    assert watch.seconds["unprompted"] > 0
    bare_settings = settings.model_copy(update={"prompt": prompting.model_copy(update={"steps": 0})})
    (bare,) = Pipeline(session, bare_settings).compute_maps(views, QUERIES[:1], unprompted=True)
    assert (bare.unprompted_spatial, bare.unprompted_temporal) == (None, None)
    assert kept.unprompted_spatial is not None
    assert kept.unprompted_temporal is not None
    for found, wanted in (
        (kept.unprompted_spatial, bare.spatial),
        (kept.unprompted_temporal, bare.temporal),
        (kept.spatial, plain.spatial),
        (kept.temporal, plain.temporal),
    ):
        assert np.abs(found.values - wanted.values).max() < 1e-4 * np.abs(wanted.values).max()
    for prompted, unprompted in (
        (kept.spatial, kept.unprompted_spatial),
        (kept.temporal, kept.unprompted_temporal),
    ):
        moved = np.abs(prompted.values - unprompted.values).max()
        assert moved > 1e-3 * np.abs(prompted.values).max(), "the prompt must do something to be told apart"
