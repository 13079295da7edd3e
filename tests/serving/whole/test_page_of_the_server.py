"""The page of a real server in Chromium: a user's answer, what it rests on, and the same by the command that it shows."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.serving.console.browser import CHROMIUM, browsing

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser; install one with: apt-get update && apt-get install -y chromium"
)

NEAR = """
[...document.querySelectorAll('.near li')].map(
  e => [Number(e.querySelector('a').dataset.to), e.querySelector('bdi').textContent]
)
"""
IDS = """
[...document.querySelectorAll('.card')].map(
  e => [...e.querySelectorAll('.kv div')].find(d => d.querySelector('dt').textContent === 'Item').querySelector('dd').textContent
)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def opened(browser, address):
    browser.open(address)
    browser.until("document.documentElement.dataset.ready === 'true'", "the page's script did not run")


def texts(browser, selector):
    return browser.ask(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent.trim())")


@pytest.fixture(scope="module")
def asked(whole, log_items):
    """The address of a request that filters take something out of."""
    best = whole.ask(user_id=whole.user, k=30)["candidates"]
    of = {item["item_id"]: item for item in log_items}
    barred = next(of[one["item_id"]]["advertiser_id"] for one in best if of[one["item_id"]]["advertiser_id"])
    price = sorted(of[one["item_id"]]["price"] for one in best)[20]
    query = {
        "user": whole.user,
        "surface": whole.surfaces[0],
        "k": 12,
        "without_advertisers": barred,
        "most_price": price,
    }
    return "/?" + "&".join(f"{name}={str(value).replace(' ', '+')}" for name, value in query.items()), barred, price


def test_a_person_sees_the_answer_what_it_rests_on_and_what_was_taken_out(whole, browser, asked, log_items):
    path, barred, _ = asked
    browser.look(width=1280)
    opened(browser, whole.address + path)
    assert browser.console == []
    titles = {item["title"] for item in log_items}
    names = texts(browser, ".card h4 a")
    assert len(names) == 12
    assert set(names) <= titles
    reasons = texts(browser, ".removed bdi")
    assert any(f"advertiser {barred} is on the deny list" == reason for reason in reasons)
    assert any("above" in reason for reason in reasons)
    entries = browser.ask(
        "Number(document.querySelector('#events-title').textContent.match(/[0-9,]+/)[0].replace(',',''))"
    )
    assert entries == len(whole.engine._store.timeline(whole.user))
    # The events beside a card are those of the timeline, counted from the latest.
    timeline = whole.engine._store.timeline(whole.user)
    of = {item["item_id"]: item["title"] for item in log_items}
    shown = browser.ask(NEAR)
    assert shown
    for place, name in shown:
        assert of[timeline.item_id[len(timeline) - 1 - place]] == name


def test_the_command_that_is_shown_gets_the_candidates_that_are_shown(whole, browser, asked):
    path, *_ = asked
    opened(browser, whole.address + path)
    command = browser.ask("document.getElementById('command').textContent")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    ids = browser.ask(IDS)
    assert [str(one["item_id"]) for one in answer["candidates"]] == ids
    assert answer["version"] in texts(browser, ".facts dd.text")


def test_the_charts_get_points_from_the_answers_of_the_server(whole, browser):
    for _ in range(100):
        whole.ask(user_id=whole.user)
    opened(browser, whole.address + "/")
    browser.until(
        "/[1-9][0-9,]* answers? in the last minute/.test(document.querySelector('.live, main').textContent)",
        "no answer is counted",
        seconds=20,
    )
    browser.until("document.querySelector('main svg polyline, main svg circle') !== null", "no point is drawn")
    assert "of the exact answer" in browser.ask("document.querySelector('main').textContent")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("query", ["", "&surface=moon&subject=999999"])
def test_nothing_is_wider_than_the_window_or_said_by_the_console(whole, browser, asked, width, query):
    path = asked[0] if not query else f"/?user={whole.user}&k=3{query}"
    browser.look(width=width)
    browser.console.clear()
    opened(browser, whole.address + path)
    assert browser.console == []
    assert browser.ask("document.scrollingElement.scrollWidth") <= width
    if query:
        warnings = texts(browser, ".warnings li")
        assert any("The model knows no surface" in one for one in warnings)
        assert any("The model knows no item 999999" in one for one in warnings)
    if "LOWERFUNNEL_SHOTS" in os.environ:
        name = f"{'unknown' if query else 'asked'}-{width}.png"
        browser.shoot(Path(os.environ["LOWERFUNNEL_SHOTS"]) / name)
