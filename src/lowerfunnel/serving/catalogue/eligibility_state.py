"""What is known of budgets and stock, kept by id, so that a segment built later begins where the others are."""

from collections.abc import Iterable, Mapping
from threading import Lock
from weakref import WeakSet

from lowerfunnel.serving.catalogue.eligibility import Eligibility
from lowerfunnel.serving.requests import Id


class EligibilityState:
    """Advertisers without budget and items out of stock, whether a segment holds them yet or not.

    Segments that were attached follow every change. A change and an attachment never cross: a segment has either been
    attached with the change in it or is told of it. Segments are not kept alive by being attached.
    """

    def __init__(
        self, *, advertisers_without_budget: Iterable[str] = (), items_out_of_stock: Iterable[Id] = ()
    ) -> None:
        self._without_budget = set(advertisers_without_budget)
        self._out_of_stock = set(items_out_of_stock)
        self._attached: WeakSet[Eligibility] = WeakSet()
        self._lock = Lock()

    @property
    def advertisers_without_budget(self) -> frozenset[str]:
        """Who has no budget at this moment."""
        with self._lock:
            return frozenset(self._without_budget)

    @property
    def items_out_of_stock(self) -> frozenset[Id]:
        """What is out of stock at this moment."""
        with self._lock:
            return frozenset(self._out_of_stock)

    def attach(self, eligibility: Eligibility) -> None:
        """Bring a segment to the state and keep it there. Call it before the segment is served."""
        with self._lock:
            eligibility.set_budget(self._without_budget, has_budget=False)
            sold_out: set[Id] = self._out_of_stock
            if len(sold_out) > eligibility.items:  # a small segment is not to pay for all that the large one lacks
                sold_out = sold_out.intersection(eligibility.item_ids())
            eligibility.set_stock(sold_out, in_stock=False)
            self._attached.add(eligibility)

    def update(self, *, advertisers: Mapping[str, bool], items: Mapping[Id, bool]) -> None:
        """Say which advertisers have budget and which items are in stock; others stay.

        It holds in every attached segment, for every read that begins after this has returned.
        """
        funded = [advertiser for advertiser, has_budget in advertisers.items() if has_budget]
        unfunded = [advertiser for advertiser, has_budget in advertisers.items() if not has_budget]
        stocked = [item for item, in_stock in items.items() if in_stock]
        sold_out = [item for item, in_stock in items.items() if not in_stock]
        with self._lock:
            self._without_budget.difference_update(funded)
            self._without_budget.update(unfunded)
            self._out_of_stock.difference_update(stocked)
            self._out_of_stock.update(sold_out)
            for eligibility in self._attached:
                for advertiser_ids, has_budget in ((funded, True), (unfunded, False)):
                    if advertiser_ids:
                        eligibility.set_budget(advertiser_ids, has_budget=has_budget)
                for item_ids, in_stock in ((stocked, True), (sold_out, False)):
                    if item_ids:
                        eligibility.set_stock(item_ids, in_stock=in_stock)
