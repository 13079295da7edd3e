"""The page as a person has it: in Chromium, with a keyboard, on a phone, in the dark, without script."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from browser import CHROMIUM, Browser, browsing
from live_server import Clock, answer_of, serving, traffic
from sample_service import Item, SampleService

from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.service import ItemView

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser; install one with: apt-get update && apt-get install -y chromium"
)

ASKED = "/?user=7&surface=search&k=12&country=DE&most_price=60"
FOCUS = """
(e => `${e.id || e.closest('[id]')?.id} ${e.tagName.toLowerCase()} ${e.textContent.trim().slice(0, 24)}`)(
  document.activeElement
)
"""
WIDE = """
[...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.unseen, .skip, pre') && !e.matches('svg *'))
  .map(e => `${e.tagName}.${e.getAttribute('class')}`)
"""

SEEN = """
(e => {
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  const there = box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight;
  return there && (style.outlineStyle !== 'none' || e.matches('input, select'));
})(document.activeElement)
"""


class Running:
    """A server with its service, its ring of answers and a clock."""

    def __init__(self, url: str, service: SampleService, recent: RecentAnswers) -> None:
        self.url, self.service, self.recent = url, service, recent


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    clock = Clock()
    recent = RecentAnswers(clock=clock)
    traffic(recent, clock, minutes=6, per_s=4)
    clock.live()
    service = SampleService()
    strange = ItemView(
        item_id=9001, title="W" * 300, price=1e9, currency="EUR", advertiser_id="A" * 200, category_id="bags"
    )
    service.add(Item(strange, frozenset()), service._vectors[service.timelines[7][0].item_id])
    service.add(
        Item(replace(strange, item_id="x" * 200, title="מנורה 👩‍👩‍👧‍👦 " * 40), frozenset()), service._vectors[9001]
    )
    with serving(service, recent) as url:
        yield Running(url, service, recent)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.look(width=1280)
    chromium.console.clear()
    chromium.requested.clear()
    return chromium


def opened(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.until("document.documentElement.dataset.ready === 'true'", "the page's script did not run")


def tab_to(browser: Browser, expression: str, *, most: int = 120) -> list[str]:
    """Press Tab until something holds of the focus; return all that had it."""
    passed = []
    for _ in range(most):
        browser.press("Tab")
        passed.append(browser.ask(FOCUS))
        if browser.ask(expression):
            return passed
    raise AssertionError(f"{expression} was not reached; the focus passed {passed}")


@pytest.mark.parametrize(
    "path", ["/", ASKED, "/?user=7&k=60", "/?user=3&k=40&advertisers=Mira+Co&categories=lamps", "/?user=nobody"]
)
def test_the_console_is_silent_and_nothing_comes_from_elsewhere(browser, running, path):
    opened(browser, running.url + path)
    assert browser.console == []
    assert {"/".join(one.split("/")[:3]) for one in browser.requested} == {running.url}
    assert browser.ask("getComputedStyle(document.querySelector('.panel')).borderRadius") == "12px"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        ASKED,
        "/?user=7&k=60&cards=2",
        "/?user=7&k=0&least_price=cheap&surface=" + "m" * 90,
        "/?subject=9001&advertisers=" + "A" * 200,
    ],
)
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_window(browser, running, path, width):
    browser.look(width=width)
    opened(browser, running.url + path)
    browser.ask("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.ask(WIDE) == []
    assert browser.ask("document.scrollingElement.scrollWidth") <= width


def test_on_a_phone_the_cards_stand_in_one_column_and_fingers_have_room(browser, running):
    browser.look(width=360)
    opened(browser, running.url + ASKED)
    lefts = browser.ask(
        "[...new Set([...document.querySelectorAll('.card')].map(e => e.getBoundingClientRect().left))]"
    )
    assert len(lefts) == 1
    heights = browser.ask(
        "[...document.querySelectorAll('#ask .fields:first-child input, #ask select, #ask button')]"
        ".map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 44


def test_the_keyboard_reaches_form_cards_timeline_and_charts_in_the_order_of_the_page(browser, running):
    opened(browser, running.url + "/?user=7&k=4")
    passed = tab_to(browser, "document.activeElement.matches('#live summary')")
    assert "Skip to the candidates" in passed[0]
    order = ["f-user", "f-surface", "f-subject", "f-query", "f-k", "ask button"]
    places = [next((n for n, name in enumerate(passed) if name.startswith(wanted + " ")), None) for wanted in order]
    assert None not in places
    assert places == sorted(places)
    kinds = browser.ask("[...document.querySelectorAll('.card h4 a, #events li a, .near summary')].length")
    titles = browser.ask("[...document.querySelectorAll('.card h4 a')].map(e => e.textContent.trim().slice(0, 24))")
    assert kinds > 20
    for title in titles:
        assert any(title in name for name in passed), title
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_every_stop_of_the_keyboard_is_seen(browser, running):
    opened(browser, running.url + "/?user=7&k=4")
    for _ in range(45):
        browser.press("Tab")
        browser.until(SEEN, "the focus cannot be seen", seconds=5)


def test_the_skip_link_leads_past_the_form(browser, running):
    opened(browser, running.url + "/?user=7&k=4")
    browser.press("Tab")
    assert browser.ask("document.activeElement.getBoundingClientRect().top") >= 0
    browser.press("Enter")
    browser.press("Tab")
    assert browser.ask("document.activeElement.closest('#answer') !== null")


def test_a_question_is_asked_by_keyboard_and_the_address_holds_it(browser, running):
    opened(browser, running.url + "/")
    tab_to(browser, "document.activeElement.id === 'f-user'")
    browser.type("12")
    tab_to(browser, "document.activeElement.id === 'f-k'")
    browser.type("3")
    browser.press("Enter")
    browser.until("document.querySelectorAll('.card').length === 3", "no candidates came")
    browser.until("location.search === '?user=12&k=3'", "the address does not say what was asked")
    browser.until("document.getElementById('said').textContent === '3 candidates for user 12. '", "nothing is said")
    assert browser.ask("document.activeElement.id") == "f-k"
    assert browser.console == []
    browser.ask("history.back()")
    browser.until("document.querySelector('.start') !== null", "going back does not show the page before")


def test_a_change_asks_at_once_and_keeps_the_focus(browser, running):
    opened(browser, running.url + "/?user=7&k=4")
    browser.ask(
        "(e => { e.focus(); e.value = 'home feed'; e.dispatchEvent(new Event('change', {bubbles: true})) })"
        "(document.getElementById('f-surface'))"
    )
    browser.until("location.search.includes('surface=home')", "a change of the surface asks nothing")
    assert browser.ask("document.activeElement.id") == "f-surface"


def test_a_wrong_field_is_told_beside_it_without_a_new_page(browser, running):
    opened(browser, running.url + "/?user=7&k=4")
    browser.ask("document.getElementById('f-k').select(); document.getElementById('f-k').focus()")
    browser.type("0")
    browser.press("Enter")
    browser.until("document.getElementById('wrong-k').textContent.includes('whole number')", "no sentence came")
    browser.until("document.getElementById('f-k').getAttribute('aria-invalid') === 'true'", "the field is not marked")
    assert browser.ask("document.getElementById('f-user').value") == "7"
    assert browser.ask("document.querySelectorAll('.card').length") == 0
    browser.ask("document.getElementById('f-k').select()")
    browser.type("5")
    browser.press("Enter")
    browser.until("document.querySelectorAll('.card').length === 5", "the right number gives no candidates")
    browser.until("!document.getElementById('wrong-k').textContent.trim()", "the sentence stays")
    browser.until("!document.getElementById('f-k').hasAttribute('aria-invalid')", "the field stays marked")


def test_a_candidate_lights_up_the_events_it_is_near_to(browser, running):
    opened(browser, running.url + "/?user=7&k=6")
    tab_to(
        browser,
        "document.activeElement.matches('.card h4 a') && document.activeElement.closest('.card').dataset.near"
        ".split(' ').some(p => document.getElementById('event-' + p))",
    )
    near = browser.ask(
        "document.activeElement.closest('.card').dataset.near.split(' ').filter(p => document.getElementById('event-' + p)).sort()"
    )
    lit = browser.ask("[...document.querySelectorAll('.lit')].map(e => e.dataset.event).sort()")
    assert lit == near != []
    browser.ask("document.querySelector('#events li:last-of-type a').focus()")
    assert browser.ask("document.querySelectorAll('.line .lit').length") == 0


def test_charts_refresh_and_an_open_table_stays_open(browser, running):
    opened(browser, running.url + "/")
    browser.ask("document.querySelector('#live details').open = true; document.querySelector('#live summary').focus()")
    before = browser.ask("document.getElementById('plot-requests').innerHTML")
    for _ in range(40):
        running.recent.observe(answer_of([1], version="fresh"), duration_s=0.5)
    browser.until(
        f"document.getElementById('plot-requests').innerHTML !== {json.dumps(before)}",
        "the charts stand still",
        seconds=15,
    )
    browser.until(
        "document.getElementById('stripes').textContent.includes('fresh')", "the new version does not show", seconds=15
    )
    assert browser.ask("document.querySelector('#live details').open") is True
    assert browser.ask("document.activeElement.tagName") == "SUMMARY"
    assert browser.console == []


def test_the_charts_can_be_paused_by_keyboard(browser, running):
    opened(browser, running.url + "/")
    tab_to(browser, "document.activeElement.id === 'pause'")
    browser.press("Space")
    assert browser.ask("document.activeElement.getAttribute('aria-pressed')") == "true"
    time.sleep(0.5)
    asked = sum("/console/live" in one for one in browser.requested)
    time.sleep(4.5)
    assert sum("/console/live" in one for one in browser.requested) == asked
    browser.press("Space")
    browser.until(lambda: sum("/console/live" in one for one in browser.requested) > asked, "the charts do not go on")


def test_a_server_that_is_gone_is_said(browser):
    with serving(SampleService(), RecentAnswers()) as url:
        opened(browser, url + "/")
    browser.until("!document.getElementById('offline').hidden", "nobody says that the server is gone")
    assert "cannot be reached" in browser.ask("document.getElementById('offline').textContent")


def test_without_script_the_form_and_the_links_work(browser, running):
    browser._send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(running.url + "/?user=7&k=4")
        browser.ask("document.getElementById('f-user').value = '12'")
        for _ in range(60):
            browser.press("Tab")
            if browser.ask("document.activeElement.matches('#ask button')"):
                break
        before = len(browser.requested)
        browser.press("Enter")
        browser.until(
            lambda: any("user=12" in one and "k=4" in one for one in browser.requested[before:]),
            "the form asks nothing",
        )
        browser.until(
            "document.querySelector('#answer-title')?.textContent === '4 candidates for user 12'",
            "no candidates came",
        )
        assert browser.ask("document.getElementById('pause').hidden")
    finally:
        browser._send("Emulation.setScriptExecutionDisabled", value=False)


CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const channels = text => {
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const clear = text => text === 'rgba(0, 0, 0, 0)';
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * linear(c[0] / 255) + 0.7152 * linear(c[1] / 255) + 0.0722 * linear(c[2] / 255);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!clear(colour)) return channels(colour);
    }
    return [255, 255, 255, 255];
  };
  const weak = [];
  let looked = 0;
  for (const e of document.querySelectorAll('main *, footer *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest('svg, .unseen, option, [hidden]') || !e.getClientRects().length) continue;
    looked += 1;
    const a = light(channels(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${e.tagName}.${e.className} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return { looked, weak: [...new Set(weak)] };
})()
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("path", [ASKED, "/?user=3&k=40&advertisers=Mira+Co&categories=lamps", "/?k=0"])
def test_text_stands_out_from_what_is_behind_it(browser, running, path, dark):
    browser.look(width=1280, dark=dark)
    opened(browser, running.url + path)
    browser.ask("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = browser.ask(CONTRAST)
    assert found["looked"] > 50
    assert found["weak"] == []
