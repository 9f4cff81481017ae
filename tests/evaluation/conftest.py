"""A model that needs no loading."""

import pytest

from stvg_core.api.grounder import Grounder
from stvg_core.evaluation.runs.evaluation import ModelChoice
from stvg_core.host.session import Session
from stvg_core.inputs.tracks.cached import VideoCache
from stvg_core.settings import load_settings
from tests.support.runs import WholePicture


@pytest.fixture
def scripted(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that needs no loading, whatever --model says."""

    def open_(choice: ModelChoice, sessions: object = None) -> Grounder:
        settings = load_settings(
            "paper", overrides={"sampling.frame_count": 6, "prompt.steps": 0} | dict(choice.spec.overrides)
        )
        return Grounder(session, settings, VideoCache(WholePicture()))

    monkeypatch.setattr(ModelChoice, "open", open_)
