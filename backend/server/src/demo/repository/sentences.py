"""Sentences of a text."""

import re

_END = re.compile(r"[.!?]+(?=\s|$)")


def count_sentences(text: str) -> int:
    """How many sentences end with a full stop, an exclamation mark or a question mark."""
    return len(_END.findall(text))
