"""The backends against plain transformers; `python -m benchmarks.exactness` prints what is asserted here."""
