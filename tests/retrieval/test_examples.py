"""Which examples are of one request, and which tasks are left."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.features.test_requests import requests_of, rows_of

from lowerfunnel.retrieval.examples import TASKS, Examples
from lowerfunnel.retrieval.settings import ObjectiveConfig

Row = tuple[int, int, int, int, list[int], int]
rows = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 1), st.integers(0, 1), st.integers(-1, 1),
        st.lists(st.integers(0, 1), max_size=2), st.integers(-1, 1),
    ),
    max_size=14,
)  # fmt: skip


def examples_of(given_rows: list[Row]) -> Examples:
    """Make one example of each (user, t, surface, subject, words, ignored); its item is its place."""
    count = len(given_rows)
    return Examples(
        user_X=np.array([row[0] for row in given_rows], np.int32),
        t_X=np.array([row[1] for row in given_rows], np.int64),
        item_X=np.arange(count, dtype=np.int32),
        action_X=np.arange(count, dtype=np.int8),
        task_X=(np.arange(count) % 2).astype(np.int8),
        weight_X=np.arange(count, dtype=np.float32),
        requests=requests_of([row[2:5] for row in given_rows]),
        ignored_X=np.array([row[5] for row in given_rows], np.int64),
    )


@given(rows)
def test_two_examples_are_of_one_request_exactly_if_they_agree_in_all_that_is_known_of_it(
    given_rows: list[Row],
) -> None:
    request = examples_of(given_rows).request_of_example().tolist()
    assert set(request) == set(range(len(set(request))))
    for one, left in zip(request, given_rows, strict=True):
        for other, right in zip(request, given_rows, strict=True):
            assert (one == other) == (left == right)


@given(rows, st.data())
def test_taking_examples_takes_every_column(given_rows: list[Row], data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, max(len(given_rows) - 1, 0)), max_size=8 * bool(given_rows)))
    whole = examples_of(given_rows)
    taken = whole.take(np.array(index, np.int64))
    for name in ("user_X", "t_X", "item_X", "action_X", "task_X", "weight_X", "ignored_X"):
        assert getattr(taken, name).tolist() == [getattr(whole, name).tolist()[place] for place in index], name
    assert rows_of(taken.requests) == [rows_of(whole.requests)[place] for place in index]


@given(rows, st.sampled_from([{"conversion": 1.0}, {"engagement": 0.1}, {"conversion": 0.0, "engagement": 2.0}]))
def test_of_tasks_with_weight_all_examples_are_left_and_no_others(
    given_rows: list[Row], weights: dict[str, float]
) -> None:
    whole = examples_of(given_rows)
    expected = [place for place, code in enumerate(whole.task_X) if weights.get(TASKS[code], 0.0) > 0]
    assert whole.of_tasks(ObjectiveConfig(task_weights=weights).learned).item_X.tolist() == expected


def test_requests_are_numbered_by_user_first_so_that_a_user_stays_together() -> None:
    given_rows = [(user, t, 0, -1, [], -1) for t in range(3) for user in (1, 0)]
    request = examples_of(given_rows).request_of_example()
    user_by_request = np.array([row[0] for row in given_rows])[np.argsort(request)]
    assert all(one <= other for one, other in pairwise(user_by_request.tolist()))
