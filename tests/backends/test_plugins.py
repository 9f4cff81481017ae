"""Every transformers backend as the core finds it: manifest, entry point, hooks."""

import importlib.metadata
import importlib.resources
import tomllib

import pluggy
import pytest
import torch

from stvg_core.host.session import REQUIRED_HOOKS
from stvg_core.plugin import hookspecs
from stvg_core.plugin.adapter import AnswerLogits, AttentionRequest, MLLMAdapter
from stvg_core.plugin.model_reference import HOOK_API, LoadOptions, ModelReference
from stvg_core.settings import PromptSettings, TokenSettings
from stvg_huggingface.hooks import HuggingFaceBackend
from tests.support.backends.subjects import ONE_CASE, QUESTIONS, Case, Subject

every_plugin = pytest.mark.parametrize("name", ["llava-next", "qwen2-vl", "internvl"])
one_case_a_family = pytest.mark.parametrize("case", ONE_CASE, ids=str)
PLUGIN = {"llava-next-video": "llava-next", "qwen2-vl": "qwen2-vl", "qwen2.5-vl": "qwen2-vl", "internvl": "internvl"}
VICUNA_TOKEN, CHATML_TOKEN = "▁A", "<|im_start|>"


def load(name: str) -> HuggingFaceBackend:
    (entry,) = importlib.metadata.entry_points(group="stvg.backends", name=name)
    plugin = entry.load()()
    assert isinstance(plugin, HuggingFaceBackend)
    return plugin


@every_plugin
def test_manifest_says_what_the_plugin_does(name: str) -> None:
    package = type(load(name)).__module__.split(".")[0]
    text = importlib.resources.files(package).joinpath("stvg-backend.toml").read_text(encoding="utf-8")
    manifest = tomllib.loads(text)
    assert manifest["name"] == name
    assert manifest["hook_api"] == HOOK_API
    assert tuple(manifest["architectures"]) == load(name).family.architectures


@one_case_a_family
def test_hooks_through_pluggy(subject: Subject, case: Case) -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(load(PLUGIN[case.family]))
    manager.check_pending()
    for name in REQUIRED_HOOKS:
        assert len(getattr(manager.hook, name).get_hookimpls()) == 1, name
    adapter = manager.hook.stvg_create_adapter(
        reference=ModelReference("tiny", subject.folder), options=LoadOptions(device="cpu")
    )
    assert isinstance(adapter, MLLMAdapter)
    assert adapter.description.checkpoint == subject.folder
    request = AttentionRequest(subject.encode(case), QUESTIONS[:1], None, (1,))
    (attention,) = manager.hook.stvg_capture_attention(adapter=adapter, request=request)
    (chosen,) = manager.hook.stvg_select_grounding_tokens(
        adapter=adapter, attention=attention, relative=attention.rows, settings=TokenSettings(rule="fixed")
    )
    assert attention.tokens[chosen].text == (VICUNA_TOKEN if case.family == "llava-next-video" else CHATML_TOKEN)
    logits = AnswerLogits(torch.tensor([1.0]), torch.tensor([3.0]))
    settings = PromptSettings(objective="linear")
    assert manager.hook.stvg_regularize_logits(adapter=adapter, logits=logits, settings=settings).item() == 3


@one_case_a_family
def test_the_core_picks_the_backend_by_architecture(subject: Subject, case: Case) -> None:
    assert subject.session.identity.backend == PLUGIN[case.family]
