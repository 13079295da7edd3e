"""Servers of one machine tell each other what changed, and wait for no one who does not answer."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lowerfunnel.errors import RunError, StoreError
from lowerfunnel.serving.peers import Peers

ANOTHER = """
import sys, time
from pathlib import Path
from lowerfunnel.serving.peers import Peers
Peers(Path(sys.argv[1]), {"changes": lambda: None, "version": lambda: None})
print("there", flush=True)
time.sleep(600)
"""


@pytest.fixture
def another(tmp_path):
    """A peer in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", ANOTHER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def peers(folder, told, **settings):
    """A server that notes what it is told."""
    return Peers(
        folder, {"changes": lambda: told.append("changes"), "version": lambda: told.append("version")}, **settings
    )


def test_every_other_server_has_done_what_follows_when_tell_returns(tmp_path):
    first, second, third = [], [], []
    with peers(tmp_path, first) as one, peers(tmp_path, second), peers(tmp_path, third):
        assert one.tell("changes") == 2
        assert (first, second, third) == ([], ["changes"], ["changes"])
        assert one.tell("version") == 2
        assert second == third == ["changes", "version"]
    assert list(tmp_path.iterdir()) == []


def test_alone_nobody_is_told(tmp_path):
    with peers(tmp_path, []) as one:
        assert one.tell("changes") == 0


def test_who_comes_later_is_told_and_who_has_gone_is_not(tmp_path):
    told = []
    with peers(tmp_path, []) as one:
        with peers(tmp_path, told):
            assert one.tell("changes") == 1
        assert one.tell("changes") == 0
        with peers(tmp_path, told):
            assert one.tell("changes") == 1
    assert told == ["changes", "changes"]


def test_many_threads_tell_at_once_and_each_is_answered(tmp_path):
    told, answers = [], []
    with peers(tmp_path, told) as one, peers(tmp_path, []) as other:
        threads = [
            threading.Thread(target=lambda who=who: answers.extend(who.tell("changes") for _ in range(50)))
            for who in (one, one, other, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [1] * 200
    assert len(told) == 100


def test_one_that_was_killed_is_forgotten(tmp_path, another):
    with peers(tmp_path, []) as one:
        assert one.tell("changes") == 1
        another.kill()
        another.wait()
        assert one.tell("changes") == 0  # the connection has ended
        assert one.tell("changes") == 0  # nobody listens: the name goes
        assert len(list(tmp_path.iterdir())) == 1


def test_one_that_hangs_is_waited_for_once_and_then_left_alone(tmp_path, another, caplog):
    with peers(tmp_path, [], patience_s={"changes": 0.2, "version": 0.2}) as one:
        assert one.tell("changes") == 1
        os.kill(another.pid, signal.SIGSTOP)
        os.waitpid(another.pid, os.WUNTRACED)  # until it has stopped
        began_s = time.monotonic()
        assert [one.tell("changes") for _ in range(20)] == [0] * 20
        assert 0.2 <= time.monotonic() - began_s < 2.0
        assert "did not answer within 0.2 s" in caplog.text


def test_an_error_of_the_other_is_logged_there_and_counts_as_not_done(tmp_path, caplog):
    def fail():
        raise StoreError("the store is away")

    with Peers(tmp_path, {"changes": fail, "version": fail}), peers(tmp_path, []) as one:
        assert one.tell("changes") == 0
        assert one.tell("changes") == 0
    assert "the store is away" in caplog.text


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="choose another place"):
        peers(tmp_path / "file" / "servers", [])


def test_one_that_only_shares_the_folder_keeps_its_name(tmp_path):
    with peers(tmp_path, []) as one:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("/nowhere/socket")
        assert one.tell("changes") == 0
        assert elsewhere.exists()


def test_what_is_not_a_socket_is_never_removed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("here")
    folder = tmp_path / "servers"
    with peers(folder, []) as one:
        (folder / "forged").write_text(str(precious))
        assert one.tell("changes") == 0
    assert precious.read_text() == "here"
