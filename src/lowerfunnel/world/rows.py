"""Simulated events as columns, before they become Arrow tables.

Shape letter: N events. Users, items and categories are rows of the population, -1 where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.world.policy import Bools, Floats, Ints

CURRENCIES = ("USD", "EUR", "GBP")


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRows:
    """Events in columns of one length; times are microseconds after the start of the log."""

    t_us_N: Ints
    user_N: Ints
    item_N: Ints
    action_N: NDArray[np.int8]
    surface_N: NDArray[np.int8]
    """Position in `SURFACES`, -1 on an advertiser's own site."""
    request_N: Ints
    position_N: Ints
    """From 1, -1 off the platform."""
    propensity_N: Floats
    """NaN but for impressions of a policy that draws."""
    dwell_s_N: Floats
    """NaN where none is measured."""
    value_N: Floats
    """As reported, NaN where none is."""
    currency_N: NDArray[np.int8]
    """Position in `CURRENCIES`, -1 without a value."""
    context_N: Ints
    query_N: Ints
    received_us_N: Ints
    """When the platform heard of it, -1 for its own events."""
    repeats_N: Ints
    """Row of the event that this one repeats under the same id, -1 for an event of its own."""

    def __len__(self) -> int:
        return len(self.t_us_N)

    def take(self, rows: Ints | Bools | slice) -> "EventRows":
        """Return the rows at these positions, or where a mask is true; `repeats_N` goes with them as it is."""
        return EventRows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def event_rows(
    action: str,
    *,
    t_us: Ints,
    user: Ints,
    item: Ints,
    surface: NDArray[np.int8] | None = None,
    request: Ints | None = None,
    position: Ints | None = None,
    propensity: Floats | None = None,
    dwell_s: Floats | None = None,
    value: Floats | None = None,
    currency: NDArray[np.int8] | None = None,
    context: Ints | None = None,
    query: Ints | None = None,
    received_us: Ints | None = None,
) -> EventRows:
    """Make events of one action; what is left out is not known of them."""
    count = len(t_us)
    none = np.full(count, -1, dtype=np.int64)
    code = none.astype(np.int8)
    nan = np.full(count, np.nan)
    return EventRows(
        t_us_N=t_us,
        user_N=user,
        item_N=item,
        action_N=np.full(count, ACTION_CODE[action], dtype=np.int8),
        surface_N=code if surface is None else surface,
        request_N=none if request is None else request,
        position_N=none if position is None else position,
        propensity_N=nan if propensity is None else propensity,
        dwell_s_N=nan if dwell_s is None else dwell_s,
        value_N=nan if value is None else value,
        currency_N=code if currency is None else currency,
        context_N=none if context is None else context,
        query_N=none if query is None else query,
        received_us_N=none if received_us is None else received_us,
        repeats_N=none,
    )


def concatenate(parts: Sequence[EventRows]) -> EventRows:
    """Put events one after the other."""
    return EventRows(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(EventRows)}
    )
