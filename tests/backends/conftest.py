"""One tiny checkpoint of every family, opened once."""

from functools import cache

import pytest
import torch

from stvg_huggingface.testing import save_tiny_model
from tests.support.backends.subjects import Case, OpenSubject, Subject, open_subject

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def open_once(tmp_path_factory: pytest.TempPathFactory) -> OpenSubject:
    @cache
    def open_one(family: str, dtype: str) -> Subject:
        layers = 2 if dtype == "float64" else 4
        folder = save_tiny_model(family, tmp_path_factory.mktemp(family), layers=layers)
        return open_subject(family, folder, dtype=dtype)

    return open_one


@pytest.fixture
def subject(open_once: OpenSubject, case: Case) -> Subject:
    return open_once(case.family, "float32")


@pytest.fixture
def double(open_once: OpenSubject, case: Case) -> Subject:
    return open_once(case.family, "float64")
