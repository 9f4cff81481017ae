"""Every planted bug, by what it bends."""

from . import mutants_of_adapters, mutants_of_attention, mutants_of_backends
from .planting import MUTANTS, Mutant

__all__ = ["MUTANTS", "Mutant", "mutants_of_adapters", "mutants_of_attention", "mutants_of_backends"]
