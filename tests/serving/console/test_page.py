"""The page over HTTP, from a service in memory that really ranks, read as a tree."""

import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import quote

import httpx
import pytest
from document import Element, read
from fastapi import Depends, HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from live_server import answer_of, serving
from sample_service import HOUR_US, NOW_US, Item, SampleService

from lowerfunnel.errors import RunError, StoreError, UnavailableError
from lowerfunnel.serving.console.settings import ConsoleConfig
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.service import CandidateService, ItemView

Get = Callable[[str], tuple[int, Element]]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[SampleService, str]]:
    service = SampleService()
    with serving(service, RecentAnswers()) as url:
        yield service, url


@pytest.fixture
def service(running: tuple[SampleService, str]) -> SampleService:
    """The service behind the server, as new."""
    fresh = SampleService()
    running[0].__dict__.clear()
    running[0].__dict__.update(fresh.__dict__)
    return running[0]


@pytest.fixture
def address(running: tuple[SampleService, str], service: SampleService) -> str:
    return running[1]


@pytest.fixture
def get(address: str) -> Iterator[Get]:
    with httpx.Client(base_url=address, timeout=30) as client:

        def get_page(path: str) -> tuple[int, Element]:
            response = client.get(path)
            return response.status_code, read(response.text)

        yield get_page


def wrongs(page: Element) -> dict[str, str]:
    """The sentences beside the fields."""
    found = {(one.attributes["id"] or "").removeprefix("wrong-"): one.text for one in page.all(class_="wrong")}
    return {name: text for name, text in found.items() if text}


def titles(page: Element) -> list[str]:
    return [card.one("h4").text for card in page.all(class_="card")]


def test_the_sample_is_a_service(service):
    assert isinstance(service, CandidateService)


def test_the_first_page_offers_users_and_asks_nothing(get, service):
    service.inspect = lambda request: pytest.fail("something was asked")
    status, page = get("/")
    assert status == 200
    links = [link.attributes["href"] for link in page.one(class_="start").all("a")]
    assert links[:2] == ["/?user=1#answer", "/?user=2#answer"]
    assert page.all(class_="card") == []


def test_every_input_has_a_label_and_the_place_of_its_sentence(get):
    _, page = get("/?user=7")
    form = page.one("form", id="ask")
    labels = {label.attributes["for"] for label in form.all("label")}
    fields = [one for one in form if one.tag in {"input", "select"}]
    assert len(fields) == 17
    for one in fields:
        assert one.attributes["id"] in labels
        assert all(page.all(id=place) for place in (one.attributes["aria-describedby"] or "").split())


def test_no_two_elements_have_one_id_and_every_reference_leads_somewhere(get):
    _, page = get("/?user=7")
    ids = [one.attributes["id"] for one in page if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for name in ("aria-labelledby", "for", "list"):
        assert {one.attributes[name] for one in page if name in one.attributes} <= set(ids)
    here = [one.attributes["href"] for one in page.all("a") if (one.attributes.get("href") or "").startswith("#")]
    assert {link[1:] for link in here} <= set(ids)


def test_the_cards_are_the_answer(get, service):
    _, page = get("/?user=7&k=6")
    inspection = service.inspect(CandidateRequest(request_id="r", k=6, user_id=7))
    assert titles(page) == [card.item.title for card in inspection.cards]
    for place, (shown, card) in enumerate(zip(page.all(class_="card"), inspection.cards, strict=True)):
        assert shown.one(class_="rank").text == f"Rank {place + 1}"
        assert shown.one(class_="price").text == f"{card.item.price:,.2f} EUR"
        assert card.item.advertiser_id in shown.one(class_="kv").text
        assert tuple(chip.text for chip in shown.one(class_="sources").all("li")) == card.candidate.sources
        assert shown.attributes["data-near"] == " ".join(str(event) for event, _ in card.nearest)
        assert shown.one(class_="score").text == f"Score {card.candidate.score:.3f}"
    bars = {
        card.candidate.sources[0]: shown
        for shown, card in reversed(list(zip(page.all(class_="card"), inspection.cards, strict=True)))
    }
    assert all(shown.one("rect", class_="fill").attributes["width"] == "100.0" for shown in bars.values())


def test_the_timeline_is_the_users_latest_first_in_pages(get, service):
    service.timelines[7] = [service.entry(100 + n % 300, "click", n) for n in range(10_000)]
    status, page = get("/?user=7&k=3")
    timeline = page.one(id="events")
    assert status == 200
    assert "10,000 events" in timeline.one("h3").text
    events = timeline.all("li")
    assert [event.attributes["data-event"] for event in events] == [str(n) for n in range(25)]
    assert [len(nav.all("a")) for nav in timeline.all("nav")] == [1, 1]
    assert "1 to 25 of 10,000" in timeline.all("nav")[0].text
    _, last = get("/?user=7&k=3&events=400")
    assert last.one(id="events").all("li")[-1].attributes["data-event"] == "9999"
    assert last.one(id="events").one("ol").attributes["start"] == "9976"
    _, beyond = get("/?user=7&k=3&events=99999")
    assert beyond.one(id="events").all("li")[-1].attributes["data-event"] == "9999"


def test_an_event_that_is_near_leads_to_its_page_of_the_timeline(get, service):
    inspection = service.inspect(CandidateRequest(request_id="r", k=48, user_id=7))
    rank, place = next((n, p) for n, card in enumerate(inspection.cards) for p, _ in card.nearest if p >= 25)
    _, page = get("/?user=7&k=48")
    link = page.all(class_="card")[rank].one("a", data_to=str(place)).attributes["href"]
    assert page.all(id=f"event-{place}") == []
    _, there = get(link.partition("#")[0])
    assert there.one(id=link.partition("#")[2]).attributes["data-event"] == str(place)


def test_candidates_come_in_pages_too(get):
    _, page = get("/?user=7&k=100")
    assert len(page.all(class_="card")) == 48
    _, last = get("/?user=7&k=100&cards=3")
    assert [card.one(class_="rank").text for card in last.all(class_="card")] == [f"Rank {n}" for n in range(97, 101)]


def test_what_the_filters_removed_is_said_with_examples(get, service):
    _, page = get("/?user=7&k=20&most_price=30")
    removed = page.one(class_="removed")
    request = CandidateRequest(
        request_id="r", k=20, user_id=7, filters=replace(CandidateRequest(request_id="r", k=1).filters, most_price=30.0)
    )
    for one in service.inspect(request).removed:
        assert f"{one.count} {one.reason}" in removed.text
        assert all(item.title in removed.text for item in one.examples)
    _, unfiltered = get("/?k=5")
    assert "Nothing" in unfiltered.one(class_="removed").text


def test_a_short_answer_says_why(get):
    _, page = get("/?user=3&k=40&advertisers=Mira+Co&categories=lamps")
    assert "partial" in [tag.text for tag in page.all(class_="tag")]
    assert (
        "may be served, and 40 were asked for. Loosen the advertisers or the categories"
        in page.one(id="answer").one(class_="warnings").text
    )
    _, empty = get("/?user=3&advertisers=nobody")
    assert "No item may be served" in empty.one(class_="none").text
    assert "Loosen the advertisers" in empty.one(id="said").text
    _, full = get("/?user=3&k=5")
    assert full.one(id="answer").all(class_="warnings") == []


def test_a_dead_store_is_said_and_the_answer_stands(get, service):
    service.degraded = ("store",)
    status, page = get("/?user=7&k=5")
    assert status == 200
    assert len(titles(page)) == 5
    assert "The store did not answer in time" in page.one(id="answer").one(class_="warnings").text
    assert "from context" in [tag.text for tag in page.all(class_="tag")]


def test_whom_the_answer_is_for(get):
    assert "The user is known" in get("/?user=7")[1].one(class_="flags").text
    assert "Nothing is known of this user" in get("/?user=99999")[1].one(class_="flags").text
    assert "No user was named: the answer rests on what everybody likes" in get("/?k=3")[1].one(class_="flags").text
    assert "on item 120" in get("/?subject=120")[1].one(class_="flags").text


def test_stages_fill_the_bar_and_are_written_out(get):
    _, page = get("/?user=7")
    stages = page.one(class_="stages")
    assert sum(float(rect.attributes["width"]) for rect in stages.all("rect")) == pytest.approx(100, abs=0.02)
    assert [item.text.split()[0] for item in stages.all("li")] == [
        "store",
        "features",
        "tower",
        "filter",
        "search",
        "blend",
        "rest",
    ]
    assert {(one.one("dt").text, one.one("dd").text) for one in page.one(class_="plans").all("div")} == {
        ("conversion", "graph"), ("engagement", "graph"), ("popular", "list"), ("fresh", "exact")
    }  # fmt: skip


def test_the_command_holds_the_request(get, address):
    _, page = get("/?user=7&k=5&country=de&advertisers=Mira+Co")
    arguments = shlex.split(page.one(id="command").text.replace("\\ ", ""))
    assert arguments[2] == f"{address}/v1/candidates"
    body = {"k": 5, "user_id": 7, "filters": {"country": "DE", "advertisers": {"allow": ["Mira Co"]}}}
    assert json.loads(arguments[arguments.index("-d") + 1]) == body
    assert json.loads(page.one(id="body").text) == body


def test_the_address_holds_the_whole_state(get):
    path = "/?user=7&surface=search&query=oak+chair&k=5&country=DE&most_price=90&purchased=keep"
    _, page = get(path)
    form = page.one("form", id="ask")
    typed = {
        one.attributes["name"]: one.attributes["value"]
        for one in form.all("input")
        if one.attributes["value"] and one.attributes.get("type") != "checkbox"
    }
    assert typed == {"user": "7", "query": "oak chair", "k": "5", "country": "DE", "most_price": "90"}
    assert [option.text for option in form.all("option") if "selected" in option.attributes] == ["search"]
    assert "checked" in form.one("input", type="checkbox").attributes
    assert "open" in form.one("details").attributes
    links = [link.attributes["href"] for link in page.one(class_="request").all("a")]
    assert links == [path]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("surface=moon", "The model knows no surface “moon”; it knows home feed, related, search."),
        ("subject=999999", "The model knows no item 999999, or does not look at what stands beside."),
    ],
)
def test_what_the_model_does_not_know_is_answered_without_and_told(get, query, sentence):
    status, page = get(f"/?user=7&k=5&{query}")
    assert status == 200
    assert wrongs(page) == {}
    assert f"{sentence} The answer is made without it." in page.one(class_="warnings").text
    assert len(page.all(class_="card")) == 5
    name = query.split("=")[1]
    assert name not in page.one(class_="flags").text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("k=0", "k"),
        ("least_price=cheap", "least_price"),
        ("subject=nothing", "subject"),
        ("country=Germany", "country"),
        ("advertisers=%22a", "advertisers"),
    ],
)
def test_wrong_input_has_one_sentence_beside_its_field_and_keeps_what_was_typed(get, query, field):
    status, page = get(f"/?user=7&{query}")
    assert status == 422
    assert list(wrongs(page)) == [field]
    entry = page.one(id=f"f-{field}")
    assert entry.attributes["aria-invalid"] == "true"
    value = entry.attributes.get("value") or next(o.text for o in entry.all("option") if "selected" in o.attributes)
    assert value == httpx.QueryParams(query)[field]
    assert page.one(id="f-user").attributes["value"] == "7"
    assert page.all(class_="card") == []
    assert len(page.all(role="alert")) == 1


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("Nothing is published yet; publish a run."),
        StoreError("The store is full."),
        RunError("The run is gone."),
    ],
)
@pytest.mark.parametrize("path", ["/", "/?user=7"])
def test_an_error_of_the_engine_is_a_sentence(get, service, error, path):
    service.broken = error
    status, page = get(path)
    assert status == 503
    assert page.one(role="alert").text == f"No answer. {error}"
    assert "Traceback" not in page.text
    status, live = get("/console/live")
    assert status == 200
    assert str(error) in live.text


def test_everything_that_is_loaded_comes_from_here_and_nothing_is_inline(address):
    with httpx.Client(base_url=address) as client:
        response = client.get("/?user=7")
        policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "no-referrer"
        page = read(response.text)
        assert page.all("style") == []
        assert all(script.text == "" for script in page.all("script"))
        assert [
            (one.tag, name) for one in page for name in one.attributes if name == "style" or name.startswith("on")
        ] == []
        loaded = [one.attributes["src"] for one in page.all("script")] + [
            one.attributes["href"] for one in page.all("link")
        ]
        assert len(loaded) == 5
        for asset in loaded:
            answer = client.get(asset)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        for nothing in ("README.md", "..%2Frouter.py", "htmx.js"):
            assert client.get(f"/console/assets/{nothing}").status_code == 404


def test_pictures_are_loaded_only_where_a_setting_allows_it(service):
    service.items[100] = Item(replace(service.items[100].view, image_url="javascript:alert(1)"), frozenset())
    with serving(service, RecentAnswers(), config=ConsoleConfig(show_images=True)) as url:
        response = httpx.get(url + "/?user=7&k=300")
        assert "img-src 'self' https:;" in response.headers["content-security-policy"]
        pictures = read(response.text).all("img")
        assert len(pictures) > 40
        assert all((one.attributes["src"] or "").startswith("https://pictures.example/") for one in pictures)
        assert {one.attributes["referrerpolicy"] for one in pictures} == {"no-referrer"}
    with serving(service, RecentAnswers()) as url:
        assert read(httpx.get(url + "/?user=7").text).all("img") == []


def test_dependencies_of_the_edge_guard_the_page_and_its_charts_and_not_the_assets(service):
    def refuse() -> None:
        raise HTTPException(429, "slower")

    with serving(service, RecentAnswers(), dependencies=[Depends(refuse)]) as url:
        assert [
            httpx.get(url + path).status_code for path in ("/", "/console/live", "/console/assets/console.css")
        ] == [429, 429, 200]


def test_a_ring_that_is_too_short_for_the_charts_is_refused_at_once(service):
    with pytest.raises(ValueError, match="look back at most 60"), serving(service, RecentAnswers(span_s=60.0)):
        pass


def test_the_live_part_replaces_exactly_what_the_page_shows(address):
    with httpx.Client(base_url=address) as client:
        page, live = read(client.get("/").text), read(client.get("/console/live").text)
    swapped = [one for one in live if one.attributes.get("hx-swap-oob") == "true"]
    assert len(swapped) == 6 * 3 + 4
    for one in swapped:
        assert page.one(one.tag, id=one.attributes["id"]) is not None
    # What can have the focus is never replaced.
    assert [one.tag for part in swapped for one in part if one.tag in {"a", "button", "summary", "input"}] == []
    assert [one for one in page if "hx-swap-oob" in one.attributes] == []


def test_charts_show_what_was_observed(service):
    clock = [1000.0]
    recent = RecentAnswers(clock=lambda: clock[0])
    for number in range(60):
        answer = answer_of([1, 2, 3], version="v7", partial=True, known_user=number % 2 == 0)
        recent.observe(answer, duration_s=0.002, advertisers=["a", "b", None])
    recent.observe_probe(0.75)
    recent.observe_shed()
    clock[0] += 2
    with serving(service, recent) as url:
        live = read(httpx.get(url + "/console/live").text)
    assert live.one(id="figure-latency").one("b").text == "2.0 ms"
    assert live.one(id="figure-requests").text == "1/s 60 answers in the last minute, 50.0% for unknown users"
    assert live.one(id="figure-recall").one("b").text == "75.0%"
    assert live.one(id="figure-shares").text == "100.0% partial, 0.0% degraded, 1.6% shed"
    assert live.one(id="figure-items").one("b").text == "3"
    assert live.one(id="figure-advertisers").one("b").text == "2"
    assert "v7 100.0% of the answers" in live.one(id="stripes").text
    assert live.one(id="table-latency").all("tr")[1].text == "now2.0 ms2.0 ms"
    assert "p50 2.0 ms" in (live.one(id="plot-latency").one("svg", role="img").attributes["aria-label"] or "")


def test_versions_are_listed_and_the_current_one_is_marked(get):
    _, page = get("/")
    versions = page.one(class_="versions").all("li", aria_current="true")
    assert [one.one(class_="name").text for one in versions] == ["2026-11-26-b41f serving now"]
    assert "published 2026-09-21 14:13:20 UTC · 300 items · recipe full" in versions[0].text


NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "שלום עולם \u202e gnp.exe",
    "👩‍👩‍👧‍👦" * 60,
    "x" * 5000,
    "\ud800 half a pair",
    "\0 nought",
    "",
]


def test_strange_items_are_shown_as_text(service):
    for number, title in enumerate(NASTY):
        view = ItemView(
            item_id=f"odd {number} '\"<",
            title=title,
            price=[0.0, 1e9, None][number % 3],
            advertiser_id=title or None,
            category_id=title or None,
        )
        service.add(Item(view, frozenset()))
    bare = ItemView(item_id=-5)
    service.add(Item(bare, frozenset()))
    service.timelines = {"<b>u</b>": []}
    service.timelines["<b>u</b>"] += [
        service.entry(i, "click", 1) for i in service.items if not isinstance(i, int) or i < 0
    ]
    service.timelines["<b>u</b>"] += [
        replace(service.entry(100, "weird <i>action</i>", 1), ts_us=ts_us, item_id="gone", item=None)
        for ts_us in (0, 10**19, NOW_US + HOUR_US)
    ]
    service.version = "<i>v</i>"
    with serving(service, RecentAnswers()) as url:
        response = httpx.get(url + "/?user=" + quote("<b>u</b>") + "&k=400")
        page = read(response.text)
        first = read(httpx.get(url + "/").text)
    assert response.status_code == 200
    assert len(page.all("script")) == 2
    assert page.all("img") == page.all("b", id="u") == page.all("i") == []
    shown = titles(page) + [one.one("a").text for one in page.one(id="events").all("li")]
    for title in (NASTY[0], NASTY[1], NASTY[2]):
        assert title in shown
    assert "Item -5" in shown
    assert "1,000,000,000" in page.text
    assert "No" not in page.one("title").text
    assert "<b>u</b>" in first.one(class_="start").text


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[SampleService, httpx.Client]]:
    service = SampleService()
    with serving(service, RecentAnswers()) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield service, client


@settings(max_examples=60)
@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_text_of_the_catalogue_becomes_markup(shared, title, advertiser, category):
    service, client = shared
    plain = read(client.get("/?subject=123&k=1").text)
    view = replace(service.items[123].view, title=title, advertiser_id=advertiser, category_id=category)
    best = service.inspect(CandidateRequest(request_id="r", k=1, subject_item_id=123)).cards[0].item.item_id
    before = service.items[best]
    service.items[best] = Item(replace(view, item_id=best), before.attributes)
    try:
        page = read(client.get("/?subject=123&k=1").text)
    finally:
        service.items[best] = before
    name = title.strip() or f"Item {best}"
    clean = name.encode("utf-8", "replace").decode()
    assert titles(page) == [" ".join(clean.split())]

    def skeleton(root: Element) -> list[str]:
        drawn = {one for svg in root.all("svg", class_="drawing") for one in map(id, svg)}
        return [one.tag for one in root.one(id="cards") if id(one) not in drawn and one.tag not in {"dt", "dd", "div"}]

    assert skeleton(page) == skeleton(plain)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(
            ["user", "surface", "subject", "query", "k", "country", "least_price", "advertisers", "events"]
        ),
        st.text(max_size=40),
        min_size=1,
    )
)
def test_whatever_is_typed_gives_a_page_that_keeps_it(shared, values):
    _, client = shared
    response = client.get("/", params=values)
    assert response.status_code in {200, 422}
    page = read(response.text)
    for one in page.one("form", id="ask").all("input"):
        if one.attributes["name"] in values:
            typed = values[one.attributes["name"]].encode("utf-8", "replace").decode().strip()
            assert (one.attributes["value"] or "").replace("\r\n", "\n").replace("\r", "\n") == typed.replace(
                "\r\n", "\n"
            ).replace("\r", "\n")
