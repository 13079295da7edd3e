"""Who decides which ads a request is shown: the seam between the world and whatever ranks in it.

Shape letters: R requests, S slots of a request, I items of the world.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lowerfunnel.errors import PolicyError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SURFACES = ("homefeed", "related", "search")
"""Where ads are shown; a surface's position is its code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """R ad requests in order of time: all that a policy may see of them."""

    request_R: Ints
    """Number of the request, unique in a world; a policy that draws lots derives them from it."""
    t_us_R: Ints
    """Microseconds since 1970, UTC."""
    user_id_R: Ints
    surface_R: NDArray[np.int8]
    """Position in `SURFACES`."""
    context_item_id_R: Ints
    """The item that the user looks at while related ones are asked for, -1 elsewhere."""
    query_R: Ints
    """What is searched for, as a position in the world's `queries`; -1 elsewhere."""

    def __len__(self) -> int:
        return len(self.request_R)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slate:
    """What a policy shows: S different items for each of R requests, the first slot first."""

    item_id_RS: NDArray[np.integer]
    propensity_RS: Floats | None = None
    """Probability with which the item was put into its slot, given the slots before it; None for a policy that does
    not draw."""


@runtime_checkable
class Policy(Protocol):
    """Chooses ads. The same requests must get the same slate, however they are cut into calls."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    def rank(self, requests: Requests, eligible_I: Bools, slots: int) -> Slate:
        """Return `slots` different eligible items for each request.

        Args:
            requests: Requests of one hour.
            eligible_I: Of the world's items, in the order of its `item_id_I`, those on sale whose advertiser has
                budget left.
            slots: How many ads a request shows.
        """


def checked_slate(
    policy: Policy, requests: Requests, eligible_I: Bools, slots: int, *, item_id_I: Ints, limit_s: float | None
) -> tuple[Ints, Floats | None]:
    """Ask a policy and make sure of its answer.

    Args:
        policy: Whom to ask.
        requests: As in `Policy.rank`.
        eligible_I: As in `Policy.rank`.
        slots: As in `Policy.rank`.
        item_id_I: Ids of the world's items, ascending.
        limit_s: Seconds that the answer may take; None for no limit.

    Returns:
        The items as positions in `item_id_I` [R, S], and the propensities [R, S] where the policy gave them.

    Raises:
        PolicyError: If the answer is late, or holds too few, unknown, repeated or ineligible items, or propensities
            that are no probabilities.
    """
    slate = _in_time(lambda: policy.rank(requests, eligible_I, slots), policy.name, limit_s)
    who = f'the policy "{policy.name}"'
    wanted = (len(requests), slots)
    ids_RS = np.asarray(slate.item_id_RS)
    if ids_RS.shape != wanted:
        raise PolicyError(
            f"{who} returned items of shape {ids_RS.shape}; {slots} for each of {len(requests)} requests, {wanted}, were asked for"
        )
    if not np.issubdtype(ids_RS.dtype, np.integer):
        raise PolicyError(f"{who} returned item ids of type {ids_RS.dtype}; they must stay integers")
    place_RS = np.searchsorted(item_id_I, ids_RS)
    known_RS = item_id_I[np.minimum(place_RS, len(item_id_I) - 1)] == ids_RS
    if not known_RS.all():
        raise PolicyError(f"{who} returned the item {ids_RS[~known_RS][0]}, which this world does not have")
    if not eligible_I[place_RS].all():
        raise PolicyError(
            f"{who} returned the item {ids_RS[~eligible_I[place_RS]][0]}, which is not eligible: it is not on sale, or "
            "its advertiser's budget of the day is spent"
        )
    sorted_RS = np.sort(ids_RS, axis=1)
    repeated_R = (sorted_RS[:, 1:] == sorted_RS[:, :-1]).any(axis=1)
    if repeated_R.any():
        raise PolicyError(f"{who} returned an item twice for the request {requests.request_R[repeated_R][0]}")
    if slate.propensity_RS is None:
        return place_RS, None
    propensity_RS = np.asarray(slate.propensity_RS, np.float64)
    if propensity_RS.shape != wanted or not ((propensity_RS > 0) & (propensity_RS <= 1)).all():
        raise PolicyError(f"{who} returned propensities that are not all in (0, 1], one for each item")
    return place_RS, propensity_RS


def _in_time(ask: Callable[[], Slate], name: str, limit_s: float | None) -> Slate:
    if limit_s is None:
        return ask()
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        return pool.submit(ask).result(timeout=limit_s)
    except FutureTimeoutError:
        raise PolicyError(f'the policy "{name}" took longer than {limit_s:g} s for the requests of one hour') from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
