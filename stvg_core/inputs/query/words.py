"""English words that the rules must know: closed classes, and verbs that can be seen.

Read from english.toml beside this module. Open classes (other nouns, adjectives, verbs)
come from the lexicon in stvg_core.inputs.query.lexicon.
"""

import tomllib
from importlib.resources import files
from typing import Any, Final

_TABLE: Final[dict[str, Any]] = tomllib.loads(
    files("stvg_core.inputs.query").joinpath("english.toml").read_text("utf-8")
)


def _words(name: str) -> frozenset[str]:
    return frozenset(_TABLE[name].split())


DETERMINERS: Final = _words("determiners")
POSSESSIVES: Final = _words("possessives")
PLURAL_DETERMINERS: Final = _words("plural_determiners")
NUMBERS: Final = _words("numbers")
ORDINALS: Final = _words("ordinals")
COLORS: Final = _words("colors")
CLOTHING: Final = _words("clothing")
PREPOSITIONS: Final = _words("prepositions")
ADVERBIAL_PREPOSITIONS: Final = _words("adverbial_prepositions")
STRANDED_PREPOSITIONS: Final = _words("stranded_prepositions")
ADVERBS: Final = _words("adverbs")
PRE_VERB_ADVERBS: Final = _words("pre_verb_adverbs")
CONJUNCTIONS: Final = _words("conjunctions")
RELATIVES: Final = _words("relatives")
QUESTION_WORDS: Final = _words("question_words")
BE: Final = _words("forms_of_be")
HAVE: Final = _words("forms_of_have")
DO: Final = _words("forms_of_do")
PLURAL_PRONOUNS: Final = _words("plural_pronouns")
OTHER_PRONOUNS: Final = _words("other_pronouns")
OBJECT_PRONOUNS: Final = _words("object_pronouns")
PLURAL_NOUNS: Final = _words("plural_nouns")
QUANTITY_NOUNS: Final = _words("quantity_nouns")
COMMON_NOUNS: Final = _words("common_nouns")
STATIC_PARTICIPLES: Final = _words("static_participles")
REQUESTS: Final = _words("requests")
ACTION_VERBS: Final = _words("action_verbs")
DOUBLED: Final = _words("doubled")
AUXILIARIES: Final = BE | HAVE | DO | _words("modals")
SUBJECT_PRONOUNS: Final[dict[str, str]] = _TABLE["subject_pronouns"]
IRREGULAR_VERBS: Final = {verb: (past, participle) for verb, (past, participle) in _TABLE["irregular_verbs"].items()}
