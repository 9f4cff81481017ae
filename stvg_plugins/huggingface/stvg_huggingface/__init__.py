"""What every transformers-based backend shares; it knows no family of models.

A backend writes one `FamilyDifferences` (stvg_huggingface.family) and derives its plugin from
`HuggingFaceBackend` (stvg_huggingface.hooks).
"""
