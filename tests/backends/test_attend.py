"""What `stvg attend` writes against eager attention of plain transformers, cell by cell."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from stvg_core.method.pipeline import Pipeline
from stvg_core.method.question_maps import QuestionAttentionMaps, compute_question_maps
from stvg_core.method.selection import LayerSelection, TokenSelection
from stvg_core.outputs.attention.arrays import reading_arrays, write_arrays
from stvg_core.settings import load_settings
from tests.support.backends.plain_method import plain_rows
from tests.support.backends.subjects import CASES, ONE_CASE, Case, Subject, frames

QUESTION = "What colour is the sofa behind the man?"
EPSILON = 1e-3
NEUTRAL = "please describe this video"
MERGED = tuple(case for case in CASES if case.settings.temporal_merge == "merge")[:1]
one_case_a_family = pytest.mark.parametrize("case", ONE_CASE, ids=str)
one_case_and_merged = pytest.mark.parametrize("case", [*ONE_CASE, *MERGED], ids=str)


def read(subject: Subject, case: Case, mode: str, layers: str = "all", tokens: str = "all") -> QuestionAttentionMaps:
    overrides = {"relative.mode": mode, "relative.epsilon": EPSILON, "relative.neutral_question": NEUTRAL}
    settings = load_settings("paper", overrides=overrides).model_copy(update={"input": case.settings})
    numbers = LayerSelection(layers).layers(subject.session.adapter.description.layer_count)
    pipeline = Pipeline(subject.session, settings)
    return compute_question_maps(pipeline, frames(case), QUESTION, numbers, TokenSelection(tokens))


def written(reading: QuestionAttentionMaps) -> dict[str, np.ndarray]:
    """Return the arrays as somebody reads them from the file."""
    with TemporaryDirectory() as folder:
        write_arrays(Path(folder) / "attention.npz", reading_arrays(reading))
        with np.load(Path(folder) / "attention.npz", allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


@one_case_and_merged
@pytest.mark.parametrize(("layers", "numbers"), [("all", (0, 1, 2, 3)), ("1-2", (1, 2)), ("-1", (3,))])
def test_rows_and_maps_are_eager_attention(subject: Subject, case: Case, layers: str, numbers: tuple[int, ...]) -> None:
    arrays = written(read(subject, case, "raw", layers))
    count = len(arrays["token_text"])
    expected = plain_rows(subject, case, QUESTION, numbers, None)[-count:].numpy()
    assert arrays["layer"].tolist() == list(numbers)
    assert np.abs(arrays["rows"] - expected).max() < 1e-5
    assert "relative_rows" not in arrays
    # The maps, cell by cell: the layout says where each visual token lies.
    mean = expected.mean(axis=0)
    seen = np.zeros(arrays["maps"].shape, dtype=bool)
    for cell, value in enumerate(mean):
        row, column = arrays["cell_row"][cell], arrays["cell_column"][cell]
        for frame in range(arrays["cell_frame"][cell], arrays["cell_last_frame"][cell] + 1):
            assert abs(arrays["maps"][frame, row, column] - value) < 1e-5
            seen[frame, row, column] = True
    assert seen.all()


@one_case_a_family
def test_relative_rows_are_shares_over_the_neutral_questions(subject: Subject, case: Case) -> None:
    arrays = written(read(subject, case, "ratio"))
    layers = subject.layers()
    own = plain_rows(subject, case, QUESTION, layers, None)[-len(arrays["token_text"]) :].numpy()
    neutral = plain_rows(subject, case, NEUTRAL, layers, None)[-len(arrays["neutral_token_text"]) :].numpy()
    assert np.abs(arrays["neutral_rows"] - neutral).max() < 1e-5
    # The neutral question has words and then the template, whose last tokens are those of the question's prompt.
    words = arrays["token_kind"].tolist().count("role")
    word_mean = neutral[:-words].mean(axis=0)
    for place, kind in enumerate(arrays["token_kind"]):
        from_end = len(own) - place
        other = neutral[-from_end] if kind != "word" and from_end <= len(neutral) else word_mean
        ratio = own[place] / (other + EPSILON)
        assert np.abs(arrays["relative_rows"][place] - ratio).max() < 1e-5 * max(1.0, ratio.max())


@one_case_a_family
def test_tokens_are_the_tokenizers(subject: Subject, case: Case) -> None:
    arrays = written(read(subject, case, "raw"))
    tokenizer = subject.plain.tokenizer
    assert tokenizer.convert_ids_to_tokens(arrays["token_id"].tolist()) == arrays["token_text"].tolist()
    ids = subject.prompt(case, QUESTION).inputs["input_ids"][0].tolist()
    assert ids[-len(arrays["token_id"]) :] == arrays["token_id"].tolist()
    decoded = tokenizer.decode(arrays["token_id"][arrays["token_kind"] != "role"].tolist())
    assert decoded.strip().removesuffix("ĊASSISTANT").startswith(QUESTION.removesuffix("?").strip())


@one_case_a_family
@pytest.mark.parametrize("tokens", ["text:sofa", "words", "roles", "0,-1", "grounding"])
def test_the_chosen_tokens_mean_is_the_map(subject: Subject, case: Case, tokens: str) -> None:
    reading = read(subject, case, "raw", tokens=tokens)
    arrays = written(reading)
    steps = arrays["rows"][arrays["token_chosen"]].astype(np.float64).mean(axis=0).reshape(reading.layout.shape)
    assert np.abs(arrays["maps"] - steps[arrays["frame_time_step"]]).max() < 1e-7
    chosen = arrays["token_text"][arrays["token_chosen"]].tolist()
    if tokens == "text:sofa":
        assert "".join(text.strip("Ġ▁") for text in chosen) == "sofa"
    if tokens == "0,-1":
        assert chosen == [arrays["token_text"][0], arrays["token_text"][-1]]


@one_case_and_merged
def test_curves_are_sums_of_rows(subject: Subject, case: Case) -> None:
    arrays = written(read(subject, case, "raw", tokens="roles"))
    assert np.abs(arrays["token_share"] - arrays["rows"].sum(axis=1, dtype=np.float64)).max() < 1e-9
    for frame in range(len(arrays["frame_index"])):
        inside = (arrays["cell_frame"] <= frame) & (frame <= arrays["cell_last_frame"])
        share = arrays["rows"][:, inside].sum(axis=1, dtype=np.float64)
        assert np.abs(arrays["token_frame_share"][:, frame] - share).max() < 1e-9
        assert abs(arrays["frame_share"][frame] - share[arrays["token_chosen"]].mean()) < 1e-9
