"""Filters that no item could be asked for are refused with one sentence."""

import pytest

from lowerfunnel.serving.requests import Filters


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"country": "DEU"}, "country must be two letters such as 'DE', got 'DEU'"),
        ({"country": "D1"}, "country must be two letters"),
        ({"country": "ÄÖ"}, "country must be two letters"),
        ({"country": ""}, "country must be two letters"),
        ({"least_price": float("nan")}, "least_price must be a finite number, got nan"),
        ({"most_price": float("inf")}, "most_price must be a finite number, got inf"),
        ({"least_price": 2.0, "most_price": 1.0}, "least_price must not be above most_price, got 2.0 and 1.0"),
        ({"most_per_advertiser": 0}, "most_per_advertiser must be at least 1, got 0"),
    ],
)
def test_filters_that_make_no_sense_are_refused(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Filters(**given)  # type: ignore[arg-type]


def test_the_edges_of_what_makes_sense_are_taken() -> None:
    Filters(country="de", least_price=1.0, most_price=1.0, most_per_advertiser=1)
    Filters(least_price=-1.0, most_price=0.0, attributes_any=frozenset())
