"""Which store an address means."""

from pathlib import Path

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.store.redis import RedisStore
from lowerfunnel.serving.store.sqlite import SqliteStore

_REDIS = ("redis", "rediss", "unix")


def open_store(url: str) -> OnlineStore:
    """Open the store at `sqlite:PATH` or a plain path, or the one in the server at `redis://HOST:PORT/DATABASE`.

    Raises:
        MissingPackageError: If the address is one of Redis and the package redis is not installed.
        StoreError: For any other address, or a store that cannot be opened.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme in _REDIS and rest.startswith("//"):
        return RedisStore.connect(url)
    path = rest if scheme == "sqlite" and colon else url
    if not path or "://" in path or path.startswith("//"):
        # Not all of what came: it may hold a password.
        raise StoreError(
            f"{scheme!r} begins no address of a store; give a file, sqlite:FILE or redis://HOST:PORT/DATABASE"
        )
    return SqliteStore.open(Path(path))
