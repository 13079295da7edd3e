"""The filter language against a predicate in plain Python, one item at a time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.serving.catalogue.explain import explain
from lowerfunnel.serving.catalogue.matching import Matching
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Choice, Filters

ADVERTISERS = ["a1", "a2", "a3", "A1"]
CATEGORIES = ["shoes", "hats"]
ATTRIBUTES = ["country=DE", "Country=fr", "country=de", "country=", "color=red", "new", "new ", "countryside=US", ""]
PRICES = [0.0, 5.0, 10.5, 100.0, 1e12]


Row = tuple[int | str, str | None, str | None, float | None, list[str]]


@st.composite
def catalogues(draw: st.DrawFn) -> list[Row]:
    fields = st.tuples(
        st.none() | st.sampled_from(ADVERTISERS),
        st.none() | st.sampled_from(CATEGORIES),
        st.none() | st.sampled_from(PRICES),
        st.lists(st.sampled_from(ATTRIBUTES), max_size=4),
    )
    drawn = draw(st.lists(fields, max_size=30))
    before = draw(st.sampled_from([0, 0, 50, 64, 130]))  # so that the drawn items meet the borders of words
    drawn = [("a1", "hats", 5.0, [])] * before + drawn
    if draw(st.booleans()):
        numbers = draw(st.permutations(range(len(drawn))))
        return [(2**53 + number, *row) for number, row in zip(numbers, drawn, strict=True)]
    return [(f"i{place}", *row) for place, row in enumerate(drawn)]


def records_of(rows: list[Row]) -> list[ItemRecord]:
    return [
        ItemRecord(item_id=item_id, advertiser_id=a, category_id=c, price=p, attributes=tuple(tokens))
        for item_id, a, c, p, tokens in rows
    ]


def choices(values: list[str] | list[int | str]) -> st.SearchStrategy[Choice]:
    some = st.frozensets(st.sampled_from([*values, "unknown", 7]), max_size=4)
    return st.builds(Choice, allow=st.none() | some, deny=some)


@st.composite
def filters_of(draw: st.DrawFn, records: list[ItemRecord]) -> Filters:
    some = st.frozensets(st.sampled_from([*ATTRIBUTES, "unknown"]), max_size=2)
    bounds = sorted(draw(st.lists(st.sampled_from([*PRICES, 7.0]), min_size=2, max_size=2)))
    return Filters(
        country=draw(st.none() | st.sampled_from(["DE", "de", "FR", "US"])),
        advertisers=draw(choices(ADVERTISERS)),
        categories=draw(choices(CATEGORIES)),
        items=draw(choices([record.item_id for record in records])),
        attributes_all=draw(some),
        attributes_any=draw(st.none() | some),
        attributes_none=draw(some),
        least_price=draw(st.none() | st.just(bounds[0])),
        most_price=draw(st.none() | st.just(bounds[1])),
        exclude_purchased=draw(st.booleans()),
    )


def lists_pass(value: object, choice: Choice) -> bool:
    return value not in choice.deny and (choice.allow is None or (value is not None and value in choice.allow))


def passes(record: ItemRecord, filters: Filters) -> bool:
    countries = [token.lower() for token in record.attributes if token.lower().startswith("country=")]
    has = set(record.attributes)
    bounded = filters.least_price is not None or filters.most_price is not None
    low = -np.inf if filters.least_price is None else filters.least_price
    high = np.inf if filters.most_price is None else filters.most_price
    return (
        (filters.country is None or not countries or f"country={filters.country.lower()}" in countries)
        and lists_pass(record.advertiser_id, filters.advertisers)
        and lists_pass(record.category_id, filters.categories)
        and lists_pass(record.item_id, filters.items)
        and filters.attributes_all <= has
        and (filters.attributes_any is None or bool(filters.attributes_any & has))
        and not filters.attributes_none & has
        and (not bounded or (record.price is not None and low <= record.price <= high))
    )


def segment_of(records: list[ItemRecord]) -> CatalogueSegment:
    return CatalogueSegment.of_records(records, "int64" if records and type(records[0].item_id) is int else "string")


@given(st.data())
def test_what_matches_is_what_a_plain_predicate_lets_pass(data: st.DataObject) -> None:
    records = records_of(data.draw(catalogues()))
    segment = segment_of(records)
    for filters in data.draw(st.lists(filters_of(records), min_size=1, max_size=3)):
        wanted = [row for row, record in enumerate(records) if passes(record, filters)]
        for _ in range(2):  # computed, then remembered
            allowed = segment.matching(filters)
            assert allowed.places().tolist() == wanted
            assert allowed.count == len(wanted)


@given(st.data())
def test_allowed_is_matching_and_eligible_and_not_excluded_and_the_rest_is_explained(data: st.DataObject) -> None:
    records = records_of(data.draw(catalogues()))
    segment = segment_of(records)
    filters = data.draw(filters_of(records))
    rows = st.lists(st.integers(0, len(records) - 1), max_size=5) if records else st.just([])
    removed, sold_out, bought = data.draw(rows), data.draw(rows), data.draw(rows)
    unfunded = data.draw(st.lists(st.sampled_from(ADVERTISERS), max_size=2))
    segment.eligibility.remove(np.array(removed, np.int64))
    segment.eligibility.set_stock([records[row].item_id for row in sold_out], in_stock=False)
    segment.eligibility.set_budget(unfunded, has_budget=False)
    purchased = np.array([*bought, -1], np.int64)
    allowed = segment.allowed(filters, excluded=purchased if filters.exclude_purchased else None)

    def why(row: int, record: ItemRecord) -> bool:
        eligible = row not in removed and row not in sold_out and record.advertiser_id not in unfunded
        return eligible and passes(record, filters) and not (filters.exclude_purchased and row in bought)

    wanted = [row for row, record in enumerate(records) if why(row, record)]
    assert allowed.places().tolist() == wanted
    assert allowed.count == len(wanted)
    every = np.array(data.draw(st.permutations(range(len(records)))), np.int64)
    explained = explain(segment, filters, every, purchased=purchased)
    places = [place for _, some in explained for place in some.tolist()]
    assert sorted(places) == sorted(set(range(len(records))) - set(wanted))
    assert len({reason for reason, _ in explained}) == len(explained)
    assert all(len(some) for _, some in explained)


SHOP = [
    ItemRecord(item_id="free", price=1.0),
    ItemRecord(item_id="german", advertiser_id="a1", category_id="hats", price=50.0, attributes=("Country=de", "new")),
    ItemRecord(item_id="dear", advertiser_id="a2", category_id="hats", price=120.0, attributes=("country=DE",)),
    ItemRecord(item_id="dearer", advertiser_id="a3", price=180.0, attributes=("country=DE", "country=FR")),
    ItemRecord(item_id="french", advertiser_id="a1", price=None, attributes=("country=FR", "used")),
    ItemRecord(item_id="nowhere", advertiser_id="a1", attributes=("country=",)),
]


def named(segment: CatalogueSegment, filters: Filters) -> list[int | str]:
    return segment.ids_of(segment.matching(filters).places())


def test_each_filter_by_hand() -> None:
    segment = segment_of(SHOP)
    assert named(segment, Filters(country="de")) == ["free", "german", "dear", "dearer"]
    assert named(segment, Filters(country="US")) == ["free"]
    assert named(segment, Filters(advertisers=Choice(allow=frozenset(["a1"])))) == ["german", "french", "nowhere"]
    assert named(segment, Filters(advertisers=Choice(deny=frozenset(["a1", "a2"])))) == ["free", "dearer"]
    assert named(segment, Filters(categories=Choice(allow=frozenset()))) == []
    assert named(segment, Filters(least_price=50.0, most_price=120.0)) == ["german", "dear"]
    assert named(segment, Filters(attributes_any=frozenset(["new", "used"]))) == ["german", "french"]
    assert named(segment, Filters(attributes_any=frozenset())) == []
    assert named(segment, Filters(attributes_none=frozenset(["country=DE"]))) == ["free", "german", "french", "nowhere"]
    assert named(segment, Filters(items=Choice(allow=frozenset(["dear", "free"]), deny=frozenset(["free"])))) == [
        "dear"
    ]


def test_reasons_name_what_took_an_item_out() -> None:
    segment = segment_of(SHOP)
    every = np.arange(len(SHOP))

    def reasons(filters: Filters, purchased: list[int] | None = None) -> dict[str, list[int | str]]:
        places = np.array(purchased or [], np.int64)
        return {why: segment.ids_of(some) for why, some in explain(segment, filters, every, purchased=places)}

    assert reasons(Filters()) == {}
    assert reasons(Filters(country="de")) == {"not sold in DE": ["french", "nowhere"]}
    assert reasons(Filters(most_price=100.0)) == {
        "no price": ["french", "nowhere"],
        "prices 120.00 to 180.00 above 100.00": ["dear", "dearer"],
    }
    assert reasons(Filters(most_price=150.0, country="DE"))["price 180.00 above 150.00"] == ["dearer"]
    assert reasons(Filters(advertisers=Choice(allow=frozenset(["a1"]), deny=frozenset(["a2"])))) == {
        "advertiser a2 is on the deny list": ["dear"],
        "no advertiser": ["free"],
        "advertiser a3 is not on the allow list": ["dearer"],
    }
    assert reasons(Filters(attributes_all=frozenset(["new"]), items=Choice(deny=frozenset(["german"])))) == {
        "lacks the attribute new": ["free", "dear", "dearer", "french", "nowhere"],
        "on the item deny list": ["german"],
    }
    assert reasons(Filters(), [0]) == {"purchased before": ["free"]}
    assert reasons(Filters(exclude_purchased=False), [0]) == {}
    segment.eligibility.set_budget(["a1"], has_budget=False)
    segment.eligibility.set_stock(["german", "free"], in_stock=False)
    segment.eligibility.remove(np.array([0]))
    assert reasons(Filters(country="FR")) == {
        "deleted": ["free"],
        "out of stock": ["german"],
        "advertiser a1 has no budget": ["french", "nowhere"],
        "not sold in FR": ["dear"],
    }


def test_answers_are_kept_until_there_is_no_room_and_not_for_huge_lists() -> None:
    segment = segment_of(SHOP)
    matching = Matching(segment.columns, cache_bytes=0)
    for bound in range(40):
        matching.matching(Filters(most_price=float(bound)))
    assert matching.kept == 16
    matching.matching(Filters())
    matching.matching(Filters(advertisers=Choice(deny=frozenset(f"x{number}" for number in range(5_000)))))
    matching.matching(Filters(most_price=39.0, items=Choice(deny=frozenset(["free"]))))
    assert matching.kept == 16
    assert matching.without_items(Filters(most_price=39.0)) is matching.without_items(Filters(most_price=39.0))


def test_a_kept_answer_cannot_be_written_to() -> None:
    segment = segment_of(SHOP)
    for filters in (Filters(), Filters(country="DE")):
        with pytest.raises(ValueError, match="read-only"):
            segment.matching(filters).word_W[0] = 0


@pytest.mark.parametrize("price", [5.0, None])
def test_every_field_of_the_filters_changes_something(price: float | None) -> None:
    plain = ItemRecord(item_id=1, advertiser_id="a", category_id="c", price=price, attributes=("country=DE",))
    segment = segment_of([plain, replace(plain, item_id=2)])
    for filters in (
        Filters(country="FR"),
        Filters(advertisers=Choice(deny=frozenset(["a"]))),
        Filters(categories=Choice(deny=frozenset(["c"]))),
        Filters(items=Choice(deny=frozenset([1]))),
        Filters(attributes_all=frozenset(["x"])),
        Filters(attributes_any=frozenset(["x"])),
        Filters(attributes_none=frozenset(["country=DE"])),
        Filters(least_price=6.0),
        Filters(most_price=4.0),
    ):
        assert segment.matching(filters).count < 2, filters


def test_lists_of_many_values_are_looked_up_as_right_as_short_ones() -> None:
    records = [
        ItemRecord(item_id=number, advertiser_id=f"a{number % 700}", attributes=(f"t{number % 900}",))
        for number in range(3_000)
    ]
    segment = segment_of(records)
    many = frozenset(f"a{number}" for number in range(0, 100_000, 2))
    found = segment.matching(Filters(advertisers=Choice(allow=many)))
    assert found.places().tolist() == [row for row in range(3_000) if row % 700 % 2 == 0]
    tokens = frozenset(f"t{number}" for number in range(500))
    assert segment.matching(Filters(attributes_any=tokens)).count == sum(row % 900 < 500 for row in range(3_000))
    denied = frozenset(range(-10, 2_990))
    assert segment.allowed(Filters(items=Choice(deny=denied))).places().tolist() == list(range(2_990, 3_000))


def test_what_is_not_here_excludes_nothing() -> None:
    segment = segment_of([ItemRecord(item_id=number) for number in range(64)])
    filters = Filters(items=Choice(deny=frozenset([64, "0"])))
    assert segment.allowed(filters, excluded=np.array([-1, 3, 3, -1])).places().tolist() == [0, 1, 2, *range(4, 64)]
