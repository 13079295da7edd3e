"""The settings a class accepts, with types, defaults and meanings: one source for help texts, docs and forms."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import cast

from lowerfunnel.config.loader import settings_adapter
from lowerfunnel.config.structure import field_types, is_repeated, nested_classes, type_name

_NO_DEFAULT = dataclasses.MISSING


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One setting of a recipe."""

    name: str
    """Dotted name as in `--set name=value`; N stands for the index of an entry or for a free name."""
    type: str
    """How its type is written, for example `"time" | "leave_last"`."""
    required: bool
    """Whether it has no default."""
    default: object
    """The value when it is left out; None also when `required`."""
    description: str
    """What it means: the docstring under the field."""


def describe_settings(cls: type) -> list[Setting]:
    """List the settings of `cls` and of all the classes it nests, in the order of their declaration.

    A nested class gives its settings under its own name; one in a tuple or table also has a line for the whole.
    """
    return list(_settings(cls, "", _NO_DEFAULT))


def _settings(cls: type, prefix: str, instance: object) -> Iterator[Setting]:
    descriptions = _descriptions(cls)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        annotation = field_types(cls)[field.name]
        name = f"{prefix}{field.name}"
        default = _default(field) if instance is _NO_DEFAULT else getattr(instance, field.name)
        nested = list(nested_classes(annotation))
        repeated = is_repeated(annotation)
        if not nested or repeated or default is None:
            yield Setting(
                name=name,
                type=type_name(annotation),
                required=default is _NO_DEFAULT,
                default=None if default is _NO_DEFAULT else default,
                description=descriptions.get(field.name, ""),
            )
        for each in nested:
            inner = default if not repeated and isinstance(default, each) else _NO_DEFAULT
            yield from _settings(each, f"{name}.N." if repeated else f"{name}.", inner)


def _default(field: "dataclasses.Field[object]") -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _descriptions(cls: type) -> dict[str, str]:
    """Return the attribute docstrings that pydantic finds, by field."""
    schema = settings_adapter(cls).json_schema()
    (entry,) = schema["prefixItems"]
    if "$ref" in entry:
        entry = schema["$defs"][entry["$ref"].rpartition("/")[2]]
    properties = cast("Mapping[str, Mapping[str, str]]", entry["properties"])
    return {name: " ".join(field.get("description", "").split()) for name, field in properties.items()}
