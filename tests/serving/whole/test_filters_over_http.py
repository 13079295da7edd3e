"""The filter language end to end: random filters over HTTP against a plain predicate over the catalogue."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving.catalogue.test_filter_language import passes

from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Choice, Filters

EXTRA = [
    {"item_id": 80_000_000, "attributes": ["country=DE", "color=red"], "price": 0.0, "advertiser_id": "fresh one"},
    {"item_id": 80_000_001, "attributes": ["country=FR", "Country=de"], "price": 12.5, "category_id": "fresh"},
    {"item_id": 80_000_002, "attributes": ["color=red", "new"], "advertiser_id": "fresh one"},
    {"item_id": 80_000_003},
    {"item_id": 2**63 - 1, "price": 1e308},
]


class Catalogue(dict):
    """Records by their ids; a failing test does not print all of them."""

    def __repr__(self):
        return f"Catalogue of {len(self)} items"


@pytest.fixture(scope="module")
def whole(start_whole):
    """A server of its own: others put items too, and delete some."""
    return start_whole()


@pytest.fixture(scope="module")
def catalogue(whole, log_items):
    """All items as records: those of the snapshot, and those put beside it."""
    whole.put(*EXTRA)
    records = [
        ItemRecord(
            item_id=item["item_id"],
            advertiser_id=item["advertiser_id"],
            category_id=item["category_id"],
            price=item["price"],
            attributes=tuple(item["attributes"] or ()),
        )
        for item in [
            *log_items,
            *({"advertiser_id": None, "category_id": None, "price": None, "attributes": (), **one} for one in EXTRA),
        ]
    ]
    yield Catalogue({record.item_id: record for record in records})
    whole.delete(*(item["item_id"] for item in EXTRA))


def choice(values):
    some = st.lists(st.sampled_from(values), max_size=6, unique=True)
    return st.fixed_dictionaries({}, optional={"allow": st.none() | some, "deny": some})


@st.composite
def bodies(draw, records):
    def of(name):
        return sorted({value for record in records.values() if (value := getattr(record, name)) is not None})

    attributes = sorted({token for record in records.values() for token in record.attributes} | {"unknown"})
    some = st.lists(st.sampled_from(attributes), max_size=2, unique=True)
    low, high = sorted(draw(st.tuples(*[st.sampled_from(of("price")) | st.floats(-10, 1e6)] * 2)))
    return draw(
        st.fixed_dictionaries(
            {},
            optional={
                "country": st.sampled_from(["DE", "FR", "US"]),
                "advertisers": choice([*of("advertiser_id"), "unknown"]),
                "categories": choice([*of("category_id"), "unknown"]),
                "items": choice([*records, 1]),
                "attributes_all": some,
                "attributes_any": some,
                "attributes_none": some,
                "least_price": st.just(low),
                "most_price": st.just(high),
                "exclude_purchased": st.booleans(),
            },
        )
    )


def filters_of(body):
    def chosen(name):
        lists = body.get(name, {})
        allow = lists.get("allow")
        return Choice(allow=None if allow is None else frozenset(allow), deny=frozenset(lists.get("deny", [])))

    return Filters(
        country=body.get("country"),
        advertisers=chosen("advertisers"),
        categories=chosen("categories"),
        items=chosen("items"),
        attributes_all=frozenset(body.get("attributes_all", [])),
        attributes_any=None if "attributes_any" not in body else frozenset(body["attributes_any"]),
        attributes_none=frozenset(body.get("attributes_none", [])),
        least_price=body.get("least_price"),
        most_price=body.get("most_price"),
    )


def check(whole, catalogue, examples):
    live = [item for item in catalogue if whole.engine.views([item])[0] is not None]
    assert len(live) == len(catalogue)
    everything = {one["item_id"] for one in whole.ask(k=1000)["candidates"]} & set(catalogue)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=bodies(catalogue), k=st.sampled_from([1, 7, 1000]))
    def holds(body, k):
        wanted = {item for item in everything if passes(catalogue[item], filters_of(body))}
        answer = whole.ask(k=k, filters=body)
        found = [one["item_id"] for one in answer["candidates"]]
        assert len(found) == len(set(found)) == min(k, len(wanted))
        assert set(found) <= wanted
        assert answer["eligible_items"] == len(wanted)
        assert answer["partial"] == (len(wanted) < k)

    holds()


def test_an_answer_holds_what_passes_a_plain_predicate_and_nothing_else(whole, catalogue):
    check(whole, catalogue, 100)


@pytest.mark.slow
def test_the_same_for_longer(whole, catalogue):
    check(whole, catalogue, 2000)
