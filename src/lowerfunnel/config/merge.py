"""Settings laid over settings: what a table of changes makes of a recipe."""

import copy
import dataclasses
from collections.abc import Mapping

from lowerfunnel.config.structure import field_types, is_repeated, nested_classes
from lowerfunnel.errors import ConfigError


def merge_settings(cls: type, settings: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return a copy of `settings`, tables of the settings class `cls`, with `changes` laid over it.

    Changes are tables as in a recipe, and a key of the top level may be a path: ``{"retrieval.tower.width": 32}``. A
    table of settings is merged, name by name. Whatever else a setting holds is replaced as a whole, be it an array or a
    table of free names such as that of weights. Whether a name means anything is not asked here but by `load_settings`.

    Raises:
        ConfigError: If a path is empty in a place or leads through a value that holds no settings, or two changes say
            the same.

    Example:
        >>> from lowerfunnel.config.describe import Setting
        >>> merge_settings(Setting, {"name": "a", "type": "int"}, {"name": "b"})
        {'name': 'b', 'type': 'int'}
    """
    changed = copy.deepcopy(dict(settings))
    seen: set[tuple[str, ...]] = set()
    for key, value in changes.items():
        path = tuple(key.split("."))
        if not all(path):
            raise ConfigError(f'the setting "{key}" has an empty name between its dots')
        for leaf, given in _leaves(cls, path, value):
            if any(leaf[: len(other)] == other or other[: len(leaf)] == leaf for other in seen):
                raise ConfigError(f'the setting "{".".join(leaf)}" is given twice')
            seen.add(leaf)
            _set(changed, leaf, given)
    return changed


def _leaves(cls: type, path: tuple[str, ...], value: object) -> list[tuple[tuple[str, ...], object]]:
    """Return the single settings that a value at a path consists of, with their full paths."""
    if not isinstance(value, Mapping) or not value or not _holds_settings(cls, path):
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(cls, (*path, key), inner)]


def _holds_settings(cls: type, path: tuple[str, ...]) -> bool:
    """Tell whether the value at a path is a table of settings, and no array and no table of free names."""
    level: list[type] = [cls]
    for key in path:
        annotations = [field_types(each)[key] for each in level if key in field_types(each)]
        if any(is_repeated(annotation) for annotation in annotations):
            return False
        level = [nested for annotation in annotations for nested in nested_classes(annotation)]
    return any(dataclasses.is_dataclass(each) for each in level)


def _set(settings: dict[str, object], path: tuple[str, ...], value: object) -> None:
    level: object = settings
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(level, list):
            if not key.isdecimal() or int(key) >= len(level):
                raise ConfigError(
                    f'the setting "{".".join(path)}" asks for entry {key!r} of {len(level)}; they are counted from 0'
                )
            if last:
                level[int(key)] = copy.deepcopy(value)
            level = level[int(key)]
        elif isinstance(level, dict):
            if last:
                level[key] = copy.deepcopy(value)
            elif level.get(key) is None:
                level[key] = {}
            level = level[key]
        else:
            raise ConfigError(
                f'the setting "{".".join(path)}" leads into {".".join(path[:depth])}, which is {level!r} and no table'
            )
