"""A flat layout of ragged sequences in which those of similar length lie together.

Attention needs rectangles. Sorted by length, sequences of one length are a rectangle already: a slice of the flat
entries, seen as [rows, length] without a copy. Lengths too rare to pay for calls of their own share one, padded.

Shape letters: N entries, B sequences, B1 = B + 1 offsets, V entries of one group, R sequences of it, L its length.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Attention over 1024 entries of width 64, forward and backward, takes about 1 ms on one core, and a group's calls cost
# about 0.15 ms whatever its size: an eighth of padding is what a rare length may cost before it had better be alone.
_ENTRIES_ALONE = 1024
_PADDING = 1 / 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Sequences that lie together in the sorted layout and are seen as one rectangle of R rows by L entries."""

    entries: int
    """V, without padding."""
    rows: int
    """R."""
    length: int
    """L, the length of its longest sequence."""
    place_V: Int[Tensor, " V"] | None
    """Where each entry lies in the flattened rectangle; None if the entries fill it."""
    real_RL: Bool[Tensor, "R L"] | None
    """False on padding, which comes last in each row; None if there is none."""

    def rectangle(self, x_VD: Float[Tensor, "V D"]) -> Float[Tensor, "R L D"]:
        """Return the group's entries as rows, padded with zeros."""
        if self.place_V is not None:
            x_VD = x_VD.new_zeros(self.rows * self.length, x_VD.shape[1]).index_copy_(0, self.place_V, x_VD)
        return x_VD.view(self.rows, self.length, -1)

    def entries_of(self, x_RLD: Float[Tensor, "R L D"]) -> Float[Tensor, "V D"]:
        """Undo `rectangle`: return the entries that are no padding."""
        flat = x_RLD.reshape(self.rows * self.length, -1)
        return flat if self.place_V is None else flat.index_select(0, self.place_V)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RaggedLayout:
    """How to sort flat entries by the length of their sequence, and back, and the groups that they then form."""

    order_N: Int[Tensor, " N"]
    """The entry that comes to lie at each place of the sorted layout."""
    back_N: Int[Tensor, " N"]
    """The place of each entry in the sorted layout."""
    groups: tuple[Group, ...]
    """From short to long, one after another in the sorted layout; sequences without entries are in none."""

    @property
    def sizes(self) -> list[int]:
        """Entries of each group, for `torch.split`."""
        return [group.entries for group in self.groups]

    def sort(self, x_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Return the entries in the sorted layout."""
        return _copied_to(self.back_N, x_ND)

    def unsort(self, x_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Undo `sort`."""
        return _copied_to(self.order_N, x_ND)


def layout_of(offsets_B1: Int[Tensor, " B1"], entries: int) -> RaggedLayout:
    """Return the layout of sequences that begin at `offsets_B1`, on the offsets' device.

    A length that has 1024 entries or more is a group; neighbouring lengths below that share one while the shortest is
    at least 7/8 of the longest. So there are few groups, and little padding within each. Waits for the device once.

    Raises:
        ValueError: If the offsets do not rise from 0 to `entries`.
    """
    device = offsets_B1.device
    offsets_B1 = offsets_B1.to("cpu", torch.int64)
    length_B = offsets_B1.diff()
    if not len(offsets_B1) or offsets_B1[0] != 0 or offsets_B1[-1] != entries or bool((length_B < 0).any()):
        raise ValueError(f"offsets must rise from 0 to the number of entries, {entries}: {offsets_B1}")
    length_B, by_length_B = length_B.sort(stable=True)
    first_B = offsets_B1[:-1][by_length_B]
    shift_B = first_B - (length_B.cumsum(0) - length_B)
    order_N = torch.arange(entries) + shift_B.repeat_interleave(length_B)
    back_N = torch.empty_like(order_N)
    back_N[order_N] = torch.arange(entries)
    groups = []
    end = int((length_B == 0).sum())
    for rows in _rows_of_groups(length_B[end:]):
        start, end = end, end + rows
        groups.append(_group(length_B[start:end], device))
    return RaggedLayout(order_N=order_N.to(device), back_N=back_N.to(device), groups=tuple(groups))


def _rows_of_groups(length_B: Tensor) -> list[int]:
    """Return how many of the sequences, which are sorted by length, each group takes."""
    counts = length_B.bincount().tolist()
    groups: list[int] = []
    longest = None  # of the open group, which is filled from long to short
    for length, count in reversed([pair for pair in enumerate(counts) if pair[1]]):
        alone = length * count >= _ENTRIES_ALONE
        if longest is None or alone or length < (1 - _PADDING) * longest:
            groups.append(count)
            longest = None if alone else length
        else:
            groups[-1] += count
    return groups[::-1]


def _group(length_R: Tensor, device: torch.device) -> Group:
    rows, longest, entries = len(length_R), int(length_R[-1]), int(length_R.sum())
    if entries == rows * longest:
        return Group(entries=entries, rows=rows, length=longest, place_V=None, real_RL=None)
    real_RL = torch.arange(longest) < length_R.unsqueeze(1)
    place_V = real_RL.flatten().nonzero().squeeze(1)
    return Group(entries=entries, rows=rows, length=longest, place_V=place_V.to(device), real_RL=real_RL.to(device))


def _copied_to(place_N: Tensor, x_ND: Tensor) -> Tensor:
    """Return each row at the place given for it, of which there is one for each.

    Rows are moved by where they go and not by where they come from, as the gradient of the one reads rows and that of
    the other adds to them, which is two to three times as slow.
    """
    return torch.empty_like(x_ND).index_copy_(0, place_N, x_ND)
