"""Where negatives come from, and how often each source is expected to draw an item.

Shape letters: I items, X examples, T ignored ads, Q their requests, C candidates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lowerfunnel.events.timeline import Int32Array, Int64Array, ragged_index

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class IgnoredAds:
    """T ads that were served and that nobody engaged with, those of one request side by side.

    Attributes:
        offsets_Q1: Ads of request q are ``offsets_Q1[q]:offsets_Q1[q + 1]``; those without a request come last, in none.
        item_T: Dense item.
        t_T: When it was served, as in a timeline.
    """

    offsets_Q1: Int64Array
    item_T: Int32Array
    t_T: Int64Array

    def __len__(self) -> int:
        return len(self.item_T)

    @classmethod
    def none(cls) -> "IgnoredAds":
        """Return no ads of no request."""
        return cls(offsets_Q1=np.zeros(1, np.int64), item_T=np.zeros(0, np.int32), t_T=np.zeros(0, np.int64))

    def of_requests(
        self, request_R: Int64Array, most: int, generator: np.random.Generator
    ) -> tuple[Int32Array, Int64Array]:
        """Return up to `most` ads of each request, drawn without replacement, and where each request's start.

        A request of -1 has none.
        """
        # Ads that are not asked for draw no random numbers: listing them changes nothing.
        has_ads_R = (request_R >= 0) & (most > 0)
        row_R = np.where(has_ads_R, request_R, 0)
        start_R = self.offsets_Q1[row_R]
        stop_R = np.where(has_ads_R, self.offsets_Q1[np.minimum(row_R + 1, len(self.offsets_Q1) - 1)], start_R)
        position_N, offsets_R1 = ragged_index(start_R, stop_R)
        owner_N = np.repeat(np.arange(len(request_R)), np.diff(offsets_R1))
        by_draw = np.lexsort((generator.random(len(position_N)), owner_N))
        kept = by_draw[np.arange(len(by_draw)) - offsets_R1[owner_N] < most]
        kept_R = np.minimum(np.diff(offsets_R1), most)
        return self.item_T[position_N[kept]], np.concatenate([np.zeros(1, np.int64), np.cumsum(kept_R)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposals:
    """Expected draws of each of I items in one batch, by source: as a positive, uniformly, as an ignored ad.

    Never clipped: an item that a source does not draw has 0 there, and is no candidate of it.
    """

    positive_I: Float64Array
    uniform: float
    hard_I: Float64Array
    request_I: Float64Array

    @classmethod
    def of(
        cls,
        *,
        item_X: Int32Array,
        batch_size: int,
        uniform: int,
        hard: int,
        request: float,
        ignored: IgnoredAds,
        items: int,
    ) -> "Proposals":
        """Count what examples and ignored ads there are; `request` is how many of its own a request sees on average."""
        share_I = np.bincount(ignored.item_T, minlength=items) / max(len(ignored), 1)
        return cls(
            positive_I=batch_size * np.bincount(item_X, minlength=items) / len(item_X),
            uniform=uniform / items,
            hard_I=hard * share_I,
            request_I=request * share_I,
        )

    def other(self, item_C: Int32Array) -> Float64Array:
        """Return the expected draws of candidates as anything but a positive."""
        other_C: Float64Array = self.uniform + self.hard_I[item_C] + self.request_I[item_C]
        return other_C

    def log_draws(
        self, positive: Int32Array, hard: Int32Array, uniform: Int32Array, own: Int32Array, *, mixture: bool
    ) -> Float64Array:
        """Return the log of the expected draws of all candidates, in this order.

        By the mixture, an item is expected as often as all sources together draw it, whichever brought it. By source,
        each candidate is corrected by its own source alone.
        """
        if mixture:
            item_C = np.concatenate([positive, hard, uniform, own])
            draws_C = self.positive_I[item_C] + self.other(item_C)
        else:
            parts = (
                self.positive_I[positive],
                self.hard_I[hard],
                np.full(len(uniform), self.uniform),
                self.request_I[own],
            )
            draws_C = np.concatenate(parts)
        log_draws_C: Float64Array = np.log(draws_C)
        return log_draws_C


class StreamingDraws:
    """How often items are drawn as positives, from the steps between their appearances while training goes on.

    With t the step, A the step at which an item was last drawn and m how often it is in this batch:
    ``r = 1 - (1 - rate)^m;  gap = (1 - r) * gap + r * (t - A) / m;  A = t``; expected draws of a batch are ``1 / gap``.

    References:
        Yi et al., RecSys 2019, algorithm 2. Unlike the paper, every item has a row of its own instead of hashed ones; an
        item drawn m times in a batch counts as m appearances, ``(t - A) / m`` steps apart, so that the mean gap of an
        item that is often drawn twice is right as well; and gaps start as if all items were drawn alike.
    """

    def __init__(self, items: int, *, batch_size: int, rate: float = 0.01, device: torch.device) -> None:
        self._rate = rate
        self.last_I = torch.zeros(items, dtype=torch.float64, device=device)
        self.gap_I = torch.full((items,), items / batch_size, dtype=torch.float64, device=device)

    def update(self, item_B: Tensor, step: int) -> None:
        """Take note of the positives of a batch; `step` counts from 1."""
        item_U, count_U = torch.unique(item_B, return_counts=True)
        gap_U = (step - self.last_I[item_U]) / count_U
        kept_U = (1.0 - self._rate) ** count_U.double()
        self.gap_I[item_U] = kept_U * self.gap_I[item_U] + (1.0 - kept_U) * gap_U
        self.last_I[item_U] = float(step)

    def draws(self, item_C: Tensor) -> Tensor:
        """Return the expected draws of candidates as positives of one batch."""
        return 1.0 / self.gap_I[item_C]
