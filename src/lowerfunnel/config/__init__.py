"""Typed run settings: loading, overriding, describing and fingerprinting them.

Each component owns its own settings class, a frozen dataclass beside the code that uses it; this package only turns
TOML into such classes and back. It knows none of them.
"""

from lowerfunnel.config.describe import Setting, describe_settings
from lowerfunnel.config.loader import load_settings, settings_fingerprint, settings_to_dict
from lowerfunnel.config.merge import merge_settings
from lowerfunnel.config.toml import apply_overrides, parse_override, read_toml
from lowerfunnel.config.toml_text import to_toml

__all__ = [
    "Setting",
    "apply_overrides",
    "describe_settings",
    "load_settings",
    "merge_settings",
    "parse_override",
    "read_toml",
    "settings_fingerprint",
    "settings_to_dict",
    "to_toml",
]
