"""Faster or leaner ways to run a decoder's packed passes, with the same results (but for rounding where noted).

- fused: gated MLPs and root-mean-square norms as fewer kernels
- recompute: what a backward pass recomputes instead of keeping, chosen by free memory
- trimming: the last decoder layer for a few rows only
- replay: passes recorded as CUDA graphs and replayed

Imports: torch, transformers, stvg_huggingface.capture, loading and passes; nothing of a family of models.
"""
