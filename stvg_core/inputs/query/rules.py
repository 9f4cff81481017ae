"""The decomposer that needs no model and no download: English rules over a lexicon.

It finds the subject with everything that describes it, and the main verb; the attribute is
that subject, the action the verb phrase after a generic subject ("the man"). It knows
English alone: for other scripts, and where no verb is found, both are the whole sentence.
"""

from stvg_core.inputs.query.declarative import read_statement
from stvg_core.inputs.query.phrases import split_words
from stvg_core.inputs.query.questions import normalise, read_question
from stvg_core.inputs.query.reading import Reading
from stvg_core.inputs.query.sentence import as_sub_query, clean_sentence
from stvg_core.plugin.decomposer import Decomposer
from stvg_core.values import SubQueries


class RulesDecomposer(Decomposer):
    """Splits English sentences and questions by grammar (DSTH, paper section 3.3).

    >>> parts = RulesDecomposer().decompose("The man in blue clothes walks to the sofa.")
    >>> parts.attribute, parts.action
    ('the man in blue clothes', 'the man walks to the sofa')
    """

    @property
    def name(self) -> str:
        """Name as the user types it."""
        return "rules"

    def decompose(self, text: str) -> SubQueries:
        """Return both sub-queries; the whole sentence twice, with a warning, where no verb is found.

        Raises:
            QueryError: the text holds no word, or more than 512 words or 4,000 characters.
        """
        sentence = clean_sentence(text)
        whole = as_sub_query(sentence)
        reading = _read(whole)
        attribute, action = as_sub_query(reading.attribute), as_sub_query(reading.action)
        if action:
            return SubQueries(sentence, attribute or whole, action, self.name)
        same = attribute or whole
        return SubQueries(sentence, same, same, self.name, (_why_same(whole),))


def _read(whole: str) -> Reading:
    if not any("a" <= character <= "z" for character in whole):
        return Reading("", "")
    text = normalise(whole)
    words = split_words(text)
    return read_question(text, words) or read_statement(text, words) or Reading("", "")


def _why_same(whole: str) -> str:
    letters = [character for character in whole if character.isalpha()]
    latin = sum(character < "\u0250" for character in letters)
    if latin * 2 < len(letters):
        return "the rules read English only, so attribute and action are both the whole sentence; try decomposer mllm"
    return "no verb was found, so attribute and action are the same text; write what the object does"
