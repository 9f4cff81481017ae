"""The backends of this repository, as their own authors would test them."""

import pytest

from stvg_core.devtools.testing import BackendConformance


class TestInternVL(BackendConformance):
    backend = "internvl"


class TestLlavaNext(BackendConformance):
    backend = "llava-next"


class TestQwen2VL(BackendConformance):
    backend = "qwen2-vl"


@pytest.mark.slow
class TestQwen25VL(BackendConformance):
    backend = "qwen2-vl/qwen2.5-vl"
