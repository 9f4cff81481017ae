"""A tiny random LLaVA-OneVision, made in place: `python -m stvg_llava_onevision.tiny_model FOLDER` writes it.

Frames have 9 x 9 patches and two pixels over, as 384 pixels have 27 x 27 patches of 14 and six over.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, Qwen2Config, SiglipVisionConfig

from stvg_huggingface.testing import tiny_tokenizer

FRAME_PIXELS: Final = 38
PATCH_PIXELS: Final = 4
TEMPLATE: Final = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>\n' }}{% endfor %}"
    "{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"
    "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] }}{% endgeneration %}{% endfor %}{% endif %}"
    "{{'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As transformers' conversion script of the family writes it."""
STATISTICS: Final = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.3, 0.35]}
"""Numbers unlike any default, so that a mix-up of channels shows."""
_SCALED: Final = ("model.language_model.layers", "model.multi_modal_projector", "lm_head")


def save_tiny_model(folder: Path, *, layers: int = 3, seed: int = 0) -> Path:
    """Write the model in hub layout and return its folder.

    Args:
        folder: made where it is not there.
        layers: decoder layers.
        seed: of the weights; torch's own random state is left as it was.
    """
    tokenizer: Any = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    tokenizer.chat_template = TEMPLATE
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=FRAME_PIXELS,
            patch_size=PATCH_PIXELS,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=4096,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[FRAME_PIXELS, 2 * FRAME_PIXELS]],
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model: Any = LlavaOnevisionForConditionalGeneration(config)
        for name, weight in model.named_parameters():
            # As initialised, attention is almost even and a mistake would hardly show. Visual tokens get the size
            # of words: far smaller ones make a loss so bent that no finite step measures its slope.
            if weight.ndim == 2 and name.startswith(_SCALED):  # noqa: PLR2004 - a matrix
                weight.mul_(8.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(STATISTICS), encoding="utf-8")
    return folder


if __name__ == "__main__":
    sys.stdout.write(f"{save_tiny_model(Path(sys.argv[1]))}\n")
