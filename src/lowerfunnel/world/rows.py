"""Simulated events as columns, before they become Arrow tables.

Shape letter: N events. Users, items and categories are rows of the population, -1 where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.world.population import Floats, Ints

SURFACES = ("homefeed", "related", "search")


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRows:
    """Events in columns of one length."""

    t_us_N: Ints
    """Microseconds after the start of the log."""
    user_N: Ints
    item_N: Ints
    action_N: NDArray[np.int8]
    surface_N: NDArray[np.int8]
    """Position in `SURFACES`, -1 on an advertiser's own site."""
    request_N: Ints
    position_N: Ints
    """From 1, -1 off the platform."""
    dwell_s_N: Floats
    """Seconds, NaN where none is measured."""
    value_N: Floats
    """Price paid, NaN but for checkouts."""
    context_N: Ints
    """The item that the user was looking at when related ones were asked for."""
    query_N: Ints
    """The category that was searched for."""

    def __len__(self) -> int:
        return len(self.t_us_N)

    def take(self, rows: Ints | NDArray[np.bool_]) -> "EventRows":
        """Return the rows at these positions, or where a mask is true."""
        return EventRows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def event_rows(
    action: str,
    *,
    t_us: Ints,
    user: Ints,
    item: Ints,
    dwell_s: Floats | None = None,
    value: Floats | None = None,
) -> EventRows:
    """Make events of one action off the platform."""
    count = len(t_us)
    none = np.full(count, -1, dtype=np.int64)
    return EventRows(
        t_us_N=t_us,
        user_N=user,
        item_N=item,
        action_N=np.full(count, ACTION_CODE[action], dtype=np.int8),
        surface_N=none.astype(np.int8),
        request_N=none,
        position_N=none,
        dwell_s_N=np.full(count, np.nan) if dwell_s is None else dwell_s,
        value_N=np.full(count, np.nan) if value is None else value,
        context_N=none,
        query_N=none,
    )


def concatenate(parts: Sequence[EventRows]) -> EventRows:
    """Put events one after the other."""
    return EventRows(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(EventRows)}
    )
