"""Why candidates did not come back: the first reason of each, in words.

Shape letters: N candidates, R candidates without a reason yet, T candidates that one check takes out.
"""

from collections.abc import Callable

import numpy as np

from lowerfunnel.index.allowed import BoolArray
from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.catalogue.postings import Postings
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.requests import Choice, Filters, Id

Reasons = list[tuple[str, Int64Array]]


def explain(
    segment: CatalogueSegment,
    filters: Filters,
    place_N: Int32Array | Int64Array,
    *,
    purchased: Int32Array | Int64Array | None = None,
) -> Reasons:
    """Say of candidates that were found without filters which of them may not come back, and why.

    A candidate counts for the first reason that holds: deleted, out of stock, no budget, country, advertiser, category,
    attributes, price, item, purchased. Candidates without a reason are left out.

    Args:
        segment: The segment of the candidates.
        filters: What the request wants; `most_per_advertiser` is the blender's, and not looked at.
        place_N: The candidates, best first.
        purchased: Places that the user has converted on, -1 for none; not looked at unless the filters leave them out.

    Returns:
        Each reason with its candidates, in the order in which they came.
    """
    columns = segment.columns
    left = _Left(np.asarray(place_N, np.int64))
    left.take(~segment.eligibility.present(left.place_R), "deleted")
    left.take(~segment.eligibility.in_stock(left.place_R), "out of stock")
    left.take_each(
        ~segment.eligibility.has_budget(left.place_R),
        lambda place_T: [
            f"advertiser {name} has no budget" for name in _names(columns.advertisers, columns.advertiser_I, place_T)
        ],
    )
    if filters.country is not None:
        country = filters.country.lower()
        here = [columns.attributes.has_code(code, left.place_R) for code in columns.country_codes.get(country, [])]
        bound = [
            columns.attributes.has_code(code, left.place_R)
            for codes in columns.country_codes.values()
            for code in codes
        ]
        left.take(_any(bound, left.place_R) & ~_any(here, left.place_R), f"not sold in {filters.country.upper()}")
    _take_by_choice(left, "advertiser", columns.advertisers, columns.advertiser_I, filters.advertisers)
    _take_by_choice(left, "category", columns.categories, columns.category_I, filters.categories)
    _take_by_attributes(left, columns.attributes, filters)
    _take_by_price(left, columns.price_I, filters)
    if filters.items.deny:
        left.take(np.isin(left.place_R, segment.places_of(filters.items.deny)), "on the item deny list")
    if filters.items.allow is not None:
        left.take(~np.isin(left.place_R, segment.places_of(filters.items.allow)), "not on the item allow list")
    if filters.exclude_purchased and purchased is not None:
        left.take(np.isin(left.place_R, purchased), "purchased before")
    return left.reasons


class _Left:
    """Candidates that have no reason yet, and the reasons of the others."""

    def __init__(self, place_R: Int64Array) -> None:
        self.place_R = place_R
        self.reasons: Reasons = []

    def take(self, fails_R: BoolArray, reason: str) -> None:
        self.take_each(fails_R, lambda place_T: [reason] * len(place_T))

    def take_each(self, fails_R: BoolArray, words_of: Callable[[Int64Array], list[str]]) -> None:
        """Take out candidates, each for the reason that `words_of` gives it."""
        if not fails_R.any():
            return
        place_T = self.place_R[fails_R]
        by_reason: dict[str, list[int]] = {}
        for reason, place in zip(words_of(place_T), place_T.tolist(), strict=True):
            by_reason.setdefault(reason, []).append(place)
        self.reasons += [(reason, np.array(places, np.int64)) for reason, places in by_reason.items()]
        self.place_R = self.place_R[~fails_R]


def _take_by_choice(left: _Left, what: str, postings: Postings, code_I: Int32Array, choice: Choice) -> None:
    def denied(place_T: Int64Array) -> list[str]:
        return [f"{what} {name} is on the deny list" for name in _names(postings, code_I, place_T)]

    def not_allowed(place_T: Int64Array) -> list[str]:
        names = _names(postings, code_I, place_T)
        return [f"no {what}" if name is None else f"{what} {name} is not on the allow list" for name in names]

    if choice.deny:
        left.take_each(np.isin(code_I[left.place_R], postings.codes(choice.deny)), denied)
    if choice.allow is not None:
        left.take_each(~np.isin(code_I[left.place_R], postings.codes(choice.allow)), not_allowed)


def _take_by_attributes(left: _Left, attributes: Postings, filters: Filters) -> None:
    for attribute in sorted(filters.attributes_all):
        left.take(~attributes.has(attribute, left.place_R), f"lacks the attribute {attribute}")
    if filters.attributes_any is not None:
        wanted = sorted(filters.attributes_any)
        found_R = _any([attributes.has(attribute, left.place_R) for attribute in wanted], left.place_R)
        left.take(~found_R, f"has none of the attributes {_listed(wanted)}" if wanted else "no attribute is allowed")
    for attribute in sorted(filters.attributes_none):
        left.take(attributes.has(attribute, left.place_R), f"has the attribute {attribute}")


def _take_by_price(left: _Left, price_I: np.ndarray[tuple[int], np.dtype[np.float64]], filters: Filters) -> None:
    def beyond(word: str, bound: float) -> Callable[[Int64Array], list[str]]:
        def words_of(place_T: Int64Array) -> list[str]:
            low, high = price_I[place_T].min(), price_I[place_T].max()
            came = f"price {low:.2f}" if low == high else f"prices {low:.2f} to {high:.2f}"
            return [f"{came} {word} {bound:.2f}"] * len(place_T)

        return words_of

    if filters.least_price is not None or filters.most_price is not None:
        left.take(np.isnan(price_I[left.place_R]), "no price")
    if filters.least_price is not None:
        left.take_each(price_I[left.place_R] < filters.least_price, beyond("below", filters.least_price))
    if filters.most_price is not None:
        left.take_each(price_I[left.place_R] > filters.most_price, beyond("above", filters.most_price))


def _names(postings: Postings, code_I: Int32Array, place_T: Int64Array) -> list[Id | None]:
    code_T = code_I[place_T]
    names = iter(postings.names.at(code_T[code_T >= 0]))
    return [next(names) if code >= 0 else None for code in code_T.tolist()]


def _any(holds: list[BoolArray], place_R: Int64Array) -> BoolArray:
    any_R: BoolArray = np.logical_or.reduce([np.zeros(len(place_R), np.bool_), *holds])
    return any_R


def _listed(names: list[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
