"""The figures of the data-quality page, written out by hand, and the page itself."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from tests.events.event_logs import HEADER, build, quality_of, write

from lowerfunnel.errors import RunError
from lowerfunnel.events.quality import quality_to_dict, read_quality
from lowerfunnel.events.quality_page import render_quality
from lowerfunnel.events.settings import SourceConfig

H = 3600
DAY = 24 * H
FUNNEL = [
    (1, 10, "view", 0), (1, 10, "add_to_cart", H), (1, 10, "checkout", 2 * H),
    (1, 11, "view", DAY), (1, 11, "add_to_cart", DAY + H),
    (2, 10, "view", 0),
    (2, 12, "checkout", 3 * DAY),
    (3, 10, "view", 5), (3, 10, "checkout", 5 + 4 * H),
]  # fmt: skip


def write_log(folder, rows):
    write(folder, "events.csv", HEADER + "".join(f"{u},{i},{a},{t}\n" for u, i, a, t in rows))


@pytest.fixture
def quality(tmp_path):
    write_log(tmp_path, FUNNEL)
    write(tmp_path, "items.csv", "item_id,advertiser_id\n10,a\n11,b\n77,b\n")
    return quality_of(build(tmp_path, items=(SourceConfig(files="items.csv"),)))


def test_funnel_rates_count_user_item_pairs(quality):
    rates = {(each.origin, each.target): (each.pairs, each.rate) for each in quality.funnel}
    assert rates == {
        ("view", "add_to_cart"): (4, 2 / 4),
        ("view", "checkout"): (4, 2 / 4),
        ("add_to_cart", "checkout"): (2, 1 / 2),
    }


def test_delays_run_from_the_first_touch_of_the_same_item(quality):
    delays = {(each.origin, each.target): (each.pairs, each.median_h) for each in quality.delays}
    assert delays == {
        ("first touch", "checkout"): (2, (2 + 4) / 2),
        ("view", "checkout"): (2, (2 + 4) / 2),
        ("add_to_cart", "checkout"): (1, 1.0),
    }
    for each in quality.delays:
        assert len(each.edges_h) == len(each.counts) + 1
        assert sum(each.counts) == each.pairs
        assert list(each.edges_h) == sorted(each.edges_h)


def test_conversions_orphans_and_counts(quality):
    assert (quality.events, quality.users, quality.items, quality.advertisers) == (9, 3, 4, 2)
    assert (quality.converted_pairs, quality.converted_pairs_untouched, quality.users_with_conversion) == (3, 1, 3)
    assert (quality.items_not_in_catalogue, quality.events_not_in_catalogue, quality.catalogue_items_never_seen) == (
        1,
        1,
        1,
    )
    assert quality.events_per_user.mean == 9 / 3
    assert quality.events_per_user.quantiles["max"] == 5
    assert [(day.day, sum(day.counts.values())) for day in quality.days] == [
        ("1970-01-01", 6),
        ("1970-01-02", 2),
        ("1970-01-04", 1),
    ]
    assert "The times begin before 1990: they are relative, or time_unit is wrong." in quality.remarks


def test_long_logs_are_shown_by_weeks_that_begin_on_mondays(tmp_path):
    write_log(tmp_path, [(1, 1, "view", 1_500_000_000), (1, 1, "view", 1_550_000_000)])
    quality = quality_of(build(tmp_path))
    assert (quality.days_each, [day.day for day in quality.days]) == (7, ["2017-07-10", "2019-02-11"])


def test_what_a_log_cannot_do_is_said(tmp_path):
    write(tmp_path, "events.csv", "user_id,item_id\n1,2\n3,4\n")
    quality = quality_of(build(tmp_path, SourceConfig(files="events.csv", constants={"action": "view"})))
    assert [sentence.split(":")[0].split(" (")[0] for sentence in quality.cannot] == [
        "It has neither time nor order",
        "It has no conversions",
        "It has one action only",
        "It has no impressions",
        "It has no values",
        "It names no surfaces",
        "It has no catalogue",
        "It names no advertisers",
    ]
    assert (quality.days, quality.delays, quality.first_ts_us) == ((), (), None)


def test_a_user_who_never_rests_is_suspicious(tmp_path):
    rows = [(0, item, "view", item) for item in range(1500)] + [(user, 1, "view", user * DAY) for user in range(1, 200)]
    write_log(tmp_path, rows)
    quality = quality_of(build(tmp_path))
    assert quality.suspicious_users_count == 1
    (suspect,) = quality.suspicious_users
    assert (suspect.id, suspect.why) == (
        "0",
        "1,500 events, 1,500 of them within one hour; 99% of the users have at most 1",
    )


def test_an_advertiser_that_converts_like_no_other_is_suspicious(tmp_path):
    rows = [(user, item, "view", 1) for user in range(200) for item in (1, 2, 3, 4, 5, 6, 7, 8, 9)]
    rows += [(user, 9, "checkout", 2) for user in range(200)]
    write_log(tmp_path, rows)
    write(tmp_path, "items.csv", "item_id,advertiser_id\n" + "".join(f"{i},a{i}\n" for i in range(1, 10)))
    quality = quality_of(build(tmp_path, items=(SourceConfig(files="items.csv"),)))
    why = {each.id: each.why for each in quality.suspicious_advertisers}
    assert why["a9"] == "100.00% of its 200 user-item pairs convert, 11.11% in the whole log"


def test_quality_comes_back_from_its_file(tmp_path):
    write_log(tmp_path, FUNNEL)
    store = build(tmp_path)
    quality = read_quality(store.path)
    assert quality_to_dict(quality) == json.loads((store.path / "quality.json").read_text())
    write(store.path, "quality.json", "{}")
    with pytest.raises(RunError, match=r"quality\.json is damaged"):
        read_quality(store.path)


def page_of(quality, width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    render_quality(quality, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 100])
def test_the_page_shows_what_was_measured(tmp_path, width):
    write_log(tmp_path, [*FUNNEL * 3, (1, 1, "bought", 5), (1, 1, "view", "x")])
    table = {"item_id": [10, 11], "advertiser_id": ["a", None], "price": [1.0, None]}
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    page = page_of(quality_of(build(tmp_path, items=(SourceConfig(files="items.parquet"),))), width)
    assert max(len(line) for line in page.splitlines()) <= width
    for words in ("9 events", "18", "action is unknown", "bought (1)", "Funnel", "half within", "cannot do", "row 28"):
        assert words in page


def test_the_page_of_a_bare_log_has_no_empty_parts(tmp_path):
    write(tmp_path, "events.csv", "user_id,item_id\n1,2\n")
    page = page_of(quality_of(build(tmp_path, SourceConfig(files="events.csv", constants={"action": "view"}))))
    assert "Funnel" not in page
    assert "Delay" not in page
    assert "Rows set aside" not in page


REPORTED = """event_id,user_id,item_id,action,ts,received_ts,propensity,value
a,1,10,impression,0,,0.25,
b,1,10,checkout,3600,7200,,20
c,1,11,checkout,3600,14400,,30
d,2,10,checkout,3600,,,20
e,1,10,return,90000,93600,,20
"""


def test_delays_of_reports_propensities_and_returns_are_measured(tmp_path):
    write(tmp_path, "events.csv", REPORTED)
    quality = quality_of(build(tmp_path))
    assert quality.report_delay is not None
    assert (quality.report_delay.conversions, quality.report_delay.median_h) == (2, (1 + 3) / 2)
    assert quality.events_with_propensity == 1
    # A return is no conversion: two users bought three pairs, and half of user 1's came back.
    assert (quality.converted_pairs, quality.users_with_conversion) == (3, 2)
    rates = {(each.origin, each.target): each.rate for each in quality.funnel}
    assert rates["checkout", "return"] == pytest.approx(1 / 3)
    page = page_of(quality)
    assert "2 conversions tell when they were reported: half within 2.0 h, 90% within 2.8 h" in page
    assert "1 returns to 3 checkouts, 33.3%" in page
    assert "1 events with a propensity, 20.0% of all" in page


def test_a_log_that_tells_nothing_of_reports_has_no_such_lines(quality):
    assert (quality.report_delay, quality.events_with_propensity) == (None, 0)
    page = page_of(quality)
    assert not any(word in page for word in ("reported:", "returns to", "propensity"))


def test_a_log_of_returns_alone_has_no_conversions(tmp_path):
    write_log(tmp_path, [(1, 10, "view", 0), (1, 10, "return", H)])
    quality = quality_of(build(tmp_path))
    assert (quality.converted_pairs, quality.users_with_conversion, quality.delays) == (0, 0, ())
    assert any("no conversions" in sentence for sentence in quality.cannot)
