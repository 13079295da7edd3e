"""The log writes whole lines in order, and never makes a request wait."""

import io
import json
import threading
import time

from lowerfunnel.serving.http.access_log import AccessLog


class Stuck(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def write(self, text):
        self.gate.wait()
        return super().write(text)


class Full(io.StringIO):
    """A disk that is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_lines_of_many_threads_are_whole_and_each_threads_are_in_order():
    stream = io.StringIO()
    log = AccessLog(stream, most_waiting=10_000)

    def write(name):
        for number in range(200):
            log.write("info", {"thread": name, "number": number, "text": "\n\u2028"})

    threads = [threading.Thread(target=write, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]
    assert len(lines) == 800
    for name in range(4):
        assert [line["number"] for line in lines if line["thread"] == name] == list(range(200))
    assert list(lines[0])[:2] == ["ts", "level"]


def test_a_stuck_terminal_blocks_nobody_and_what_was_dropped_is_counted():
    stream = Stuck()
    log = AccessLog(stream, most_waiting=5)
    began = time.perf_counter()
    for number in range(100):
        log.write("info", {"number": number})
    assert time.perf_counter() - began < 1
    dropped = log.dropped_in_all
    assert 90 <= dropped <= 95
    stream.gate.set()
    until = time.monotonic() + 5
    while stream.getvalue().count("\n") < 100 - dropped and time.monotonic() < until:
        time.sleep(0.01)
    log.write("info", {"number": 100})
    log.close()
    last = json.loads(stream.getvalue().splitlines()[-1])
    assert last["number"] == 100
    assert last["dropped"] == dropped


def test_a_full_disk_loses_lines_and_nothing_else():
    log = AccessLog(Full(), most_waiting=5)
    for number in range(10):
        log.write("info", {"number": number})
        time.sleep(0.002)
    log.close()
    assert log.dropped_in_all == 10


def test_closing_does_not_wait_for_a_stuck_terminal_for_ever():
    stream = Stuck()
    log = AccessLog(stream, most_waiting=1)
    for number in range(5):
        log.write("info", {"number": number})
    began = time.perf_counter()
    log.close(timeout_s=0.1)
    assert time.perf_counter() - began < 2
    stream.gate.set()
