"""A report for people."""

from textstats.sentences import count_sentences
from textstats.words import count_words, longest_word


def report(text: str) -> str:
    """Everything that can be said about the text, a line each."""
    return "\n".join(
        [
            f"words: {count_words(text)}",
            f"sentences: {count_sentences(text)}",
            f"longest word: {longest_word(text) or '-'}",
        ]
    )
