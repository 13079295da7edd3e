"""The connection to a Redis or Valkey server: how it is made, what it has to be, and what it says when it fails.

Every wait for the server has an end. No command is repeated by itself: a write whose answer was lost may have happened, and
its repetition would be told that its events are not new. A connection that the server has closed is noticed when it is
taken up again and replaced, so a server that was gone is used again once it is back.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from lowerfunnel.errors import StoreError, require

OLDEST_VERSION = 6
FORMAT = "lowerfunnel store 2"


class RedisServer:
    """A server that stores are kept in.

    Args:
        url: As in `redis://[[user]:password@]host:port/database`; `rediss://` for TLS, `unix://` for a socket.
        timeout_s: Seconds to wait for a connection, and for each answer.

    Raises:
        StoreError: For a URL that is none, or a server that cannot be used.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        redis = require("redis", extra="redis")
        self._error: type[Exception] = redis.exceptions.RedisError
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
                protocol=2,
                decode_responses=False,
            )
        except ValueError as error:
            # Not what came: it may hold a password.
            raise StoreError(
                "the address of Redis cannot be used; give redis://HOST:PORT/DATABASE, signs in a password as %XX"
            ) from error
        given = self._client.connection_pool.connection_kwargs
        self.name = (
            f"Redis at {given.get('path') or '{}:{}'.format(given.get('host', 'localhost'), given.get('port', 6379))}"
        )

    def ask(self, *command: object) -> Any:
        """Return the answer to a command.

        Raises:
            StoreError: If there was none, or it was an error.
        """
        try:
            return self._client.execute_command(*command)
        except self._error as error:
            raise self._explained(error) from error

    def run(self, script: str, keys: list[bytes], arguments: Sequence[bytes | int]) -> Any:
        """Run a script in the server; the server keeps it compiled, by its text.

        Raises:
            StoreError: As for `ask`.
        """
        return self.ask("EVAL", script, len(keys), *keys, *arguments)

    def run_all(
        self, scripts: Sequence[tuple[str, list[bytes], Sequence[bytes | int]]], *, together: bool
    ) -> list[Any]:
        """Run scripts one after the other; `together` lets nothing come between them, and none of them be missing.

        Raises:
            StoreError: As for `ask`.
        """
        try:
            with self._client.pipeline(transaction=together) as pipeline:
                for script, keys, arguments in scripts:
                    pipeline.execute_command("EVAL", script, len(keys), *keys, *arguments)
                return list(pipeline.execute())
        except self._error as error:
            raise self._explained(error) from error

    def check(self, format_key: bytes) -> None:
        """Make sure that the server is new enough and what is stored below the prefix is ours; warn if it may be lost.

        Raises:
            StoreError: If the server is too old, or holds something else.
        """
        version = str(self._info("server").get("redis_version", "0"))
        if int(version.split(".", maxsplit=1)[0]) < OLDEST_VERSION:
            raise StoreError(f"{self.name} has version {version}; Redis {OLDEST_VERSION} or newer is needed, or Valkey")
        self.ask("SET", format_key, FORMAT, "NX")
        found = self.ask("GET", format_key)
        if found != FORMAT.encode():
            raise StoreError(
                f"{self.name} holds {found!r} under this prefix, and {FORMAT!r} is needed; choose another prefix"
            )
        if losses := self._losses():
            warnings.warn(
                f"{self.name} may lose what it acknowledged: {', '.join(losses)}; start it with appendonly yes, appendfsync"
                " always and maxmemory-policy noeviction to keep every write",
                stacklevel=3,
            )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def _losses(self) -> list[str]:
        """Say which settings of the server let acknowledged writes be lost."""
        wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        losses = []
        for name, value in wanted.items():
            try:
                answer = self._client.config_get(name)
            except self._error:  # servers for rent do not say
                losses.append(f"its {name} could not be asked for")
                continue
            if (found := answer.get(name)) != value:
                losses.append(f"its {name} is {found}")
        return losses

    def _info(self, section: str) -> dict[str, Any]:
        try:
            return dict(self._client.info(section))
        except self._error as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self.name} did not do as asked ({str(error).rstrip('.')}); make sure that it runs and has room"
        )
