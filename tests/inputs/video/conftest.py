"""A folder to write clips into."""

from pathlib import Path

import pytest

from tests.support.clips import ClipStudio


@pytest.fixture
def studio(tmp_path: Path) -> ClipStudio:
    return ClipStudio(tmp_path)


@pytest.fixture(scope="session")
def shared_studio(tmp_path_factory: pytest.TempPathFactory) -> ClipStudio:
    """For clips that many examples read."""
    return ClipStudio(tmp_path_factory.mktemp("clips"))
