"""Servers of one machine over one state: what one of them acknowledges, the others know already.

    STATE/servers/NAME      says where the socket of a running server is

A store is followed by asking it again and again, which is late by the pause between two questions. So a server that wrote
something tells the others to look now, waits until they have, and then acknowledges. One that does not answer in time is
left alone for a while and follows by itself: no acknowledgement hangs on a neighbour that hangs.

A connection carries one byte for each request and the same byte back once it is done.
"""

import contextlib
import logging
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

from lowerfunnel.errors import LowerfunnelError
from lowerfunnel.files import disk_errors, write_text

_log = logging.getLogger("lowerfunnel.serving")

Topic = Literal["changes", "version"]
"""What peers are told of: the store has changes, or another version is the current one."""

_BYTE: Mapping[Topic, bytes] = {"changes": b"c", "version": b"v"}
_FAILED = b"!"
PATIENCE_S: Mapping[Topic, float] = {"changes": 1.0, "version": 120.0}
"""How long a peer is waited for by default: to read what the store has, or to load a version."""
_REST_S = 5.0
"""How long one that did not answer in time is left alone."""


class Peers:
    """The other servers of a state on this machine. Every method may be called from many threads.

    Args:
        folder: Where running servers are named, STATE/servers; made if it is not there.
        on_told: By topic, what to do when a peer tells of it; when it returns, the peer is answered. What it raises of
            this project's errors is logged, and the peer is told that it failed.
        patience_s: By topic, how long a peer is waited for.

    Raises:
        RunError: If the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        on_told: Mapping[Topic, Callable[[], object]],
        *,
        patience_s: Mapping[Topic, float] = PATIENCE_S,
    ) -> None:
        self._on_told = {_BYTE[topic]: what for topic, what in on_told.items()}
        self._patience_s = patience_s
        self._name = folder / secrets.token_hex(8)
        self._locks: dict[tuple[Path, Topic], threading.Lock] = {}
        self._connections: dict[tuple[Path, Topic], socket.socket] = {}
        self._resting_until_s: dict[Path, float] = {}
        self._accepted: set[socket.socket] = set()
        # The path of a socket has 107 bytes at most, and that of a state may be longer.
        self._own = Path(tempfile.mkdtemp(prefix="lowerfunnel-"))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._closed = False
        with contextlib.ExitStack() as unless_it_listens:
            unless_it_listens.callback(shutil.rmtree, self._own, ignore_errors=True)
            unless_it_listens.callback(self._listener.close)
            self._listener.bind(str(self._own / "socket"))
            self._listener.listen()
            with disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                write_text(self._name, str(self._own / "socket"))
            unless_it_listens.pop_all()
        threading.Thread(target=self._accept, name="peers", daemon=True).start()

    def __enter__(self) -> "Peers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def tell(self, topic: Topic) -> int:
        """Tell all other servers, and wait until each has done what follows; return how many have."""
        return sum(self._tell(peer, topic) for peer in self._others())

    def close(self) -> None:
        """Be told nothing more."""
        self._closed = True
        self._name.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in [*self._accepted, *self._connections.values()]:
            _hang_up(connection)
        shutil.rmtree(self._own, ignore_errors=True)

    def _others(self) -> list[Path]:
        try:
            return [path for path in self._name.parent.iterdir() if path != self._name and path.name[0] != "."]
        except OSError:
            return []

    def _tell(self, peer: Path, topic: Topic) -> bool:
        if time.monotonic() < self._resting_until_s.get(peer, 0.0):
            return False
        with self._locks.setdefault((peer, topic), threading.Lock()):
            try:
                connection = self._connections.get((peer, topic)) or self._connect(peer, topic)
                connection.sendall(_BYTE[topic])
                answer = connection.recv(1)
            except (FileNotFoundError, ConnectionRefusedError):
                # It has stopped, or was killed; or it runs on another machine or in another container that shares the
                # folder, where this path leads nowhere.
                return False
            except OSError as error:
                if isinstance(error, TimeoutError):
                    self._resting_until_s[peer] = time.monotonic() + _REST_S
                    _log.warning(
                        "another server of this state did not answer within %g s and follows later",
                        self._patience_s[topic],
                    )
                answer = b""
            if not answer:  # it ended, or the connection is out of step
                gone = self._connections.pop((peer, topic), None)
                if gone is not None:
                    _hang_up(gone)
            return answer == _BYTE[topic]

    def _connect(self, peer: Path, topic: Topic) -> socket.socket:
        address = peer.read_text(encoding="utf-8")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._patience_s[topic])
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            if isinstance(error, ConnectionRefusedError):  # whoever is named listens, until it is killed
                peer.unlink(missing_ok=True)
                _remove_socket(Path(address))
            raise
        self._connections[peer, topic] = connection
        return connection

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._accepted.add(connection)
            threading.Thread(target=self._answer, args=(connection,), name="peer", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while asked := connection.recv(1):
                connection.sendall(self._done(asked))
        self._accepted.discard(connection)

    def _done(self, asked: bytes) -> bytes:
        try:
            self._on_told[asked]()
        except (LowerfunnelError, OSError, KeyError) as error:
            _log.warning("another server of this state told of something that could not be followed: %s", error)
            return _FAILED
        return asked


def _remove_socket(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_socket():
            path.unlink()
            path.parent.rmdir()


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
