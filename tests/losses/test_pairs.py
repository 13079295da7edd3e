"""Lists of pairs against the loops that they replace."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.losses.pairs import blocks, equal_pairs, exclusions, ragged_pairs, ragged_ranges

IDS = st.lists(st.integers(-2, 4), max_size=8)


def listed(pairs: tuple[torch.Tensor, torch.Tensor]) -> list[tuple[int, int]]:
    return list(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))


def whole(values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


@given(IDS, IDS)
def test_pairs_of_equal_ids_agree_with_a_double_loop(left: list[int], right: list[int]) -> None:
    pairs = listed(equal_pairs(whole(left), whole(right)))
    assert [row for row, _ in pairs] == sorted(row for row, _ in pairs)
    assert sorted(pairs) == [(i, j) for i, x in enumerate(left) for j, y in enumerate(right) if x == y]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=6))
def test_ranges_agree_with_a_loop(ranges: list[tuple[int, int]]) -> None:
    pairs = ragged_ranges(whole([low for low, _ in ranges]), whole([count for _, count in ranges]))
    assert listed(pairs) == [(n, low + k) for n, (low, count) in enumerate(ranges) for k in range(count)]


def test_entries_of_a_ragged_list_by_hand() -> None:
    assert listed(ragged_pairs(whole([7, 8, 9]), whole([0, 2, 2, 3]))) == [(0, 7), (0, 8), (2, 9)]


@given(st.integers(0, 7), st.integers(1, 8), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=9))
def test_blocks_cover_every_row_and_every_pair_once(rows: int, block_rows: int, pairs: list[tuple[int, int]]) -> None:
    pairs = sorted(pair for pair in pairs if pair[0] < rows)
    lists = (whole([row for row, _ in pairs]), whole([column for _, column in pairs]))
    walked, seen = [], []
    for part, (own,) in blocks(rows, block_rows, [lists]):
        assert part.stop - part.start <= block_rows
        walked += range(part.start, part.stop)
        seen += [(row + part.start, column) for row, column in listed(own)]
    assert walked == list(range(rows))
    assert seen == pairs


def test_what_is_excluded_by_hand_is_listed_once() -> None:
    """Requests 0 and 2 are one user's, who bought item 5 three times; request 1 is spared 6, twice, and the absent 99."""
    found = exclusions(
        torch.tensor([5, 5, 6, 5, 6, 8]),
        row_B=whole([0, 0, 1, 2]),
        user_R=whole([3, -1, 3]),
        spared=(whole([6, 99, 6, 8, 99]), whole([0, 0, 5, 5])),
    )
    assert listed(found.pairs(6)) == [(0, 0), (0, 1), (0, 3), (1, 2), (1, 4), (1, 5), (2, 0), (2, 1), (2, 3)]
    assert listed(found.pairs(4)) == [(0, 0), (0, 1), (0, 3), (1, 2), (2, 0), (2, 1), (2, 3)]
    assert found.hold(whole([0, 0, 1, 2]), whole([3, 2, 5, 5])).tolist() == [True, False, True, False]
