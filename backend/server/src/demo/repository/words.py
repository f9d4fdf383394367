"""Words of a text."""

import re

_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")


def words(text: str) -> list[str]:
    """The words in their order; apostrophes and hyphens within a word belong to it."""
    return _WORD.findall(text)


def count_words(text: str) -> int:
    """How many words there are."""
    return len(words(text))


def longest_word(text: str) -> str:
    """The first of the longest words; an empty string when there is no word."""
    return max(words(text), key=len, default="")
