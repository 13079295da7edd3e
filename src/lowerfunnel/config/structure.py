"""What a settings class is made of: its fields and the settings classes nested in them."""

import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence


@functools.cache
def field_types(cls: type) -> Mapping[str, object]:
    """Return the resolved type of each field that a recipe can set."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def nested_classes(annotation: object) -> Iterator[type]:
    """Yield the settings classes in a field's type: `A`, `A | None`, `tuple[A, ...]`, `dict[str, A]`."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from nested_classes(argument)


def is_repeated(annotation: object) -> bool:
    """Tell whether a field holds many values, so that an index or a key comes before a nested setting's name."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated or origin in (typing.Union, types.UnionType):
        return any(is_repeated(argument) for argument in typing.get_args(annotation))
    return isinstance(origin, type) and issubclass(origin, tuple | list | Mapping)


def classes_at(cls: type, path: Sequence[str]) -> list[type]:
    """Return the settings classes that a path such as `("towers", "0", "user")` leads to."""
    level: list[type] = [cls]
    in_container = False
    for key in path:
        if in_container:  # the key is an index or a free name; the classes stay
            in_container = False
            continue
        annotations = [field_types(each)[key] for each in level if key in field_types(each)]
        level = [nested for annotation in annotations for nested in nested_classes(annotation)]
        in_container = any(is_repeated(annotation) for annotation in annotations)
    return level


def type_name(annotation: object) -> str:
    """Write a type as a reader of a recipe knows it: `"exact" | "hnsw"`, `float | None`, `tuple[int, ...]`."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if isinstance(origin, type):
        inside = ", ".join("..." if argument is Ellipsis else type_name(argument) for argument in arguments)
        return f"{origin.__name__}[{inside}]"
    if annotation is types.NoneType:
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
