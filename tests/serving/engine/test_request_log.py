"""Requests are written down beside the answers: a disk that hangs, is full or goes away costs lines, never an answer."""

import json
import os
import stat
import threading
import time

import pytest

from lowerfunnel.serving.engine.request_log import RequestLog
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.settings import RequestLogConfig

EVERYTHING = RequestLogConfig(share=1.0)


def wait_until(true, timeout_s=20.0):
    until_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def lines_of(folder):
    files = sorted(path for path in folder.glob("*.jsonl") if stat.S_ISREG(path.stat().st_mode))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


@pytest.fixture
def hanging_disk(tmp_path, monkeypatch):
    """A folder whose first file is a pipe that nobody reads: to open it hangs, as a disk may. `go()` ends that."""
    folder = tmp_path / "requests"
    folder.mkdir()
    pipe = folder / "pipe.jsonl"
    os.mkfifo(pipe)
    monkeypatch.setattr(RequestLog, "_file", lambda self: pipe)
    read = []

    def go():
        descriptor = os.open(pipe, os.O_RDONLY)
        read.append(descriptor)

    yield folder, go
    if not read:
        go()
    for descriptor in read:
        os.close(descriptor)


def test_every_line_is_written_once_and_in_order(tmp_path):
    log = RequestLog(tmp_path, EVERYTHING, on_error=pytest.fail)
    for number in range(500):
        log.write(lambda number=number: {"number": number})
    log.close()
    assert lines_of(tmp_path) == [{"number": number} for number in range(500)]
    assert log.dropped == 0


def test_a_disk_that_hangs_delays_nobody_and_is_told_of_once(hanging_disk, monkeypatch):
    monkeypatch.setattr("lowerfunnel.serving.engine.request_log._WAITING", 50)
    folder, go = hanging_disk
    told = []
    log = RequestLog(folder, EVERYTHING, on_error=told.append)
    began_s = time.monotonic()
    for number in range(5000):
        log.write(lambda number=number: {"number": number})
    assert time.monotonic() - began_s < 2.0
    assert log.dropped >= 4800
    assert len(told) == 1
    assert "too slow" in str(told[0])
    go()
    log.close()


def test_a_disk_that_hangs_does_not_hang_the_end(hanging_disk, monkeypatch):
    monkeypatch.setattr("lowerfunnel.serving.engine.request_log._WAITING", 5)
    monkeypatch.setattr("lowerfunnel.serving.engine.request_log._CLOSING_S", 0.1)
    folder, _ = hanging_disk
    log = RequestLog(folder, EVERYTHING, on_error=lambda _: None)
    for _ in range(50):
        log.write(dict)
    began_s = time.monotonic()
    log.close()
    assert time.monotonic() - began_s < 2.0


def test_a_disk_that_is_full_is_told_of_once_and_written_to_again_when_it_has_room(tmp_path, monkeypatch):
    told, whole = [], RequestLog._file

    def full(self):
        raise OSError(28, "No space left on device")

    log = RequestLog(tmp_path, EVERYTHING, on_error=told.append)
    monkeypatch.setattr(RequestLog, "_file", full)
    for number in range(1000):
        log.write(lambda number=number: {"number": number})
        if number % 100 == 0:
            time.sleep(0.01)  # several attempts to write
    wait_until(lambda: log.dropped == 1000)
    monkeypatch.setattr(RequestLog, "_file", whole)
    log.write(lambda: {"number": 1000})
    log.close()
    assert [error.errno for error in told] == [28]
    assert lines_of(tmp_path) == [{"number": 1000}]


def test_what_waits_is_written_or_dropped_before_a_version_goes(hanging_disk):
    folder, go = hanging_disk
    log = RequestLog(folder, EVERYTHING, on_error=lambda _: None)
    log.write(dict)
    wait_until(log._waiting.empty)
    for _ in range(10):
        log.write(dict)
    log.let_go(timeout_s=0.1)
    assert (log._waiting.qsize(), log.dropped) == (0, 10)
    go()
    log.close()


def test_what_waits_is_written_where_the_disk_is_well(tmp_path):
    log = RequestLog(tmp_path, EVERYTHING, on_error=pytest.fail)
    for number in range(300):
        log.write(lambda number=number: {"number": number})
    log.let_go(timeout_s=20.0)
    assert log.dropped == 0
    log.close()
    assert len(lines_of(tmp_path)) == 300


def test_answers_go_on_while_the_disk_of_the_log_hangs(start, hanging_disk):
    engine = start(settings=["engine.request_log.share=1"])
    user = engine.users(limit=1)[0]
    took_s = []
    for number in range(100):
        began_s = time.monotonic()
        answer = engine.candidates([CandidateRequest(request_id=f"r{number}", k=10, user_id=user, deadline_ms=5000.0)])[
            0
        ]
        took_s.append(time.monotonic() - began_s)
        assert len(answer.candidates) == 10
    assert sorted(took_s)[50] < 0.2
    writer = next(thread for thread in threading.enumerate() if thread.name == "request-log")
    assert writer.is_alive()
    hanging_disk[1]()


def test_servers_of_one_state_never_write_into_one_file(tmp_path):
    logs = [RequestLog(tmp_path, EVERYTHING, on_error=pytest.fail) for _ in range(4)]
    for number in range(200):
        for which, log in enumerate(logs):
            log.write(lambda which=which, number=number: {"server": which, "number": number, "more": "x" * 500})
    for log in logs:
        log.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 4
    for path in tmp_path.glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["number"] for line in lines] == list(range(200))
        assert len({line["server"] for line in lines}) == 1


def test_a_file_that_another_server_removed_is_begun_anew(tmp_path):
    log = RequestLog(tmp_path, EVERYTHING, on_error=pytest.fail)
    log.write(lambda: {"number": 1})
    wait_until(lambda: list(tmp_path.glob("*.jsonl")) and lines_of(tmp_path))
    next(tmp_path.glob("*.jsonl")).unlink()
    log.write(lambda: {"number": 2})
    log.close()
    assert lines_of(tmp_path) == [{"number": 2}]
    assert log.dropped == 0
