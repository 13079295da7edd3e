"""Results kept for a repeat."""

import subprocess
import sys
import threading

import pytest

from lowerfunnel.serving.http.idempotency import IdempotentResults, Result
from lowerfunnel.serving.http.refusals import RefusalError

DONE = Result(status=200, body=b"{}")


def refusal(results, key, *, asked):
    """Return the status with which a request is refused."""
    with pytest.raises(RefusalError) as caught:
        results.begin(key, asked=asked)
    return caught.value.status


def test_a_repeat_gets_the_first_result(tmp_path):
    results = IdempotentResults(tmp_path, most=10)
    assert results.begin("k", asked=b"a") is None
    results.finish("k", DONE)
    assert results.begin("k", asked=b"a") == DONE
    assert results.begin("other", asked=b"a") is None


def test_a_repeat_that_asks_for_something_else_is_refused(tmp_path):
    results = IdempotentResults(tmp_path, most=10)
    results.begin("k", asked=b"a")
    assert refusal(results, "k", asked=b"b") == 422


def test_a_repeat_while_the_first_runs_is_told_to_come_again(tmp_path):
    results = IdempotentResults(tmp_path, most=10)
    results.begin("k", asked=b"a")
    assert refusal(results, "k", asked=b"a") == 409
    results.forget("k")
    assert results.begin("k", asked=b"a") is None


def test_the_oldest_result_makes_room_and_what_runs_never_does(tmp_path):
    results = IdempotentResults(tmp_path, most=3)
    results.begin("runs", asked=b"")
    for number in range(100):
        assert results.begin(f"{number}", asked=b"") is None
        results.finish(f"{number}", DONE)
        assert len(results) <= 3
    assert results.begin("99", asked=b"") == DONE
    assert results.begin("98", asked=b"") == DONE
    assert results.begin("97", asked=b"") is None
    assert refusal(results, "runs", asked=b"") == 409


def test_a_store_full_of_what_runs_sheds(tmp_path):
    results = IdempotentResults(tmp_path, most=1)
    results.begin("a", asked=b"")
    assert refusal(results, "b", asked=b"") == 503


def test_results_outlive_the_process_and_are_those_of_every_process(tmp_path):
    one, other = IdempotentResults(tmp_path, most=10), IdempotentResults(tmp_path, most=10)
    assert one.begin("k", asked=b"a") is None
    assert refusal(other, "k", asked=b"a") == 409
    assert refusal(other, "k", asked=b"b") == 422
    one.finish("k", Result(status=409, body=b"\xff{}"))
    assert other.begin("k", asked=b"a") == Result(status=409, body=b"\xff{}")
    assert IdempotentResults(tmp_path, most=10).begin("k", asked=b"a") == Result(status=409, body=b"\xff{}")


BEGIN = """
import sys, time
from pathlib import Path
from lowerfunnel.serving.http.idempotency import IdempotentResults
assert IdempotentResults(Path(sys.argv[1]), most=10).begin("k", asked=b"a") is None
print("begun", flush=True)
time.sleep(600)
"""


def test_what_was_killed_half_way_is_begun_anew(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", BEGIN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "begun\n"
        results = IdempotentResults(tmp_path, most=10)
        with pytest.raises(RefusalError):
            results.begin("k", asked=b"a")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert results.begin("k", asked=b"a") is None
    results.finish("k", DONE)
    assert results.begin("k", asked=b"a") == DONE


def test_of_many_threads_that_begin_at_once_one_is_the_first(tmp_path):
    results = IdempotentResults(tmp_path, most=100)
    for number in range(20):
        came, barrier = [], threading.Barrier(8)

        def begin(key=str(number), came=came, barrier=barrier):
            barrier.wait()
            try:
                came.append(results.begin(key, asked=b"a"))
            except RefusalError as error:
                came.append(error.status)

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(came, key=str) == [409] * 7 + [None]
        results.forget(str(number))
    assert len(results) == 0


def test_a_result_that_was_damaged_is_no_result(tmp_path):
    results = IdempotentResults(tmp_path, most=10)
    results.begin("k", asked=b"a")
    results.finish("k", DONE)
    (path,) = tmp_path.glob("*.json")
    path.write_text('{"asked": ')
    assert results.begin("k", asked=b"a") is None
