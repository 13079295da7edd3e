"""Results kept for a repeat."""

import pytest

from lowerfunnel.serving.http.idempotency import IdempotentResults, Result
from lowerfunnel.serving.http.refusals import RefusalError

DONE = Result(status=200, body=b"{}")


def test_a_repeat_gets_the_first_result():
    results = IdempotentResults(most=10)
    assert results.begin("k", asked=b"a") is None
    results.finish("k", DONE)
    assert results.begin("k", asked=b"a") is DONE
    assert results.begin("other", asked=b"a") is None


def test_a_repeat_that_asks_for_something_else_is_refused():
    results = IdempotentResults(most=10)
    results.begin("k", asked=b"a")
    with pytest.raises(RefusalError) as caught:
        results.begin("k", asked=b"b")
    assert caught.value.status == 422


def test_a_repeat_while_the_first_runs_is_told_to_come_again():
    results = IdempotentResults(most=10)
    results.begin("k", asked=b"a")
    with pytest.raises(RefusalError) as caught:
        results.begin("k", asked=b"a")
    assert caught.value.status == 409
    results.forget("k")
    assert results.begin("k", asked=b"a") is None


def test_the_oldest_result_makes_room_and_what_runs_never_does():
    results = IdempotentResults(most=3)
    results.begin("runs", asked=b"")
    for number in range(100):
        assert results.begin(f"{number}", asked=b"") is None
        results.finish(f"{number}", DONE)
        assert len(results) <= 3
    assert results.begin("99", asked=b"") is DONE
    assert results.begin("98", asked=b"") is DONE
    assert results.begin("97", asked=b"") is None
    with pytest.raises(RefusalError) as caught:
        results.begin("runs", asked=b"")
    assert caught.value.status == 409


def test_a_store_full_of_what_runs_sheds():
    results = IdempotentResults(most=1)
    results.begin("a", asked=b"")
    with pytest.raises(RefusalError) as caught:
        results.begin("b", asked=b"")
    assert caught.value.status == 503
