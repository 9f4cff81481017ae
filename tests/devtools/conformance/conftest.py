"""One tiny model of every family, written once."""

from functools import cache

import pytest
import torch

from stvg_core.devtools.testing.context import ConformanceContext
from stvg_core.devtools.testing.runner import open_context
from tests.support.conformance.planting import OpenContext

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def context_of(tmp_path_factory: pytest.TempPathFactory) -> OpenContext:
    @cache
    def open_one(name: str) -> ConformanceContext:
        return open_context(name, tmp_path_factory.mktemp("subject"))

    return open_one
