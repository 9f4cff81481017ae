"""The whole method, step by step the released code's, against plain runs of transformers."""

import pytest

from tests.support.backends.measure import method_difference
from tests.support.backends.subjects import CASES, ONE_CASE, Case, Subject


@pytest.mark.parametrize("case", ONE_CASE, ids=str)
def test_maps_of_both_branches_and_both_views(subject: Subject, case: Case) -> None:
    assert method_difference(subject, case) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in ONE_CASE], ids=str)
def test_maps_however_the_clip_is_shown(subject: Subject, case: Case) -> None:
    assert method_difference(subject, case) < 1e-4
