import math

import pytest
from document import read
from hypothesis import given
from hypothesis import strategies as st
from live_server import Clock, answer_of, traffic

from lowerfunnel.page.formats import NOTHING
from lowerfunnel.serving.console.charts import HEIGHT, LEFT, RIGHT, TOP, WIDTH, charts_of, stripes_of
from lowerfunnel.serving.console.drawing import drawing_of, initials_of
from lowerfunnel.serving.console.wording import ago, dwell, milliseconds, moment, price, score
from lowerfunnel.serving.recent import Moment, RecentAnswers
from lowerfunnel.serving.service import ItemView


def moments(count: int = 6, **said: object) -> list[Moment]:
    values = {
        "length_s": 2.0,
        "answers": 4,
        "p50_ms": 2.0,
        "p99_ms": 8.0,
        "shed": 0,
        "partial": 1,
        "degraded": 0,
        "unknown_user": 0,
        "recall": 0.99,
        "items": 50,
        "advertisers": 7,
        "versions": {"v1": 4},
        **said,
    }
    return [Moment(ago_s=(count - 1 - place) * 2.0, **values) for place in range(count)]


POSITIVE = st.none() | st.floats(0, 1e9)
SHARES = st.none() | st.floats(0, 1)


@given(
    st.lists(
        st.builds(
            Moment,
            ago_s=st.floats(0, 300),
            length_s=st.just(2.0),
            answers=st.integers(0, 10**6),
            p50_ms=POSITIVE,
            p99_ms=POSITIVE,
            shed=st.integers(0, 10**6),
            partial=st.integers(0, 3),
            degraded=st.integers(0, 3),
            unknown_user=st.integers(0, 3),
            recall=SHARES,
            items=st.none() | st.integers(0, 10**9),
            advertisers=st.none() | st.integers(0, 10**6),
            versions=st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_every_point_and_tick_lies_in_the_box_and_ticks_rise(series):
    for chart in charts_of(series, series[-3:], series[-1], stripes_of(series)):
        places = [tuple(map(float, p.split(","))) for line in chart.lines for one in line.pieces for p in one.split()]
        places += [dot for line in chart.lines for dot in line.dots]
        assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT for x, y in places)
        heights = [y for y, _ in chart.ticks]
        assert heights == sorted(heights, reverse=True)
        assert 2 <= len(heights) <= 7
        assert len({label for _, label in chart.ticks}) == len(chart.ticks)
        assert all(len(row) == len(chart.heads) for row in chart.rows)


def test_a_point_by_hand():
    series = moments(2)
    series[1] = Moment(
        **{**{name: getattr(series[1], name) for name in Moment.__slots__}, "p50_ms": 4.0, "p99_ms": 4.0}
    )
    latency = charts_of(series, series, series[-1], stripes_of(series))[0]
    assert [label for _, label in latency.ticks] == ["0 ms", "5 ms", "10 ms"]
    bottom, top = latency.ticks[0][0], latency.ticks[-1][0]
    (p50,) = latency.lines[0].pieces
    xs, ys = zip(*(map(float, point.split(",")) for point in p50.split()), strict=True)
    assert xs == (LEFT + (WIDTH - LEFT - RIGHT) / 2, WIDTH - RIGHT)
    assert ys == pytest.approx([bottom + (top - bottom) * 0.2, bottom + (top - bottom) * 0.4], abs=0.01)


def test_a_gap_stays_a_gap_and_a_lone_value_is_a_dot():
    series = [*moments(2), *moments(1, p50_ms=None), *moments(1), *moments(1, p50_ms=None)]
    line = charts_of(series, series, series[-1], stripes_of(series))[0].lines[0]
    assert len(line.pieces) == 1
    assert len(line.dots) == 1
    assert line.latest == "2.0 ms"


def test_without_traffic_a_rate_is_nought_and_the_rest_is_unknown():
    nothing = moments(
        3, answers=0, p50_ms=None, p99_ms=None, partial=0, recall=None, items=None, advertisers=None, versions={}
    )
    charts = {chart.key: chart for chart in charts_of(nothing, nothing, nothing[-1], stripes_of(nothing))}
    assert charts["requests"].figure == "0/s"
    assert charts["latency"].figure == NOTHING
    assert charts["latency"].lines[0].pieces == charts["latency"].lines[0].dots == ()
    assert "no probe" in charts["recall"].small
    assert stripes_of(nothing) == ()


def test_a_change_of_version_is_marked_on_every_chart_and_a_rest_belongs_to_the_version_before():
    series = [
        *moments(2),
        *moments(1, versions={}),
        *moments(2, versions={"v1": 1, "v2": 3}),
        *moments(1, versions={"v2": 4}),
    ]
    stripes = stripes_of(series)
    assert [stripe.version for stripe in stripes] == ["v1", "v2", "v1", "v2"]
    assert sum(stripe.width for stripe in stripes) >= WIDTH - LEFT - RIGHT
    for chart in charts_of(series, series, series[-1], stripes_of(series)):
        assert len(chart.marks) == 3
        assert "changed 3 times" in chart.words


def test_a_table_holds_the_latest_first():
    chart = charts_of(moments(6), moments(3), moments(1)[0], ())[0]
    assert [row[0] for row in chart.rows] == ["now", "2 s ago", "4 s ago"]
    assert chart.rows[0][1:] == ("2.0 ms", "8.0 ms")


def test_the_ring_that_the_server_keeps_is_drawn():
    clock = Clock()
    recent = RecentAnswers(clock=clock)
    traffic(recent, clock, minutes=6, per_s=4)
    fine = recent.series(step_s=2.0, span_s=300.0, window_s=10.0)
    stripes = stripes_of(recent.series(step_s=2.0, span_s=300.0))
    coarse, minute = recent.series(step_s=30.0, span_s=300.0), recent.series(step_s=60.0, span_s=60.0)[0]
    charts = charts_of(fine, coarse, minute, stripes)
    assert all(chart.lines[0].pieces for chart in charts)
    assert [stripe.version for stripe in stripes] == ["2026-11-25-07aa", "2026-11-26-b41f"]


@given(st.integers() | st.text(max_size=20), st.none() | st.text(max_size=40), st.none() | st.text(max_size=10))
def test_an_item_always_has_the_same_drawing_and_a_category_one_hue(item_id, title, category):
    item = ItemView(item_id=item_id, title=title, category_id=category)
    assert drawing_of(item) == drawing_of(item)
    other = ItemView(item_id="other", category_id=category)
    assert category is None or drawing_of(other).hue == drawing_of(item).hue
    assert all(map(math.isfinite, (value for mark in drawing_of(item).marks for value in mark)))
    assert len(initials_of(item)) <= 4


def test_items_can_be_told_apart():
    drawings = {drawing_of(ItemView(item_id=number, category_id="shoes")) for number in range(500)}
    assert len(drawings) == 500
    assert drawing_of(ItemView(item_id=7)) != drawing_of(ItemView(item_id="7"))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (price(0.0, "EUR"), "0.00 EUR"),
        (price(1e9, "EUR"), "1,000,000,000 EUR"),
        (price(1234.5, None), "1,234.50"),
        (price(None, "EUR"), NOTHING),
        (price(math.nan, "EUR"), NOTHING),
        (moment(1_790_000_000 * 10**6), "2026-09-21 14:13:20"),
        (moment(17), "event 17"),
        (moment(10**19), "10,000,000,000,000,000,000 µs"),
        (dwell(None), ""),
        (dwell(9.04), "9.0 s"),
        (dwell(75.0), "1 min 15 s"),
        (dwell(7300.0), "2 h 1 min"),
        (milliseconds(0.1234), "0.12 ms"),
        (milliseconds(34.5), "34 ms"),
        (score(-0.5), "-0.500"),
        (score(math.nan), "nan"),
        (score(12345.6), "1.235e+04"),
        (ago(0.2), "now"),
        (ago(90), "1 min 30 s ago"),
    ],
)
def test_figures_as_people_read_them(said, expected):
    assert said == expected


def test_answers_of_the_tests_are_read_as_html_by_the_reader_of_the_tests():
    assert read("<p>a<b>c</b></p>").one("p").text == "ac"
    for wrong in ("<p>", "</p>", "<p><b></p></b>"):
        with pytest.raises((AssertionError, IndexError)):
            read(wrong)
    assert answer_of([1]).candidates[0].item_id == 1
