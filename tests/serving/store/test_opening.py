"""Which addresses, files and servers are taken for a store, and what is said of all others: one sentence."""

import os
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from lowerfunnel.errors import StoreError
from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.store.open import open_store
from lowerfunnel.serving.store.redis import RedisStore
from lowerfunnel.serving.store.sqlite import SqliteStore

EVENTS = [EventRecord(event_id=f"{n:030}", ts_us=n, user_id=n % 50, item_id=n, action="view") for n in range(3000)]


def refusal(open_it, *arguments) -> str:
    with pytest.raises(StoreError) as caught:
        open_it(*arguments)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "store.db"
    store = SqliteStore.open(path)
    store.add_events(EVENTS)
    store.close()
    assert not path.with_name("store.db-wal").exists()
    return path.read_bytes()


def test_a_path_and_a_url_open_the_same_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url in (str(tmp_path / "a b.db"), f"sqlite:{tmp_path / 'a b.db'}", "a b.db", "sqlite:a b.db"):
        store = open_store(url)
        store.add_events([EventRecord(event_id=url, ts_us=1, user_id=1, item_id=1, action="view")])
        store.close()
    store = open_store("a b.db")
    assert isinstance(store, SqliteStore)
    assert len(store.timeline(1)) == 4
    store.close()


def test_a_url_of_redis_opens_a_store_there(redis_server):
    store = open_store(redis_server.url)
    assert isinstance(store, RedisStore)
    store.ping(timeout_s=5)
    store.close()


@pytest.mark.parametrize(
    "url", ["", "sqlite:", "sqlite://host/file", "mysql://me:secret@host/db", "//host/x", "http://x"]
)
def test_any_other_address_is_refused_without_its_password(url):
    message = refusal(open_store, url)
    assert "redis://HOST:PORT/DATABASE" in message
    assert "secret" not in message


@pytest.mark.parametrize("url", ["redis://:secret/@host/0", "redis://127.0.0.1:port/0", "redis://127.0.0.1:99999/0"])
def test_a_bad_address_of_redis_is_refused_without_its_password(url):
    assert "secret" not in refusal(open_store, url)


@pytest.mark.parametrize("length", [1, 50, 99, 100, 1000, 4096, 5000, 40_000, -4096, -1])
def test_a_truncated_file_is_refused_and_left_as_it_is(tmp_path, whole_file, length):
    path = tmp_path / "store.db"
    path.write_bytes(whole_file[:length])
    assert "damaged" in refusal(open_store, str(path))
    assert path.read_bytes() == whole_file[:length]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store.db"]


@pytest.mark.parametrize(
    "content", [b"garbage" * 1000, b"SQLite format 3\0" + bytes(range(256)) * 40, b"\0" * 8192, b"{}"]
)
def test_garbage_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "store.db"
    path.write_bytes(content)
    assert str(path) in refusal(open_store, str(path))
    assert path.read_bytes() == content


def test_a_damaged_page_is_named_when_it_is_read_and_the_rest_is_answered(tmp_path, whole_file):
    pages = len(whole_file) // 4096
    heard = answered = 0
    for page in range(1, pages):
        path = tmp_path / f"{page}.db"
        path.write_bytes(whole_file[: page * 4096] + b"\xff" * 4096 + whole_file[(page + 1) * 4096 :])
        try:
            store = SqliteStore.open(path)
        except StoreError as error:
            assert "damaged" in str(error)  # noqa: PT017 - either it is refused here, or below
            heard += 1
            continue
        for user in range(50):
            try:
                assert len(store.timeline(user)) == 60
                answered += 1
            except StoreError as error:
                assert "damaged" in str(error)  # noqa: PT017 - a page holds some users and not others
                heard += 1
        store.close()
    assert heard > 20
    assert answered > 20


def test_a_file_of_another_program_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in refusal(open_store, str(path))
    assert path.read_bytes() == before
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE mine")
        connection.execute("PRAGMA application_id = 77")
    connection.close()
    assert "another program" in refusal(open_store, str(path))


def test_a_file_of_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "store.db"
    SqliteStore.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    assert "has format 9, and this version of lowerfunnel reads 2" in refusal(open_store, str(path))


def test_an_empty_file_becomes_a_store(tmp_path):
    path = tmp_path / "store.db"
    path.touch()
    SqliteStore.open(path).close()
    SqliteStore.open(path).close()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    assert "cannot be opened" in refusal(open_store, str(tmp_path / "no folder" / "store.db"))
    assert str(tmp_path) in refusal(open_store, str(tmp_path))


def test_a_closed_store_takes_no_writes(tmp_path):
    store = SqliteStore.open(tmp_path / "store.db")
    store.close()
    assert "closed" in refusal(store.add_events, EVENTS[:1])


def test_a_process_that_forgets_to_close_its_store_ends_all_the_same(tmp_path):
    program = f"""
from pathlib import Path
from lowerfunnel.serving.store.sqlite import SqliteStore
store = SqliteStore.open(Path({str(tmp_path / "store.db")!r}))
store.ping(timeout_s=10)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=dict(os.environ))


def test_a_server_that_is_not_there_is_named_in_time():
    assert "Redis at 127.0.0.1:1 " in refusal(open_store, "redis://127.0.0.1:1/0")
    began = time.monotonic()
    with socket.socket() as deaf:  # takes connections and says nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        assert "Redis at 127" in refusal(lambda: RedisStore.connect(url, timeout_s=0.2))
    assert time.monotonic() - began < 5


def test_a_server_that_may_lose_writes_is_warned_of_in_one_sentence(start_redis):
    server = start_redis(("--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "allkeys-lru"))
    with pytest.warns(UserWarning, match="may lose what it acknowledged") as caught:
        RedisStore.connect(server.url).close()
    assert len(caught) == 1
    sentence = str(caught[0].message)
    assert "its appendfsync is everysec, its maxmemory-policy is allkeys-lru;" in sentence
    assert "its appendonly" not in sentence
    assert caught[0].filename == __file__


def test_a_server_that_does_not_say_how_it_keeps_writes_is_warned_of(start_redis):
    server = start_redis()
    server.say("ACL", "SETUSER", "shop", "on", ">word", "~*", "+@all", "-config")
    with pytest.warns(UserWarning, match="its appendonly could not be asked for"):
        RedisStore.connect(server.url.replace("//", "//shop:word@")).close()
    message = refusal(open_store, server.url.replace("//", "//shop:wrong@"))
    assert "wrong@" not in message
    assert "Redis at 127" in message


def test_what_is_not_a_store_under_the_prefix_is_refused(redis_server):
    redis_server.say("SET", "elsewhere:format", "another program 3")
    message = refusal(lambda: RedisStore.connect(redis_server.url, prefix="elsewhere:"))
    assert "another program 3" in message
    assert "choose another prefix" in message


def test_two_prefixes_are_two_stores(redis_server):
    stores = [RedisStore.connect(redis_server.url, prefix=f"two:{name}:") for name in "ab"]
    stores[0].add_events(EVENTS[:1])
    assert [len(store.timeline(0)) for store in stores] == [1, 0]
    assert [store.add_events(EVENTS[:1]) for store in stores] == [[False], [True]]
    for store in stores:
        store.close()


def test_nothing_is_kept_beside_the_prefix(start_redis):
    server = start_redis()
    store = RedisStore.connect(server.url, prefix="p:")
    store.add_events(EVENTS[:10])
    store.set_eligibility(advertisers={"a": True}, items={1: False})
    store.delete_items([1])
    keys = subprocess.run(
        ["redis-cli", "-p", str(server.port), "KEYS", "*"], capture_output=True, text=True, check=True
    )
    assert all(key.startswith("p:") for key in keys.stdout.split())
    store.close()


def test_the_file_says_whose_it_is(whole_file):
    assert whole_file[68:72] == b"Lowf"
    assert int.from_bytes(whole_file[60:64], "big") == 2


def test_a_store_that_is_closed_says_so(tmp_path):
    store = SqliteStore.open(tmp_path / "store.db")
    store.close()
    with pytest.raises(StoreError, match=r"store\.db is closed"):
        store.timeline("u", timeout_s=5.0)
