"""Readers of well-known public logs, by the name that a recipe gives in `log.reader`.

A reader recognises the original files in a folder and describes them, as a recipe would describe them by hand; it
reads no rows itself.
"""

from collections.abc import Callable
from pathlib import Path

from lowerfunnel.events.readers.alimama import read_alimama, read_alimama_groups
from lowerfunnel.events.readers.complete_journey import read_complete_journey
from lowerfunnel.events.readers.criteo_attribution import read_criteo_attribution
from lowerfunnel.events.readers.rees46 import read_rees46
from lowerfunnel.events.readers.retailrocket import read_retailrocket
from lowerfunnel.events.readers.taobao import read_taobao
from lowerfunnel.events.settings import LogConfig

Reader = Callable[[Path, LogConfig], LogConfig]


def read_generic(data_dir: Path, config: LogConfig) -> LogConfig:
    """Take the sources as the recipe describes them."""
    return config


READERS: dict[str, Reader] = {
    "generic": read_generic,
    "retailrocket": read_retailrocket,
    "taobao": read_taobao,
    "rees46": read_rees46,
    "alimama": read_alimama,
    "alimama_groups": read_alimama_groups,
    "criteo_attribution": read_criteo_attribution,
    "complete_journey": read_complete_journey,
}
