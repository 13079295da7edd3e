"""Which candidates are no negatives of which requests, as lists of pairs.

Such pairs are few, so listing them by sorting and searching beats comparing every request's ids with every candidate's.

Shape letters: R requests, B examples, C candidates, I distinct items among the candidates, E excluded (request, item)
pairs, S items that requests are spared, N and M entries of any list, P pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Pairs = tuple[Tensor, Tensor]
"""Places in a left and in a right list, in order of the left one."""


def ragged_ranges(low_N: Int[Tensor, " N"], count_N: Int[Tensor, " N"]) -> Pairs:
    """List the places ``low_n, ..., low_n + count_n - 1`` of every entry n, each with n."""
    before_N = count_N.cumsum(0) - count_N
    owner_P = torch.repeat_interleave(torch.arange(len(low_N), device=low_N.device), count_N)
    return owner_P, torch.arange(len(owner_P), device=low_N.device) + (low_N - before_N)[owner_P]


def equal_pairs(left_N: Int[Tensor, " N"], right_M: Int[Tensor, " M"]) -> Pairs:
    """List the pairs (place in left, place in right) of equal ids."""
    sorted_M, order_M = right_M.sort()
    low_N = torch.searchsorted(sorted_M, left_N)
    owner_P, place_P = ragged_ranges(low_N, torch.searchsorted(sorted_M, left_N, right=True) - low_N)
    return owner_P, order_M[place_P]


def ragged_pairs(entry_N: Int[Tensor, " N"], offsets_R1: Int[Tensor, " R1"]) -> Pairs:
    """List the pairs (request, entry) of a list that is ragged over the requests."""
    request_R = torch.arange(len(offsets_R1) - 1, device=entry_N.device)
    return torch.repeat_interleave(request_R, offsets_R1.diff()), entry_N


def blocks(rows: int, block_rows: int, lists: Sequence[Pairs]) -> Iterator[tuple[slice, list[Pairs]]]:
    """Walk the rows in blocks, each with its part of every list of pairs, whose rows count from the block's first."""
    edges = [*range(0, rows, block_rows), rows]
    cuts = [torch.searchsorted(row_P, torch.tensor(edges, device=row_P.device)).tolist() for row_P, _ in lists]
    for block, (start, stop) in enumerate(pairwise(edges)):
        spans = [slice(cut[block], cut[block + 1]) for cut in cuts]
        yield (
            slice(start, stop),
            [(row_P[span] - start, column_P[span]) for (row_P, column_P), span in zip(lists, spans, strict=True)],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusions:
    """The items that are no negatives of single requests."""

    rank_C: Tensor
    """Each candidate's item as its rank among the distinct ones."""
    items: int
    """How many distinct items the candidates are."""
    key_E: Tensor
    """``request * items + rank`` of every excluded pair, ascending, each once."""

    def pairs(self, columns: int) -> Pairs:
        """List the excluded (request, candidate) pairs among the leading `columns` candidates."""
        entry_P, column_P = equal_pairs(self.key_E % self.items, self.rank_C[:columns])
        return (self.key_E // self.items)[entry_P], column_P

    def hold(self, request_N: Int[Tensor, " N"], column_N: Int[Tensor, " N"]) -> Bool[Tensor, " N"]:
        """Tell which of some (request, candidate) pairs are excluded."""
        key_N = request_N * self.items + self.rank_C[column_N]
        low_N = torch.searchsorted(self.key_E, key_N)
        return torch.searchsorted(self.key_E, key_N, right=True) > low_N


def exclusions(
    item_C: Int[Tensor, " C"],
    *,
    row_B: Int[Tensor, " B"],
    user_R: Int[Tensor, " R"],
    spared: tuple[Int[Tensor, " S"], Int[Tensor, " R1"]] | None,
) -> Exclusions:
    """Find what is no negative: the positives of a request and of its user's others, and what the request is spared.

    Args:
        item_C: Item of each candidate; candidate b < B is example b's positive.
        row_B: Request of each example.
        user_R: User of each request; negative for an anonymous one, which equals nobody.
        spared: Items and where each request's start among them. Those that are no candidate do not matter.
    """
    device = item_C.device
    distinct_I, rank_C = torch.unique(item_C, return_inverse=True)
    items = len(distinct_I)
    # Requests of one user form a party; an anonymous request is a party of its own.
    request_R = torch.arange(len(user_R), device=device)
    party_R = torch.unique(user_R, return_inverse=True)[1]
    party_R = torch.where(user_R >= 0, party_R, len(user_R) + request_R)
    # Each (party, item) once: a user who bought one item a hundred times must not make 100 x 100 pairs of it.
    positive_N = torch.unique(party_R[row_B] * items + rank_C[: len(row_B)])
    request_P, place_P = equal_pairs(party_R, positive_N // items)
    key_E = request_P * items + positive_N[place_P] % items
    if spared is not None:
        owner_S, item_S = ragged_pairs(*spared)
        rank_S = torch.searchsorted(distinct_I, item_S.to(distinct_I.dtype)).clamp_(max=items - 1)
        found_S = distinct_I[rank_S] == item_S
        key_E = torch.cat([key_E, owner_S[found_S] * items + rank_S[found_S]])
    return Exclusions(rank_C=rank_C, items=items, key_E=torch.unique(key_E))
