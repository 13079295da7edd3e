"""Settings written as TOML: what `read_toml` would read again."""

import datetime
import json
import math
import re
from collections.abc import Iterator, Mapping

from lowerfunnel.errors import ConfigError

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(settings: Mapping[str, object]) -> str:
    """Return settings as the text of a TOML file; None is left out, as TOML has no word for it.

    Tables get headings of their own, and so do the entries of an array that holds tables alone.

    Raises:
        ConfigError: If a value is none that a recipe may hold.

    Example:
        >>> print(to_toml({"name": "x", "training": {"epochs": 3}, "log": {"events": [{"files": "a.csv"}]}}), end="")
        name = "x"
        <BLANKLINE>
        [training]
        epochs = 3
        <BLANKLINE>
        [log]
        <BLANKLINE>
        [[log.events]]
        files = "a.csv"
    """
    return "\n".join(_lines(settings, ())).strip("\n") + "\n"


def _lines(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    inner: list[tuple[str, object]] = []
    for key, value in table.items():
        if value is None:
            continue
        if isinstance(value, Mapping) or _holds_tables(value):
            inner.append((key, value))
        else:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in inner:
        here = (*path, key)
        name = ".".join(map(_key, here))
        if isinstance(value, Mapping):
            yield from ("", f"[{name}]")
            yield from _lines(value, here)
        elif isinstance(value, list | tuple):
            for entry in value:
                yield from ("", f"[[{name}]]")
                yield from _lines(entry, here)


def _holds_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(one, Mapping) for one in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, str):
        # What JSON escapes is TOML too, but for the one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool | int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{value} cannot stand in a recipe: what is unlimited or unknown is left out")
        return json.dumps(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None)
        return f"{{ {inside} }}" if inside else "{}"
    raise ConfigError(f"{value!r} of type {type(value).__name__} cannot stand in a recipe")
