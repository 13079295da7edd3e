"""The second face, OpenRTB 2.6 native."""

import json

import httpx
import pytest

from lowerfunnel.serving.http.countries import alpha_2
from lowerfunnel.serving.requests import Choice

TITLE = {"id": 1, "required": 1, "title": {"len": 90}}
IMAGE = {"id": 2, "required": 1, "img": {"type": 3, "wmin": 100, "hmin": 100}}
PRICE = {"id": 3, "required": 1, "data": {"type": 6, "len": 20}}
SPONSOR = {"id": 4, "data": {"type": 1}}
STARS = {"id": 5, "data": {"type": 3}}


def imp(*assets, imp_id="1", wrap=json.dumps, **more) -> dict:
    return {"id": imp_id, "native": {"request": wrap({"ver": "1.2", "assets": list(assets)}), "ver": "1.2"}, **more}


def ask(server, *imps, **more) -> httpx.Response:
    return server.client.post("/openrtb2", json={"id": "q", "imp": list(imps), "tmax": 5000, **more})


def bids(answer: httpx.Response) -> list[dict]:
    assert answer.status_code == 200, answer.text
    (seat,) = answer.json()["seatbid"]
    return seat["bid"]


def test_a_bid_by_hand(server):
    answer = ask(server, imp(TITLE, IMAGE, PRICE, SPONSOR, STARS), user={"id": "u-9"}, cur=["EUR", "USD"])
    (bid,) = bids(answer)
    assert answer.headers["x-openrtb-version"] == "2.6"
    assert (answer.json()["id"], answer.json()["cur"]) == ("q", "USD")
    markup = json.loads(bid.pop("adm"))
    assert bid.pop("id")
    assert bid == {"impid": "1", "price": 1.5, "adid": "lamp", "crid": "lamp", "adomain": ["shop.example"]}
    assert markup == {
        "ver": "1.2",
        "assets": [
            {"id": 1, "title": {"text": "A lamp"}},
            {"id": 2, "img": {"url": "https://shop.example/lamp.png"}},
            {"id": 3, "data": {"value": "24.99 USD"}},
            {"id": 4, "data": {"value": "shop.example"}},
        ],
        "link": {"url": "https://shop.example/items/lamp"},
    }


def test_a_native_request_may_be_an_object_and_may_lie_under_a_name_of_its_own(server):
    as_text = bids(ask(server, imp(TITLE)))
    as_object = bids(ask(server, imp(TITLE, wrap=lambda request: request)))
    wrapped = bids(ask(server, imp(TITLE, wrap=lambda request: json.dumps({"native": request}))))
    assert as_text[0]["adm"] == as_object[0]["adm"] == wrapped[0]["adm"]


def test_each_place_gets_an_item_of_its_own_that_has_what_it_needs(server):
    found = bids(ask(server, imp(TITLE, imp_id="a"), imp(TITLE, IMAGE, imp_id="b"), imp(TITLE, imp_id="c")))
    items = {bid["impid"]: bid["adid"] for bid in found}
    # The one item with an image went to the first place, as places are filled in their order.
    assert items == {"a": "lamp", "c": "sofa"}
    assert len({bid["id"] for bid in found}) == 2


def test_the_user_is_the_buyers_id_first(server):
    ask(server, imp(TITLE), user={"id": "exchange", "buyeruid": "ours"})
    assert server.service.asked[-1].user_id == "ours"
    ask(server, imp(TITLE), user={"id": "exchange"})
    assert server.service.asked[-1].user_id == "exchange"
    ask(server, imp(TITLE))
    assert server.service.asked[-1].user_id is None


def test_lists_and_country_become_filters(server):
    more = {
        "badv": ["x"],
        "wadomain": ["shop.example"],
        "bcat": ["seats"],
        "device": {"geo": {"country": "FRA"}, "ua": "x", "ext": {"anything": [1]}},
    }
    (bid,) = bids(ask(server, imp(TITLE), **more))
    filters = server.service.asked[-1].filters
    assert filters.country == "FR"
    assert filters.advertisers == Choice(allow=frozenset({"shop.example"}), deny=frozenset({"x"}))
    assert filters.categories == Choice(deny=frozenset({"seats"}))
    assert bid["adid"] == "lamp"
    assert ask(server, imp(TITLE), wadomain=["nobody"]).status_code == 204


def test_what_is_left_of_tmax_is_the_deadline(server):
    ask(server, imp(TITLE), tmax=500)
    assert 300 < server.service.asked[-1].deadline_ms <= 480
    asked = len(server.service.asked)
    assert ask(server, imp(TITLE), tmax=20).status_code == 204
    assert len(server.service.asked) == asked


@pytest.mark.parametrize(
    ("imps", "more"),
    [
        ([{"id": "1", "banner": {"w": 300, "h": 250}}], {}),
        ([imp(TITLE, bidfloor=1.51)], {}),
        ([imp(TITLE, bidfloor=0.1, bidfloorcur="EUR")], {}),
        ([imp(TITLE)], {"cur": ["EUR"]}),
        ([imp({"id": 1, "required": 1, "video": {}})], {}),
        ([imp({"id": 1, "required": 1, "data": {"type": 6, "len": 3}})], {}),
        ([imp({"id": 1, "required": 1, "data": {"type": 3}})], {}),
    ],
)
def test_no_bid_is_204_without_a_body(server, imps, more):
    answer = ask(server, *imps, **more)
    assert answer.status_code == 204
    assert answer.content == b""


def test_a_floor_that_the_price_reaches_is_no_hindrance(server):
    assert bids(ask(server, imp(TITLE, bidfloor=1.5)))


def test_a_long_title_is_cut_to_what_fits(server):
    (bid,) = bids(ask(server, imp({"id": 1, "required": 1, "title": {"len": 4}})))
    text = json.loads(bid["adm"])["assets"][0]["title"]["text"]
    assert text == "A l…"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"imp": [imp(TITLE)]}, 422),
        ({"id": "q"}, 422),
        ({"id": "q", "imp": []}, 422),
        ({"id": "q", "imp": [imp()]}, 422),
        ({"id": "q", "imp": [imp(TITLE, wrap=lambda _: "{")]}, 400),
        ({"id": "q", "imp": [imp(TITLE, wrap=lambda _: '{"assets":1,"assets":2}')]}, 400),
        ({"id": "q", "imp": [imp(TITLE)], "at": 0}, 422),
        ({"id": "q", "imp": [imp(TITLE)], "tmax": 0}, 422),
        ({"id": "q", "imp": [imp(TITLE)], "device": {"geo": {"country": "XXQ"}}}, 422),
    ],
)
def test_what_is_no_bid_request_is_refused(server, body, status):
    answer = server.client.post("/openrtb2", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"].endswith(".")


def test_without_a_price_it_says_which_setting_turns_it_on(serve):
    answer = ask(serve(), imp(TITLE))
    assert answer.status_code == 404
    assert "openrtb_cpm" in answer.json()["error"]["message"]


def test_ids_may_be_integers_in_the_log(serve):
    running = serve(openrtb_cpm=1.0, openrtb_click_url="https://x.example/{item_id}", openrtb_ids="integer")
    for text, expected in (("17", 17), ("-3", -3), ("u-17", None), ("9223372036854775808", None), ("٣", None)):
        ask(running, imp(TITLE), user={"id": text})
        assert running.service.asked[-1].user_id == expected


def test_countries():
    assert alpha_2("DEU") == "DE"
    assert alpha_2("usa") == "US"
    assert alpha_2("GBR") == "GB"
    assert alpha_2("XKX") is None
    assert alpha_2("") is None
