"""Small, dependency-free statistics about English text."""

from textstats.report import report
from textstats.sentences import count_sentences
from textstats.words import count_words, longest_word, words

__all__ = ["count_sentences", "count_words", "longest_word", "report", "words"]
