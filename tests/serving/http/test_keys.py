"""Bearer keys."""

import json
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.errors import ConfigError
from lowerfunnel.serving.http.keys import KeyRing, list_keys, make_key, require_keys_for_public_bind, revoke_key


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def test_a_key_is_found_and_nothing_that_differs_by_one_character(path):
    key = make_key(path, scopes=["serve"])
    ring = KeyRing(path)
    assert ring.find(key).scopes == {"serve"}
    for place in range(len(key)):
        assert ring.find(key[:place] + ("x" if key[place] != "x" else "y") + key[place + 1 :]) is None
        assert ring.find(key[:place]) is None
    assert ring.find(key + "x") is None


@given(st.text())
def test_no_other_text_is_a_key(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    make_key(path, scopes=["admin"])
    assert KeyRing(path).find(text) is None


def test_the_file_holds_no_secret_and_only_its_owner_may_read_it(path):
    key = make_key(path, scopes=["serve", "ingest"])
    _, key_id, secret = key.split("_", 2)
    text = path.read_text()
    assert key_id in text
    assert secret not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(secret) == 43  # 256 bits, six a character


def test_two_keys_of_one_scope_share_neither_salt_nor_hash(path):
    make_key(path, scopes=["serve"])
    make_key(path, scopes=["serve"])
    first, second = list_keys(path)
    assert first.salt != second.salt
    assert first.hash != second.hash


def test_a_ring_sees_keys_that_are_made_and_revoked_while_it_is_used(path):
    first = make_key(path, scopes=["serve"])
    ring = KeyRing(path)
    second = make_key(path, scopes=["admin"])
    assert ring.find(second).scopes == {"admin"}
    revoke_key(path, first.split("_")[1])
    assert ring.find(first) is None
    assert ring.find(second) is not None
    assert [key.id for key in list_keys(path)] == [second.split("_")[1]]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": [{}]}', '{"keys": [{"id": 1}]}', '{"keys": 1}'])
def test_a_damaged_file_lets_nobody_in(path, text):
    key = make_key(path, scopes=["serve"])
    ring = KeyRing(path)
    path.write_text(text)
    for _ in range(2):
        with pytest.raises(ConfigError, match="no file of keys"):
            ring.find(key)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        ring.find(key)


def test_an_unknown_scope_in_the_file_is_damage(path):
    make_key(path, scopes=["serve"])
    path.write_text(path.read_text().replace("serve", "everything"))
    with pytest.raises(ConfigError, match="no file of keys"):
        KeyRing(path)


def test_a_file_that_others_may_write_is_refused(path):
    make_key(path, scopes=["serve"])
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyRing(path)


def test_keys_made_side_by_side_are_all_there(path):
    made = []
    threads = [threading.Thread(target=lambda: made.append(make_key(path, scopes=["serve"]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ring = KeyRing(path)
    assert len(made) == 8
    assert all(ring.find(key) for key in made)
    assert not list(path.parent.glob("*.tmp"))


@pytest.mark.parametrize("scopes", [[], ["serve", "everything"]])
def test_a_key_needs_scopes_that_there_are(path, scopes):
    with pytest.raises(ConfigError, match="scopes serve, ingest, admin"):
        make_key(path, scopes=scopes)
    assert not path.exists()


def test_revoking_what_is_not_there_says_so(path):
    with pytest.raises(ConfigError, match="cannot be read"):
        revoke_key(path, "abc")
    make_key(path, scopes=["serve"])
    with pytest.raises(ConfigError, match="no key 'abc'"):
        revoke_key(path, "abc")
    assert len(json.loads(path.read_text())["keys"]) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_bind_needs_no_keys(host):
    require_keys_for_public_bind(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "192.168.1.1", "example.org", "::ffff:10.0.0.1"])  # noqa: S104 - refused
def test_a_public_bind_needs_keys(path, host):
    with pytest.raises(ConfigError, match="can be reached by others"):
        require_keys_for_public_bind(host, None)
    make_key(path, scopes=["serve"])
    require_keys_for_public_bind(host, KeyRing(path))
