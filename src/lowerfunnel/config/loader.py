"""From tables of a recipe to frozen dataclasses, and back. The one place where settings meet pydantic."""

import datetime
import functools
import hashlib
import json
from collections.abc import Hashable, Mapping
from types import GenericAlias
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lowerfunnel.config.problems import bad_settings
from lowerfunnel.errors import ConfigError

T = TypeVar("T")


def settings_adapter(cls: type[Any]) -> TypeAdapter[tuple[Any]]:
    """Return the validator of a settings class; it takes and gives a tuple of one.

    Pydantic hands a configuration down from a container to standard-library dataclasses, but accepts none for such a
    class itself: hence the tuple.
    """
    return _adapter(cast("Hashable", cls))


@functools.cache
def _adapter(cls: Hashable) -> TypeAdapter[tuple[Any]]:
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
    wrapped: Any = GenericAlias(tuple, (cls,))
    return TypeAdapter(wrapped, config=config)


def load_settings(cls: type[T], data: Mapping[str, object], *, source: str) -> T:
    """Build the frozen dataclass `cls`, with all it nests, from the tables of a recipe.

    Nothing is coerced but a whole number where a number is wanted: "3" is no number, 1 is not true, 1.0 is not whole.
    A tuple is written as an array, a path as a text, an unquoted date counts as its ISO text. Infinity and NaN are
    refused: what is unlimited or unknown is left out. `source` says in messages where `data` came from.

    Raises:
        ConfigError: If anything is missing, unknown at any depth, of another type or refused by a `__post_init__`.
            The message lists every problem, not only the first.
    """
    adapter = settings_adapter(cls)
    try:
        # JSON is the strict mode in which arrays may become tuples and texts paths.
        return cast("T", adapter.validate_json(json.dumps([data], default=_plain))[0])
    except ValidationError as error:
        raise ConfigError(bad_settings(error, cls, data, source)) from error


def _plain(value: object) -> object:
    """Write the dates and times of TOML as texts, and a mapping that is no dict as a dict."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise ConfigError(f"{value!r} of type {type(value).__name__} cannot stand in a recipe")


def settings_to_dict(settings: object) -> dict[str, object]:
    """Return settings as plain JSON values, such that `load_settings` gives an equal object.

    Defaults are written out, and a whole number in a float field is written as a float, so that equal settings give
    equal texts however they were made.

    Raises:
        ConfigError: If the settings hold what no recipe could: a value of the wrong type, infinity, NaN.
    """
    cls = type(settings)
    plain = _dump(settings, warnings=False)
    return _dump(load_settings(cls, plain, source=f"the {cls.__name__} at hand"), warnings=True)


def _dump(settings: object, *, warnings: bool) -> dict[str, object]:
    dumped = settings_adapter(type(settings)).dump_python((settings,), mode="json", warnings=warnings)
    return cast("dict[str, object]", dumped[0])


def settings_fingerprint(settings: object) -> str:
    """Return 64 hexadecimal digits that are the same for equal settings, on every machine and in every process.

    A new setting, even one left at its default, changes the fingerprint; renaming the class does not.
    """
    text = json.dumps(settings_to_dict(settings), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
