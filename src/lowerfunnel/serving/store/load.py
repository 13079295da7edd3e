"""Many events at once, as when a store is filled from a log."""

from collections.abc import Iterable
from itertools import islice

from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.store.contract import OnlineStore

_PER_CALL = 10_000


def load_events(store: OnlineStore, events: Iterable[EventRecord]) -> int:
    """Add events, as many as there are, and return how many were new.

    Events whose users come one after the other load several times as fast as events by time.

    Raises:
        StoreError: If the store did not take one. What came before is in; to begin again from the start does no harm.
        DataError: For an event that no store can keep; what came before its ten thousand is in.
    """
    rest = iter(events)
    new = 0
    while part := list(islice(rest, _PER_CALL)):
        new += sum(store.add_events(part))
    return new
