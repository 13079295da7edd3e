"""The online store in Redis or Valkey, shared by several servers.

A write is one script or one transaction, so it happens as a whole. It outlives a crash of Redis as far as the settings of
Redis say; what they do not promise is said in a warning when the store is connected to. One server is meant, or one with
replicas, not a cluster: a script touches keys of several users.
"""

import struct
from collections.abc import Iterator, Sequence

from lowerfunnel.serving.records import EligibilityChange, EventRecord, ItemChange, ItemRecord
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.store.encoding import (
    check_events,
    check_id,
    check_int64,
    check_text,
    item_of,
    item_text,
    rest_text,
    timeline_of,
    timeline_parts,
)
from lowerfunnel.serving.store.in_time import InTime
from lowerfunnel.serving.store.redis_scripts import ADD_EVENTS, CHANGE, CHANGES, TIMELINE
from lowerfunnel.serving.store.redis_server import RedisServer
from lowerfunnel.serving.user_timeline import EVENT, UserTimeline

_READERS = 16
_PER_SCRIPT = 500  # Redis does nothing else meanwhile; about 2 ms


class RedisStore:
    """An `OnlineStore` in a Redis server.

    Deadlines: every answer is waited for `timeout_s` of `connect`; `timeline` and `ping` stop waiting at their own
    `timeout_s` whatever holds them up.
    """

    def __init__(self, server: RedisServer, *, prefix: str) -> None:
        self._server = server
        self._prefix = prefix.encode()
        self._in_time = InTime(_READERS, name=server.name)

    @classmethod
    def connect(cls, url: str, *, prefix: str = "lowerfunnel:", timeout_s: float = 2.0) -> "RedisStore":
        """Connect to a store, or begin one where there is none under this prefix yet.

        Args:
            url: As in `redis://localhost:6379/0`.
            prefix: What the names of all keys begin with.
            timeout_s: Seconds to wait for a connection, and for each answer.

        Raises:
            MissingPackageError: If the package redis is not installed.
            StoreError: If there is no server, or none that can be used.
        """
        store = cls(RedisServer(url, timeout_s=timeout_s), prefix=prefix)
        store._server.check(store._key("format"))
        return store

    def add_events(self, events: Sequence[EventRecord]) -> list[bool]:
        """See `OnlineStore.add_events`; if it raises, some events may be in and others not."""
        check_events(events)
        shared = [self._key("events"), self._key("users"), self._key("arrival")]
        rows = [
            (event.event_id.encode(), _time(event.ts_us), b"".join(timeline_parts(event)), rest_text(event).encode())
            for event in events
        ]
        users = [_token(event.user_id) for event in events]
        scripts = []
        for begin in range(0, len(rows), _PER_SCRIPT):
            part = slice(begin, begin + _PER_SCRIPT)
            timelines = [self._timeline_key(user) for user in users[part]]
            arguments = [value for row, user in zip(rows[part], users[part], strict=True) for value in (*row, user)]
            scripts.append((ADD_EVENTS, shared + timelines, arguments))
        return [new == 1 for answer in self._server.run_all(scripts, together=False) for new in answer]

    def timeline(self, user_id: Id, *, before_us: int | None = None, timeout_s: float | None = None) -> UserTimeline:
        """See `OnlineStore.timeline`."""
        check_id(user_id, "user_id")
        if before_us is not None:
            check_int64(before_us, "before_us")
        key = self._timeline_key(_token(user_id))
        end = b"+" if before_us is None else b"(" + _time(before_us)

        def read() -> UserTimeline:
            return timeline_of(*self._server.run(TIMELINE, [key], [end, 16 + EVENT.itemsize]))

        return read() if timeout_s is None else self._in_time.call(read, timeout_s=timeout_s)

    def put_items(self, items: Sequence[ItemRecord]) -> int:
        """See `OnlineStore.put_items`."""
        rows = [(item_text(item).encode(), item.item_id) for item in items]
        return self._change("items", [(_token(item_id), text) for text, item_id in rows])

    def delete_items(self, item_ids: Sequence[Id]) -> int:
        """See `OnlineStore.delete_items`."""
        for item_id in item_ids:
            check_id(item_id, "item_id")
        return self._change("items", [(_token(item_id), b"") for item_id in item_ids])

    def items_since(self, sequence: int) -> list[ItemChange]:
        """See `OnlineStore.items_since`."""
        changes = []
        for place, token, text in self._changes("items", sequence):
            item_id = _id(token)
            changes.append(ItemChange(sequence=place, item_id=item_id, record=item_of(item_id, text) if text else None))
        return changes

    def set_eligibility(self, *, advertisers: dict[str, bool], items: dict[Id, bool]) -> int:
        """See `OnlineStore.set_eligibility`; all or none."""
        for advertiser_id in advertisers:
            check_text(advertiser_id, "advertiser_id")
        for item_id in items:
            check_id(item_id, "item_id")
        values = {False: b"0", True: b"1"}
        rows = [(b"a" + key.encode(), values[bool(value)]) for key, value in advertisers.items()]
        rows += [(_token(key), values[bool(value)]) for key, value in items.items()]
        return self._change("eligibility", rows)

    def eligibility_since(self, sequence: int) -> list[EligibilityChange]:
        """See `OnlineStore.eligibility_since`."""
        changes = []
        for place, token, value in self._changes("eligibility", sequence):
            advertiser = token.startswith(b"a")
            changes.append(
                EligibilityChange(
                    sequence=place,
                    advertiser_id=token[1:].decode() if advertiser else None,
                    item_id=None if advertiser else _id(token),
                    eligible=value == b"1",
                )
            )
        return changes

    def users(self, *, limit: int) -> list[Id]:
        """See `OnlineStore.users`."""
        return [_id(token) for token in self._server.ask("ZRANGE", self._key("users"), 0, limit - 1)] if limit else []

    def ping(self, *, timeout_s: float) -> None:
        """See `OnlineStore.ping`."""
        self._in_time.call(lambda: self._server.ask("PING"), timeout_s=timeout_s)

    def close(self) -> None:
        """Close every connection."""
        self._in_time.close()
        self._server.close()

    def _change(self, name: str, rows: list[tuple[bytes, bytes]]) -> int:
        keys = [self._key("sequence"), self._key(name), self._key(f"{name}:order")]
        scripts = []
        for begin in range(0, max(len(rows), 1), _PER_SCRIPT):
            arguments = [value for row in rows[begin : begin + _PER_SCRIPT] for value in row]
            scripts.append((CHANGE, keys, arguments))
        return int(self._server.run_all(scripts, together=True)[-1])

    def _changes(self, name: str, sequence: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield sequence, token and value of the latest changes, by sequence, page by page.

        What changes between two pages is met again later with its new value; only that one counts.
        """
        keys = [self._key(name), self._key(f"{name}:order")]
        latest: dict[bytes, tuple[int, bytes, bytes]] = {}
        while True:
            page = self._server.run(CHANGES, keys, [sequence, _PER_SCRIPT])
            for token, place, value in zip(page[0::3], page[1::3], page[2::3], strict=True):
                latest.pop(token, None)
                latest[token] = (int(place), token, value)
                sequence = int(place)
            if len(page) < 3 * _PER_SCRIPT:
                break
        yield from latest.values()

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    def _timeline_key(self, user_token: bytes) -> bytes:
        return self._prefix + b"t:" + user_token


def _time(ts_us: int) -> bytes:
    """Write a time so that its bytes sort as the times do."""
    return struct.pack(">Q", ts_us + 2**63)


def _token(value: Id) -> bytes:
    return b"i%d" % value if isinstance(value, int) else b"s" + value.encode()


def _id(token: bytes) -> Id:
    return int(token[1:]) if token.startswith(b"i") else token[1:].decode()
