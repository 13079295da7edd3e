"""Recipes as TOML files, and `name=value` overrides on top of them."""

import copy
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from lowerfunnel.errors import ConfigError


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises:
        ConfigError: If the file is missing, cannot be read or is not TOML; the message gives the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors write a byte-order mark
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; a TOML file was expected there") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as a TOML file: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not a TOML file: byte {error.start} is not UTF-8; save the file as UTF-8 text"
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {_with_line(str(error), text)}") from error


def _with_line(message: str, text: str) -> str:
    """Put the place of a tomllib message first: "line 3, column 5: Invalid value"."""
    at = re.fullmatch(r"(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)", message, re.DOTALL)
    if at is not None:
        return f"line {at['line']}, column {at['column']}: {at['what']}"
    return f"line {max(1, len(text.splitlines()))}: {message}"


def parse_override(text: str) -> tuple[tuple[str, ...], object]:
    """Parse `a.b=c` into the path `("a", "b")` and the value `c`.

    The value is read as TOML (`3`, `1e-3`, `true`, `[1, 2]`, `"3"`); what is not TOML is a bare string, so that
    `labels.task=conversion` needs no quotes within the shell's own. A key that holds a dot is quoted as in TOML.

    Raises:
        ConfigError: If there is no `=`, no name or no value, or if a list, table or quoted string is not closed.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"the override {text!r} has no '='; write it as name.of.setting=value")
    return _parse_name(name.strip(), text), _parse_value(value.strip(), text)


def _parse_name(name: str, text: str) -> tuple[str, ...]:
    wrong = f"the override {text!r} does not begin with a setting's name; write it as name.of.setting=value"
    try:
        level: object = tomllib.loads(f"{name} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(wrong) from error
    path: list[str] = []
    while isinstance(level, dict):
        if len(level) != 1:  # a line break smuggled in a second name
            raise ConfigError(wrong)
        ((key, level),) = level.items()
        path.append(key)
    return tuple(path)


def _parse_value(value: str, text: str) -> object:
    if not value:
        raise ConfigError(f"the override {text!r} has no value; for an empty text write {text.strip()}'\"\"'")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError as error:
        if value[0] in "[{\"'":
            raise ConfigError(f"the value in the override {text!r} is not valid TOML: {error}") from error
        return value
    return parsed["value"] if len(parsed) == 1 else value


def apply_overrides(settings: Mapping[str, object], overrides: Iterable[str]) -> dict[str, object]:
    """Return a copy of `settings` with each `a.b=c` applied in turn; the last one wins.

    Missing tables on the way are made; `a.0.b=c` reaches into the first entry of an array. Whether a name means
    anything is not asked here but by `load_settings`, which knows the names.

    Raises:
        ConfigError: If an override cannot be parsed, or leads through a value that holds no settings.
    """
    changed = copy.deepcopy(dict(settings))
    for override in overrides:
        path, value = parse_override(override)
        _set(changed, path, value, override)
    return changed


def _set(settings: dict[str, object], path: tuple[str, ...], value: object, override: str) -> None:
    *parents, leaf = path
    level: object = settings
    for depth, key in enumerate(parents):
        if isinstance(level, dict):
            level = level.setdefault(key, {})
        elif isinstance(level, list):
            level = level[_index(key, level, path[:depth], override)]
        else:
            raise _not_a_table(level, path[:depth], override)
    if isinstance(level, dict):
        level[leaf] = value
    elif isinstance(level, list):
        level[_index(leaf, level, tuple(parents), override)] = value
    else:
        raise _not_a_table(level, tuple(parents), override)


def _index(key: str, entries: list[object], path: tuple[str, ...], override: str) -> int:
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    raise ConfigError(
        f"the override {override!r} asks for entry {key!r} of {'.'.join(path)}, which has {len(entries)} entries; "
        f"they are counted from 0"
    )


def _not_a_table(value: object, path: tuple[str, ...], override: str) -> ConfigError:
    return ConfigError(f"the override {override!r} leads into {'.'.join(path)}, which is {value!r} and not a table")
