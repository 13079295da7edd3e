import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lowerfunnel.nn.ragged import RaggedLayout, layout_of

LENGTHS = st.lists(st.integers(0, 40), max_size=60)


def offsets_of(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def layout(lengths: list[int]) -> RaggedLayout:
    return layout_of(offsets_of(lengths), sum(lengths))


@given(lengths=LENGTHS)
@settings(max_examples=60, deadline=None)
def test_each_row_of_a_group_is_one_sequence_in_order_and_each_sequence_is_in_one_row(lengths) -> None:
    entry_N1 = torch.arange(1, sum(lengths) + 1, dtype=torch.float64).unsqueeze(1)
    built = layout(lengths)
    found = []
    for group, part in zip(built.groups, built.sort(entry_N1).split(built.sizes), strict=True):
        for row, row_L in enumerate(group.rectangle(part).squeeze(2)):
            real = row_L != 0
            assert group.real_RL is None or torch.equal(group.real_RL[row], real)
            found.append(row_L[real].tolist())
    sequences = [part.squeeze(1).tolist() for part in entry_N1.split(lengths) if len(part)]
    assert sorted(found) == sequences


@given(lengths=LENGTHS)
@settings(max_examples=30, deadline=None)
def test_sorting_and_grouping_are_undone_exactly(lengths) -> None:
    x_ND = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(0))
    built = layout(lengths)
    assert torch.equal(built.unsort(built.sort(x_ND)), x_ND)
    for group, part in zip(built.groups, x_ND.split(built.sizes), strict=True):
        assert torch.equal(group.entries_of(group.rectangle(part)), part)


@given(lengths=st.lists(st.integers(0, 100), max_size=400))
@settings(max_examples=30, deadline=None)
def test_no_group_is_padded_by_more_than_an_eighth(lengths) -> None:
    for group in layout(lengths).groups:
        assert group.rows * group.length * 7 / 8 <= group.entries <= group.rows * group.length


def test_gradients_go_where_their_entries_came_from() -> None:
    lengths = [3, 0, 1, 3, 9, 8]
    x_ND = torch.randn(sum(lengths), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    built = layout(lengths)
    assert built.groups[-1].real_RL is not None

    def there_and_back(x_ND: Tensor) -> Tensor:
        parts = built.sort(x_ND).split(built.sizes)
        rectangles = [group.rectangle(part).sin() for group, part in zip(built.groups, parts, strict=True)]
        return built.unsort(torch.cat([group.entries_of(x) for group, x in zip(built.groups, rectangles, strict=True)]))

    assert torch.autograd.gradcheck(there_and_back, (x_ND.requires_grad_(),))


def test_groups_by_hand() -> None:
    # 130 * 8 and 90 * 12 entries stand alone; 16 takes in 15 and 14 but not 13; the empty ones are nowhere.
    counts = {0: 5, 1: 2, 8: 130, 11: 3, 12: 90, 13: 4, 14: 1, 15: 2, 16: 1}
    groups = layout([length for length, count in counts.items() for _ in range(count)]).groups
    assert [(group.rows, group.length) for group in groups] == [(2, 1), (130, 8), (3, 11), (90, 12), (4, 13), (4, 16)]
    assert [group.entries for group in groups] == [2, 1040, 33, 1080, 52, 14 + 2 * 15 + 16]
    assert [group.real_RL is None for group in groups] == [True] * 5 + [False]


def test_groups_are_few_where_lengths_are_many() -> None:
    assert len(layout(list(range(1, 1001))).groups) < 45


@pytest.mark.parametrize("offsets", [[1, 3], [0, 2], [0, 2, 1, 3], []])
def test_offsets_that_do_not_rise_from_zero_to_the_end_are_refused(offsets) -> None:
    with pytest.raises(ValueError, match="rise from 0 to the number of entries, 3"):
        layout_of(torch.tensor(offsets, dtype=torch.int64), 3)


def test_offsets_of_32_bits_are_legal() -> None:
    assert layout_of(offsets_of([2, 1]).int(), 3).order_N.tolist() == [2, 0, 1]
