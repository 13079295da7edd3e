"""The table of stores. A new one is one line here and passes the same tests."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.store.redis import RedisStore
from lowerfunnel.serving.store.sqlite import SqliteStore

MEMBERS = ("sqlite", "redis")


class Place:
    """Where one store is kept; `open` opens it, again and again, with all that is in it."""

    def __init__(self, open_one: Callable[[], OnlineStore]) -> None:
        self._open_one = open_one
        self._opened: list[OnlineStore] = []

    def open(self) -> OnlineStore:
        self._opened.append(self._open_one())
        return self._opened[-1]

    def reopen(self, store: OnlineStore) -> OnlineStore:
        self._opened.remove(store)
        store.close()
        return self.open()

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()


@pytest.fixture(params=MEMBERS)
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Place]]:
    """Give an empty place for a store, as often as it is called."""
    numbers = itertools.count()
    places: list[Place] = []
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")

        def opener(number: int) -> Callable[[], OnlineStore]:
            return lambda: RedisStore.connect(server.url, prefix=f"{tmp_path.name}:{number}:", timeout_s=10)
    else:

        def opener(number: int) -> Callable[[], OnlineStore]:
            return lambda: SqliteStore.open(tmp_path / f"{number}.db")

    def new() -> Place:
        places.append(Place(opener(next(numbers))))
        return places[-1]

    yield new
    for place in places:
        place.close()


@pytest.fixture
def place(new_place: Callable[[], Place]) -> Place:
    return new_place()


@pytest.fixture
def store(place: Place) -> OnlineStore:
    return place.open()
