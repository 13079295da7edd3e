"""Write `docs/settings.md`, the list of every setting of a recipe: `python docs/generate_settings.py`.

The text comes from the settings classes themselves; a test compares the file with what this makes.
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

from lowerfunnel.config import Setting, describe_settings
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.serving.server import ServerConfig

REFERENCE = Path(__file__).with_name("settings.md")

_HEAD = """\
# Settings

Every setting of a recipe, and after them [those of the server](#the-server), with type, default and meaning. Made by
`python docs/generate_settings.py` from the settings classes; do not edit it by hand. `lowerfunnel settings` and
`lowerfunnel settings --server` print the same lists in a terminal, and [recipes.md](recipes.md) and
[serving.md](serving.md) explain what the sections are for.

On the command line a setting goes by its full name, `--set retrieval.tower.width=128`, and an entry of an array by its
place, counted from 0: `--set log.events.0.time_unit=ms`.
"""


_SERVER = """\
# The server

The settings of `lowerfunnel serve`, in the file of `--config` or one by one: `--set engine.store.timeout_ms=5`.
"""


def settings_reference() -> str:
    """Return the content of the file: a table for each section, in the order of their declaration."""
    return "\n".join([_HEAD, *_sections(Recipe), _SERVER, *_sections(ServerConfig)])


def _sections(settings_class: type[object]) -> list[str]:
    sections: dict[str, list[Setting]] = {}
    for setting in describe_settings(settings_class):
        sections.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    parts = []
    first_with: dict[str, str] = {}
    for section, settings in sections.items():
        title = _title(section)
        table = "\n".join(_table(settings))
        if table in first_with:
            parts.append(f"## {title}\n\nThe settings of {first_with[table]}.\n")
            continue
        first_with[table] = title
        parts.append(f"## {title}\n\n{table}\n")
    return parts


def _title(section: str) -> str:
    if not section:
        return "At the top"
    return f"`[[{section.removesuffix('.N')}]]`" if section.endswith(".N") else f"`[{section}]`"


def _table(settings: list[Setting]) -> Iterator[str]:
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    for setting in settings:
        name = setting.name.rpartition(".")[2]
        default = "needed" if setting.required else _toml(setting.default)
        cells = (f"`{name}`", f"`{setting.type}`", default, setting.description)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _toml(value: object) -> str:
    """Return a default as a recipe would write it."""
    return "left out" if value is None else f"`{_value(value)}`"


def _value(value: object) -> str:
    if isinstance(value, dict):
        pairs = ", ".join(f"{key} = {_value(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return json.dumps(value)


if __name__ == "__main__":
    REFERENCE.write_text(settings_reference(), encoding="utf-8")
