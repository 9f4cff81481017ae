"""Tiny trained multimodal language models and the synthetic scenes they were trained on."""
