"""Tiny models of the real architectures with random weights, saved as whole checkpoints, for tests.

They find nothing sensible; they prove that files load, sizes agree and coordinates come back.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    CLIPTextConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam3VideoConfig,
    Sam3VideoModel,
    SwinConfig,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.utils import logging as transformers_logging

WORDS: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "person", "man", "dog", "cat", "circle", "object")
_IMAGENET: Final = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALVES: Final = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_WIDTH: Final = 128
_MEMORY_WIDTH: Final = 64
"""Set in SAM's source; the model's own width must be a larger multiple."""
SAM2_PIXELS: Final = 64
SAM3_PIXELS: Final = 56


def save_grounding_dino(folder: Path, *, mm: bool = False, seed: int = 0) -> Path:
    """Save a tiny Grounding DINO (or MM Grounding DINO) with processor and tokenizer; return the folder."""
    swin: Any = SwinConfig
    backbone = swin(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )
    text = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    kind: Any = MMGroundingDinoConfig if mm else GroundingDinoConfig
    config = kind(
        backbone_config=backbone,
        text_config=text,
        num_queries=8,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        d_model=32,
        max_text_len=32,
    )
    loader: Any = MMGroundingDinoForObjectDetection if mm else GroundingDinoForObjectDetection
    _save(lambda: loader(config), folder, seed)
    images: Any = GroundingDinoImageProcessorPil
    images(size={"shortest_edge": 128, "longest_edge": 256}, **_IMAGENET).save_pretrained(folder)
    _bert_tokenizer().save_pretrained(folder)
    return folder


def save_sam2(folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny SAM 2 for videos; return the folder."""
    _save(lambda: Sam2VideoModel(_sam2_config()), folder, seed)
    _save_statistics(folder, _IMAGENET)
    return folder


def save_sam3(folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny SAM 3 for videos with its tokenizer; return the folder."""
    _save(lambda: Sam3VideoModel(_sam3_config()), folder, seed)
    _save_statistics(folder, _HALVES)
    _bert_tokenizer().save_pretrained(folder)
    return folder


def _save(make: Callable[[], PreTrainedModel], folder: Path, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = make()
    voice: Any = transformers_logging
    shown = voice.is_progress_bar_enabled()
    voice.disable_progress_bar()
    try:
        model.eval().save_pretrained(folder)
    finally:
        if shown:
            voice.enable_progress_bar()


def _save_statistics(folder: Path, statistics: dict[str, list[float]]) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics), encoding="utf-8")


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    numbers = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=WORDS[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    made: Any = PreTrainedTokenizerFast
    tokenizer_of_words: PreTrainedTokenizerFast = made(
        tokenizer_object=tokenizer, pad_token=WORDS[0], unk_token=WORDS[1], cls_token=WORDS[2], sep_token=WORDS[3]
    )
    return tokenizer_of_words


def _sam2_config() -> Sam2VideoConfig:
    side = SAM2_PIXELS // 4
    return Sam2VideoConfig(
        vision_config={
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "image_size": [SAM2_PIXELS, SAM2_PIXELS],
                "hidden_size": 8,
                "num_attention_heads": 1,
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [8, 16, 32, 64],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [4, 4, 4, 4],
                "window_positional_embedding_background_size": [4, 4],
                "global_attention_blocks": [3],
            },
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[side, side], [side // 2, side // 2], [side // 4, side // 4]],
            "fpn_hidden_size": _WIDTH,
        },
        prompt_encoder_config={"hidden_size": _WIDTH, "image_size": SAM2_PIXELS},
        mask_decoder_config={"hidden_size": _WIDTH, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        image_size=SAM2_PIXELS,
        memory_attention_hidden_size=_WIDTH,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[side // 4, side // 4],
        memory_encoder_hidden_size=_WIDTH,
        memory_encoder_output_channels=_MEMORY_WIDTH,
        mask_downsampler_embed_dim=_WIDTH,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=_WIDTH,
        memory_fuser_intermediate_dim=32,
    )


def _sam3_config() -> Sam3VideoConfig:
    side = SAM3_PIXELS // 14
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": {
            "model_type": "sam3_vit_model",
            "image_size": SAM3_PIXELS,
            "pretrain_image_size": SAM3_PIXELS,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "window_size": 2,
            "global_attn_indexes": [1],
        },
        "fpn_hidden_size": _WIDTH,
        "backbone_feature_sizes": [[4 * side, 4 * side], [2 * side, 2 * side], [side, side]],
    }
    layers = {"hidden_size": _WIDTH, "num_attention_heads": 2, "intermediate_size": 32, "num_layers": 1}
    text = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    return Sam3VideoConfig(
        detector_config={
            "model_type": "sam3",
            "vision_config": vision,
            "text_config": text.to_dict(),
            "geometry_encoder_config": {**layers, "roi_size": 3},
            "detr_encoder_config": dict(layers),
            "detr_decoder_config": {**layers, "num_queries": 6},
            "mask_decoder_config": {"hidden_size": _WIDTH, "num_attention_heads": 2},
        },
        tracker_config={
            "model_type": "sam3_tracker_video",
            "image_size": SAM3_PIXELS,
            "vision_config": vision,
            "prompt_encoder_config": {"hidden_size": _WIDTH, "image_size": SAM3_PIXELS, "patch_size": 14},
            "mask_decoder_config": {
                "hidden_size": _WIDTH,
                "mlp_dim": 32,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 32,
            },
            "memory_attention_hidden_size": _WIDTH,
            "memory_attention_num_layers": 1,
            "memory_attention_feed_forward_hidden_size": 32,
            "memory_attention_rope_feat_sizes": [side, side],
            "memory_encoder_hidden_size": _WIDTH,
            "memory_encoder_output_channels": _MEMORY_WIDTH,
            "mask_downsampler_embed_dim": _WIDTH,
            "memory_fuser_num_layers": 1,
            "memory_fuser_embed_dim": _WIDTH,
            "memory_fuser_intermediate_dim": 32,
        },
        low_res_mask_size=4 * side,
        score_threshold_detection=0.0,
        new_det_thresh=0.0,
    )
