"""Which chat template counts: the order of transformers' own processors."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer, ProcessorMixin

from stvg_core.errors import ModelError
from stvg_huggingface.files import read_chat_template, read_preprocessors
from stvg_huggingface.testing import tiny_tokenizer

IN_PROCESSOR_CONFIG = {"processor_config.json": json.dumps({"chat_template": "of the processor's configuration"})}
IN_TEMPLATE_JSON = {"chat_template.json": json.dumps({"chat_template": "of chat_template.json"})}
IN_JINJA = {"chat_template.jinja": "of chat_template.jinja"}
IN_TOKENIZER_CONFIG = {"tokenizer_config.json": json.dumps({"chat_template": "of the tokenizer's configuration"})}
NAMED = {
    "additional_chat_templates/rag.jinja": "named rag",
    "chat_template.jinja": "of chat_template.jinja",
}
SOURCES = (IN_PROCESSOR_CONFIG, IN_TEMPLATE_JSON, IN_JINJA, IN_TOKENIZER_CONFIG)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        old = json.loads(path.read_text()) if name == "tokenizer_config.json" else None
        path.write_text(text if old is None else json.dumps({**old, **json.loads(text)}))


def chosen(folder: Path) -> str:
    """What the adapter renders: the processor's template, or else the tokenizer's own."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer.get_chat_template(read_chat_template(folder))


@pytest.mark.parametrize("present", range(1, 16))
def test_every_combination_goes_as_in_transformers(folder: Path, present: int) -> None:
    files: dict[str, str] = {}
    for number, source in enumerate(SOURCES):
        if present >> number & 1:
            files |= source
    write(folder, files)
    processor, _ = ProcessorMixin.get_processor_dict(folder)
    expected = processor.get("chat_template") or AutoTokenizer.from_pretrained(folder).chat_template
    assert expected
    assert chosen(folder) == expected


# transformers leaves the files open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_named_templates_beside_the_default(folder: Path) -> None:
    write(folder, NAMED)
    processor, _ = ProcessorMixin.get_processor_dict(folder)
    assert processor["chat_template"] == {"default": "of chat_template.jinja", "rag": "named rag"}
    assert chosen(folder) == "of chat_template.jinja"


def test_named_templates_in_the_configuration(folder: Path) -> None:
    write(folder, {"processor_config.json": json.dumps({"chat_template": {"default": "the default", "rag": "rag"}})})
    assert chosen(folder) == "the default"


@pytest.mark.parametrize("template", [3, ["x"], {"default": 3}])
def test_what_is_no_template(folder: Path, template: object) -> None:
    write(folder, {"chat_template.json": json.dumps({"chat_template": template})})
    with pytest.raises(ModelError, match=r"expected text as chat_template in chat_template\.json"):
        read_chat_template(folder)


def test_no_template_at_all(folder: Path) -> None:
    assert read_chat_template(folder) is None
    write(folder, {"chat_template.json": "{}"})
    assert read_chat_template(folder) is None


def test_preprocessors_go_from_the_most_specific(folder: Path) -> None:
    video, image = {"image_mean": 1}, {"image_mean": 2}
    write(
        folder,
        {
            "processor_config.json": json.dumps({"video_processor": {"image_mean": 3}, "image_processor": image}),
            "video_preprocessor_config.json": json.dumps(video),
            "preprocessor_config.json": json.dumps({"image_mean": 4}),
        },
    )
    assert [entry.get("image_mean") for entry in read_preprocessors(folder)] == [1, 3, 4, 2]
