"""A connection to Milvus whose calls end in time, keep quiet, and fail with errors of this package.

pymilvus logs a failed call with its traceback on stderr before it raises. What it raises is translated here and says
the same, so during a call of ours those lines are held back; calls that other code makes log as ever.
"""

import logging
import os
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from lowerfunnel.errors import ConfigError, LowerfunnelError, RunError, StoreError, require

_NOISY_LOGGERS = ("pymilvus.decorators", "pymilvus.client.connection_manager", "milvus_lite.server_manager")
_SCHEMES = ("http", "https", "tcp", "unix")
# Without it a new channel inherits the waiting time of the broken one, and a server that is back is not asked at once.
_CHANNEL = {"grpc.use_local_subchannel_pool": 1}
_COLLECTION_NOT_FOUND = 100
_CONNECT_FAILED = 2

_held_back: ContextVar[list[logging.LogRecord] | None] = ContextVar("held_back", default=None)


class _HoldBack(logging.Filter):
    """Keeps records that are logged during a call of ours from the handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may be logged."""
        records = _held_back.get()
        if records is None:
            return True
        records.append(record)
        return False


_HOLD_BACK = _HoldBack()


class MilvusConnection:
    """Calls to one Milvus server, or to one folder of Milvus Lite. May be used from many threads.

    Attributes:
        uri: Address of the server, or the absolute path of the folder.
        token_env: Name of the environment variable that holds the token, or None.
        timeout_s: Longest time that a call takes unless it says otherwise. Where the connection has to be made again,
            as much again is spent on that.
    """

    def __init__(self, uri: str, *, token_env: str | None, timeout_s: float) -> None:
        """Connect.

        Args:
            uri: ``http://host:19530``, ``https://...``, or the path of a folder ending in ``.db`` for Milvus Lite.
            token_env: Name of an environment variable; a recipe never holds the token itself.
            timeout_s: See above.

        Raises:
            ConfigError: If the address cannot be one, or the environment variable is not set.
            MissingPackageError: If pymilvus is not installed.
            RunError: If the server refuses, or another process holds the folder.
            StoreError: If the server is out of reach.
        """
        check_uri(uri)
        self.uri = str(Path(uri).absolute()) if uri.endswith(".db") else uri
        self.token_env = token_env
        self.timeout_s = timeout_s
        token = _token(token_env)
        self._pymilvus = require("pymilvus", extra="milvus")
        for name in _NOISY_LOGGERS:
            logging.getLogger(name).addFilter(_HOLD_BACK)  # adding the same filter again changes nothing
        self._client: Any = self._guarded(
            "be opened",
            timeout_s,
            self._pymilvus.MilvusClient,
            self.uri,
            token=token,
            timeout=timeout_s,
            grpc_options=_CHANNEL,
        )

    @property
    def pymilvus(self) -> ModuleType:
        """The package pymilvus."""
        return self._pymilvus

    @property
    def client(self) -> Any:
        """The `MilvusClient`, for what asks the server nothing."""
        return self._client

    def call(self, method: str, *arguments: Any, timeout_s: float | None = None, **named: Any) -> Any:
        """Call a method of `MilvusClient` and return its answer.

        Raises:
            RunError: If the collection is gone or the server refuses.
            StoreError: If the server is out of reach or too slow.
        """
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        bound = getattr(self._client, method)
        return self._guarded(method.replace("_", " "), timeout_s, bound, *arguments, timeout=timeout_s, **named)

    def _guarded(self, what: str, timeout_s: float, function: Any, *arguments: Any, **named: Any) -> Any:
        grpc = require("grpc", extra="milvus")
        records: list[logging.LogRecord] = []
        before = _held_back.set(records)
        try:
            return function(*arguments, **named)
        except (self._pymilvus.MilvusException, grpc.RpcError, grpc.FutureTimeoutError) as error:
            raise self._translated(error, what, timeout_s, records) from error
        finally:
            _held_back.reset(before)

    def _translated(
        self, error: BaseException, what: str, timeout_s: float, records: list[logging.LogRecord]
    ) -> LowerfunnelError:
        """Return what to raise in place of an error of pymilvus or gRPC."""
        logged = [record.exc_info[1] for record in records if record.exc_info]
        if any(type(each).__name__ == "DataDirLockedError" for each in logged):
            return RunError(
                f"{self.uri} is open in another process, and Milvus Lite lets one process at a time into a folder: stop "
                "the other one, or run a Milvus server"
            )
        said = next((str(each) for each in logged if each is not None), "")
        codes = _codes(error)
        message = " ".join((said or _message(error)).split())
        if _COLLECTION_NOT_FOUND in codes:
            return RunError(f"Milvus at {self.uri} no longer holds the collection ({message}): build the index again")
        if "UNAUTHENTICATED" in codes or "PERMISSION_DENIED" in codes:
            holder = f"the environment variable {self.token_env}" if self.token_env else "no token"
            return RunError(
                f"Milvus at {self.uri} refused to {what} with {holder} ({message}): name the variable that holds a "
                "valid token in milvus_token_env"
            )
        if not codes.isdisjoint({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", _CONNECT_FAILED}):
            return StoreError(
                f"Milvus at {self.uri} is out of reach, or slower than {timeout_s:g} s ({message}): check that it runs "
                "and can be reached, or allow more time"
            )
        return RunError(f"Milvus at {self.uri} could not {what} ({message}): see the server's log")


def check_uri(uri: str) -> None:
    """Make sure that a text can be the address of Milvus and holds no credentials: it is written into files.

    Raises:
        ConfigError: If it cannot.
    """
    if "@" in urlsplit(uri).netloc:
        raise ConfigError(
            "the address of Milvus holds a user or a password, which end up in files: name the environment variable "
            "that holds them in milvus_token_env"
        )
    if not uri.endswith(".db") and urlsplit(uri).scheme not in _SCHEMES:
        raise ConfigError(
            f"the address of Milvus must begin with one of {', '.join(_SCHEMES)}, or be a folder ending in .db; got "
            f"{uri!r}"
        )


def _token(token_env: str | None) -> str:
    if token_env is None:
        return ""
    token = os.environ.get(token_env, "")
    if not token:
        raise ConfigError(f"the environment variable {token_env}, which is to hold Milvus' token, is not set: set it")
    return token


def _codes(error: BaseException) -> set[int | str]:
    """Return the status codes of an error and of its causes; gRPC's by name."""
    pymilvus, grpc = require("pymilvus", extra="milvus"), require("grpc", extra="milvus")
    codes: set[int | str] = set()
    link: BaseException | None = error
    while link is not None:
        code: Any = None
        if isinstance(link, grpc.RpcError):
            code = link.code()
        elif isinstance(link, grpc.FutureTimeoutError):
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        elif isinstance(link, pymilvus.MilvusException):
            code = link.code
        codes.add(code.name if isinstance(code, grpc.StatusCode) else code)
        link = None if link.__cause__ is link else link.__cause__
    return codes


def _message(error: BaseException) -> str:
    """Return what an error says, without the parts that gRPC adds for its own developers."""
    pymilvus, grpc = require("pymilvus", extra="milvus"), require("grpc", extra="milvus")
    if isinstance(error, pymilvus.MilvusException):
        return str(error.message).split(", debug=", maxsplit=1)[0]
    return str(error.details()) if isinstance(error, grpc.RpcError) else str(error)
