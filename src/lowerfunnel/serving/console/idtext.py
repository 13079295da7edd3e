"""Ids and lists of words as a person types them.

7 and "7" are different ids: what looks like an integer is one, and a text that looks like one stands in double quotes.
"""

import re
from collections.abc import Iterable

from lowerfunnel.serving.requests import Id

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_INT64 = range(-(2**63), 2**63)
# A word in quotes, in which a quote is written twice, or one up to the next comma; and the comma.
_WORD = re.compile(r'\s*(?:"((?:[^"]|"")*)"|((?:[^,"\s][^,]*)?))\s*(?:,|$)')


def id_of_text(text: str) -> Id | None:
    """Return the id that was typed, None for nothing: `7` is an integer, `"7"` and `u7` are texts."""
    text = text.strip()
    if not text:
        return None
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    return int(text) if _is_integer(text) else text


def text_of_id(value: Id) -> str:
    """Return what has to be typed for an id, so that `id_of_text` gives it back."""
    if isinstance(value, int):
        return str(value)
    quoted = len(value) >= 2 and value[0] == value[-1] == '"'
    return f'"{value}"' if not value or value != value.strip() or quoted or _is_integer(value) else value


def words_of_text(text: str) -> frozenset[str]:
    """Return what was typed between commas; a word with a comma in it stands in double quotes.

    Raises:
        ValueError: If a quote is not closed, or something stands behind a closed one.
    """
    words, at = set(), 0
    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            raise ValueError("a quote is not closed, or not followed by a comma")
        quoted, plain = found.groups()
        words.add(re.sub(r"[\r\n]+", " ", plain).strip() if quoted is None else quoted.replace('""', '"').strip())
        at = found.end()
    return frozenset(words - {""})


def text_of_words(words: Iterable[str]) -> str:
    """Return what has to be typed for some words, in the order of the alphabet."""
    return ", ".join(_quoted(word) for word in sorted(words))


def _quoted(word: str) -> str:
    plain = '"' not in word and "," not in word
    doubled = word.replace('"', '""')
    return word if plain else f'"{doubled}"'


def _is_integer(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and text != "-0" and int(text) in _INT64
