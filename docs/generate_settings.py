"""Write `docs/settings.md`, the list of every setting of a recipe: `python docs/generate_settings.py`.

The text comes from the settings classes themselves; a test compares the file with what this makes.
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

from lowerfunnel.config import Setting, describe_settings
from lowerfunnel.pipeline.recipe import Recipe

REFERENCE = Path(__file__).with_name("settings.md")

_HEAD = """\
# Settings

Every setting of a recipe, with its type, its default and its meaning. Made by `python docs/generate_settings.py` from
the settings classes; do not edit it by hand. `lowerfunnel settings` prints the same list in a terminal, and
[recipes.md](recipes.md) explains what the sections are for.

On the command line a setting goes by its full name, `--set retrieval.tower.width=128`, and an entry of an array by its
place, counted from 0: `--set log.events.0.time_unit=ms`.
"""


def settings_reference() -> str:
    """Return the content of the file: a table for each section of a recipe, in the order of their declaration."""
    sections: dict[str, list[Setting]] = {}
    for setting in describe_settings(Recipe):
        sections.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    parts = [_HEAD]
    first_with: dict[str, str] = {}
    for section, settings in sections.items():
        title = _title(section)
        table = "\n".join(_table(settings))
        if table in first_with:
            parts.append(f"## {title}\n\nThe settings of {first_with[table]}.\n")
            continue
        first_with[table] = title
        parts.append(f"## {title}\n\n{table}\n")
    return "\n".join(parts)


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
