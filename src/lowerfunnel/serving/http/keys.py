"""Bearer keys: `lf_<id>_<secret>`, of which a file holds the id, the scopes and a salted hash.

A secret has 256 random bits, so nobody can try them all and a slow hash (scrypt, Argon2) would only make every request
slower: those defend what people choose. The salt keeps two files from being compared.
"""

import fcntl
import hashlib
import hmac
import ipaddress
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from lowerfunnel.errors import ConfigError
from lowerfunnel.files import disk_errors, flush

Scope = Literal["serve", "ingest", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What a key may do: ask for candidates; write events, items and eligibility; publish and roll back."""
_PREFIX = "lf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key as the file holds it: nobody can make the secret from it."""

    id: str
    scopes: frozenset[Scope]
    made_at: str
    salt: str
    """Hex."""
    hash: str
    """SHA-256 of salt and secret, hex."""


def make_key(path: Path, *, scopes: Sequence[Scope]) -> str:
    """Add a key to a file, which is made if it is not there, and return the key; it cannot be read again later.

    Raises:
        ConfigError: For no scope or an unknown one, or a file that is no file of keys.
        RunError: If the file cannot be written.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ConfigError(
            f"a key needs one or more of the scopes {', '.join(SCOPES)}, and got {', '.join(scopes) or 'none'}"
        )
    with _locked(path):
        keys = _read(path) if path.exists() else {}
        key_id = secrets.token_hex(6)
        secret = secrets.token_urlsafe(32)
        salt = secrets.token_hex(16)
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        keys[key_id] = Key(id=key_id, scopes=frozenset(scopes), made_at=made_at, salt=salt, hash=_hash(salt, secret))
        _write(path, keys)
    return f"{_PREFIX}_{key_id}_{secret}"


def list_keys(path: Path) -> list[Key]:
    """Return the keys of a file, the oldest first.

    Raises:
        ConfigError: If there is no such file, or it is no file of keys.
    """
    return sorted(_read(path).values(), key=lambda key: (key.made_at, key.id))


def revoke_key(path: Path, key_id: str) -> None:
    """Take a key out of a file; a server that runs refuses it from its next request on.

    Raises:
        ConfigError: If there is no such key, or the file is no file of keys.
        RunError: If the file cannot be written.
    """
    with _locked(path):
        keys = _read(path)
        if key_id not in keys:
            raise ConfigError(f"there is no key {key_id!r} in {path}; it holds {', '.join(keys) or 'none'}")
        del keys[key_id]
        _write(path, keys)


class KeyRing:
    """The keys of a file, read again whenever the file changes. May be used by many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._mark()
        self._keys = _read(path)

    def find(self, bearer: str) -> Key | None:
        """Return the key that a bearer token is; None for a token that is none.

        Raises:
            ConfigError: If the file has changed and cannot be read now: nobody is let in on what it said before.
        """
        mark = self._mark()
        if mark != self._seen:
            self._keys = _read(self._path)
            self._seen = mark
        prefix, _, rest = bearer.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX:
            return None
        key = self._keys.get(key_id)
        # An unknown id takes as long as a wrong secret.
        salt, expected = ("", "") if key is None else (key.salt, key.hash)
        return key if hmac.compare_digest(_hash(salt, secret), expected) else None

    def _mark(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigError(f"the file of keys {self._path} cannot be read: {error.strerror}") from error
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def require_keys_for_public_bind(host: str, keys: KeyRing | None) -> None:
    """Refuse to serve others than this machine without keys.

    Raises:
        ConfigError: If there are no keys and `host` is not a loopback address (a name other than localhost counts as
            public: what it means may change).
    """
    if keys is not None or host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"{host or 'every address'} can be reached by others and there are no keys; "
            "make one by `lowerfunnel keys make STATE`, or bind to 127.0.0.1"
        )


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, Key]:
    try:
        mode = path.stat().st_mode
        value = json.loads(path.read_text(encoding="utf-8"))
        keys = {entry["id"]: _key(entry) for entry in value["keys"]}
    except OSError as error:
        raise ConfigError(f"the file of keys {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no file of keys; make one, or name another") from error
    if stat.S_IMODE(mode) & 0o022:
        raise ConfigError(f"others than its owner may write {path}, and so let themselves in; chmod 600 it")
    return keys


def _key(entry: dict[str, object]) -> Key:
    key_id, made_at, salt, digest = (entry[name] for name in ("id", "made_at", "salt", "sha256"))
    scopes = entry["scopes"]
    texts = (key_id, made_at, salt, digest)
    if not isinstance(scopes, list) or not set(scopes) <= set(SCOPES) or not all(isinstance(t, str) for t in texts):
        raise ValueError("not an entry of a key")
    bytes.fromhex(f"{digest}")
    return Key(id=f"{key_id}", scopes=frozenset(scopes), made_at=f"{made_at}", salt=f"{salt}", hash=f"{digest}")


def _write(path: Path, keys: dict[str, Key]) -> None:
    entries = [
        {"id": key.id, "scopes": sorted(key.scopes), "made_at": key.made_at, "salt": key.salt, "sha256": key.hash}
        for key in keys.values()
    ]
    text = json.dumps({"keys": entries}, indent=2) + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        temporary.unlink(missing_ok=True)
        # Never readable by others, not for a moment.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush(path.parent)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time change the file: two changes at once would lose one of them."""
    lock = path.with_name(f".{path.name}.lock")
    with disk_errors(path), lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
