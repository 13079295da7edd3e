"""Settings of the edge."""

from dataclasses import fields

import pytest

from lowerfunnel.serving.http.settings import HttpConfig


def test_the_defaults_are_legal():
    HttpConfig()


@pytest.mark.parametrize("name", [f.name for f in fields(HttpConfig) if f.type in (int, float)])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_no_number_is_negative_or_none(name, value):
    with pytest.raises(ValueError, match=name):
        HttpConfig(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"openrtb_cpm": 1.0},
        {"openrtb_cpm": 1.0, "openrtb_click_url": "https://x.example/"},
        {"openrtb_cpm": 0.0, "openrtb_click_url": "https://x.example/{item_id}"},
        {"openrtb_cpm": float("inf"), "openrtb_click_url": "https://x.example/{item_id}"},
    ],
)
def test_a_bid_needs_a_price_and_a_place_to_lead_to(settings):
    with pytest.raises(ValueError, match="openrtb_"):
        HttpConfig(**settings)
