"""Whole data sets: finished runs, and what is made of them.

runs         evaluate a data set into a folder that can be resumed, and score it
comparison   several models on the same samples
ablation     one model with parts of the method changed
exports      results in the formats of other tools

May import api and everything below. Nothing below knows that runs exist.
"""
