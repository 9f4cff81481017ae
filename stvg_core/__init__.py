"""Zero-shot spatio-temporal video grounding with any multimodal LLM."""
