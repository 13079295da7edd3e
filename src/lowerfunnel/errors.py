"""Every error that lowerfunnel raises on purpose.

    LowerfunnelError
    ├── ConfigError(ValueError)         a setting, recipe or override that cannot be used
    ├── DataError(ValueError)           an input file or table that cannot be used
    ├── UnavailableError(RuntimeError)  the log does not hold what the request needs
    ├── RunError(RuntimeError)          a run folder that is missing, foreign, busy or damaged
    ├── TrainingError(RuntimeError)     training cannot go on (no examples, a loss that is not finite)
    ├── PolicyError(ValueError)         a policy whose answer a world cannot show
    ├── StoreError(RuntimeError)        an online store that is out of reach, full or too slow
    └── MissingPackageError(ImportError) an optional package that is not installed

Each message is one sentence a user can act on: what came, what was needed, what to do. The command line prints it
without a traceback; every other exception is a bug.
"""

import importlib
from types import ModuleType


class LowerfunnelError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(LowerfunnelError, ValueError):
    """A setting, recipe or override that cannot be used."""


class DataError(LowerfunnelError, ValueError):
    """An input file or table that cannot be used."""


class UnavailableError(LowerfunnelError, RuntimeError):
    """The log does not hold what the request needs (time, impressions, ...)."""


class RunError(LowerfunnelError, RuntimeError):
    """A run folder that is missing, foreign, busy or damaged."""


class TrainingError(LowerfunnelError, RuntimeError):
    """Training cannot go on."""


class PolicyError(LowerfunnelError, ValueError):
    """A policy whose answer a world cannot show: late, or with unknown, repeated, ineligible or too few items."""


class StoreError(LowerfunnelError, RuntimeError):
    """An online store that cannot be reached, has no room, or did not answer in time."""


class MissingPackageError(LowerfunnelError, ImportError):
    """An optional package that is not installed."""


def require(package: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    A package that is present but broken raises its own error: that is not a missing package.

    Raises:
        MissingPackageError: If `package` is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package.split(".", maxsplit=1)[0]:
            raise
        raise MissingPackageError(
            f"{package!r} is needed here and is not installed. Install it with: pip install 'lowerfunnel[{extra}]'"
        ) from error
