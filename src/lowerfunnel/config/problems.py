"""What is wrong with a recipe, in words: one line per bad setting, with its dotted name and what to do."""

import difflib
import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lowerfunnel.config.structure import classes_at, field_types, nested_classes

_UNEXPECTED = "unexpected_keyword_argument"
_MISSING = "missing"
_WORDS = {
    "bool_type": "should be true or false",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "string_type": "should be a text",
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a table",
    "dataclass_type": "should be a table of settings",
    "none_required": "may be left out",
}


def bad_settings(error: ValidationError, cls: type, data: Mapping[str, object], source: str) -> str:
    """Return the message for everything that `error` found in `data`, in the order of the settings."""
    problems: dict[str, list[str]] = {}  # the members of a union each complain about the same setting
    for detail in error.errors(include_url=False):
        path = _path_in_data(detail, data)
        lines = problems.setdefault(".".join(path), [])
        line = _problem(detail, path, cls)
        if line not in lines:
            lines.append(line)
    count = f"{len(problems)} bad setting{'s' if len(problems) > 1 else ''}"
    written = [
        f"  {name}: {' or '.join(lines)}" if name else f"  {' or '.join(lines)}" for name, lines in problems.items()
    ]
    return "\n".join([f"{source} has {count}:", *written])


def _path_in_data(detail: ErrorDetails, data: Mapping[str, object]) -> tuple[str, ...]:
    """Return where in the recipe the problem is. Pydantic's own place also names the members of unions."""
    location = detail["loc"][1:]  # the first is our own wrapping in a tuple
    path: list[str] = []
    level: object = data
    for depth, key in enumerate(location):
        is_entry = isinstance(level, list | tuple) and isinstance(key, int) and key < len(level)
        if is_entry or (isinstance(level, Mapping) and key in level):
            level = level[key]  # type: ignore[index]
        elif not (detail["type"] == _MISSING and depth == len(location) - 1):
            continue
        path.append(str(key))
    return tuple(path)


def _problem(detail: ErrorDetails, path: tuple[str, ...], cls: type) -> str:
    kind = detail["type"]
    if kind == _UNEXPECTED:
        return f"unexpected setting ({_did_you_mean(path, cls)})"
    if kind == _MISSING:
        return "needs a value and has none"
    if kind == "value_error":
        return str(detail["ctx"]["error"])  # the words of __post_init__, which give the numbers themselves
    words = _WORDS.get(kind, detail["msg"].removeprefix("Input ").replace("Input", "it"))
    return f"{words}, got {_shown(detail['input'])}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _did_you_mean(path: tuple[str, ...], cls: type) -> str:
    *parents, wrong = path
    siblings = [name for owner in classes_at(cls, parents) for name in field_types(owner)]
    near = _nearest(wrong, siblings)
    if near is not None:
        return f"did you mean {'.'.join([*parents, near])}?"
    elsewhere = [name for name in _all_names(cls, ()) if name.rpartition(".")[2] == wrong]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"there is {', '.join(siblings)}" if siblings else "there are no settings here"


def _nearest(wrong: str, names: Sequence[str]) -> str | None:
    """Find the name that was meant: a near spelling, the initials (lr), or the same words shortened (emb_dim)."""
    spelled = wrong.lower().replace("-", "_")
    close = difflib.get_close_matches(spelled, names, n=1, cutoff=0.7)
    if close:
        return close[0]
    for name in names:
        words, parts = name.split("_"), spelled.split("_")
        initials = "".join(word[:1] for word in words)
        shortened = len(words) == len(parts) and all(
            word.startswith(part) or part.startswith(word) for word, part in zip(words, parts, strict=True)
        )
        if (len(words) > 1 and spelled == initials) or shortened:
            return name
    part_of = [name for name in names if spelled in name.split("_")]
    if len(part_of) == 1:
        return part_of[0]
    return next(iter(difflib.get_close_matches(spelled, names, n=1, cutoff=0.6)), None)


def _all_names(cls: type, prefix: tuple[str, ...]) -> list[str]:
    names = []
    for name, annotation in field_types(cls).items():
        names.append(".".join([*prefix, name]))
        for nested in nested_classes(annotation):
            names += _all_names(nested, (*prefix, name))
    return names
