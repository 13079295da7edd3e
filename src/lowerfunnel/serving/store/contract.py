"""What every online store promises."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from lowerfunnel.serving.records import EligibilityChange, EventRecord, ItemChange, ItemRecord
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.user_timeline import UserTimeline


@runtime_checkable
class OnlineStore(Protocol):
    """User timelines, changed items and eligibility. Every member may be called from many threads.

    A write returns when it will outlive the process being killed at any moment, and is then seen by every read that
    begins after it. Integer and string ids are different ids: 7 is not "7". An `event_id` is remembered as long as the store.

    Raises (all methods):
        StoreError: If the store cannot be reached, has no room, or did not answer in time. A write that raises may or may
            not have happened, and may be repeated: the same event counts once.
        DataError: For a record that no store can keep exactly: an integer beyond 64 bits, half a character, a number that
            is not finite, an unknown action. Nothing of the call is written.
    """

    def add_events(self, events: Sequence[EventRecord]) -> list[bool]:
        """Add events; return for each whether it is new (False: its `event_id` was there, or came earlier in the call)."""
        ...

    def timeline(self, user_id: Id, *, before_us: int | None = None, timeout_s: float | None = None) -> UserTimeline:
        """Return all that a user did, or strictly before a point in time; empty for a user without events."""
        ...

    def put_items(self, items: Sequence[ItemRecord]) -> int:
        """Add or replace items, all or none; return the sequence of the last change."""
        ...

    def delete_items(self, item_ids: Sequence[Id]) -> int:
        """Delete items, all or none, known or not; return the sequence of the last change."""
        ...

    def items_since(self, sequence: int) -> list[ItemChange]:
        """Return the latest change of each item that changed after `sequence`, by sequence; 0 returns all."""
        ...

    def set_eligibility(self, *, advertisers: dict[str, bool], items: dict[Id, bool]) -> int:
        """Say which advertisers have budget and which items are in stock; others stay. Return the last sequence."""
        ...

    def eligibility_since(self, sequence: int) -> list[EligibilityChange]:
        """Return the latest change of each advertiser and item after `sequence`, by sequence; 0 returns all."""
        ...

    def users(self, *, limit: int) -> list[Id]:
        """Return some users who have events, for a person to pick from."""
        ...

    def ping(self, *, timeout_s: float) -> None:
        """Make sure that the store answers."""
        ...

    def close(self) -> None:
        """Release everything; no other method is called after it."""
        ...
