import pytest

from lowerfunnel.errors import DataError

HEADER = "\t".join(
    (
        "timestamp", "uid", "campaign", "conversion", "conversion_timestamp", "conversion_id", "attribution", "click",
        "click_pos", "click_nb", "cost", "cpo", "time_since_last_click", *(f"cat{n}" for n in range(1, 10)),
    )
)  # fmt: skip


def row(timestamp, uid, campaign, *, conversion=("0", "-1", "-1", "0"), click="0", cpo="0.25"):
    cats = "\t".join(str(1000 + n) for n in range(9))
    return "\t".join((timestamp, uid, campaign, *conversion, click, "-1", "-1", "1e-05", cpo, "-1", cats))


CONVERTED = ("1", "90061", "3087", "1")
ROWS = (
    HEADER,
    row("0", "20073966", "22589171"),
    row("10", "20073966", "884761", click="1", conversion=CONVERTED),
    row("500", "20073966", "884761", conversion=CONVERTED),
    row("600", "28929779", "884761", click="1", conversion=("1", "700", "12", "0")),
)
NAME = "criteo_attribution_dataset.tsv"


@pytest.mark.parametrize("name", [NAME, f"{NAME}.gz", f"{NAME}.zst"])
def test_one_row_becomes_up_to_three_events_and_a_conversion_counts_once(log, events, name):
    log.write(name, *ROWS)
    store = log.build("criteo_attribution")
    assert events(store, "user_id", "item_id", "action", "ts", "event_id", "value") == [
        (20073966, 22589171, "impression", "1970-01-01 00:00:00", None, None),
        (20073966, 884761, "impression", "1970-01-01 00:00:10", None, None),
        (20073966, 884761, "click", "1970-01-01 00:00:10", None, None),
        (20073966, 884761, "impression", "1970-01-01 00:08:20", None, None),
        (20073966, 884761, "checkout", "1970-01-02 01:01:01", "3087", 0.25),
        (28929779, 884761, "impression", "1970-01-01 00:10:00", None, None),
        (28929779, 884761, "click", "1970-01-01 00:10:00", None, None),
        (28929779, 884761, "checkout", "1970-01-01 00:11:40", "12", None),  # not credited to Criteo: no cost per order
    ]


def test_a_campaign_is_an_item_and_its_own_advertiser(log, items):
    log.write(NAME, *ROWS)
    store = log.build("criteo_attribution")
    assert items(store, "item_id", "advertiser_id") == [(884761, "884761"), (22589171, "22589171")]


@pytest.mark.parametrize(("clicked", "campaign", "value"), [("50", 50, 0.25), ("60", 60, 0.5), (None, 60, 0.5)])
def test_one_conversion_of_two_campaigns_goes_to_the_last_clicked_else_to_the_last(
    log, events, clicked, campaign, value
):
    rows = [
        row(time, "7", each, conversion=CONVERTED, cpo=cpo, click=str(int(each == clicked)))
        for time, each, cpo in (("9", "50", "0.25"), ("10", "60", "0.5"))
    ]
    log.write(NAME, HEADER, *rows)
    store = log.build("criteo_attribution")
    checkouts = [row for row in events(store, "action", "item_id", "event_id", "value") if row[0] == "checkout"]
    assert checkouts == [("checkout", campaign, "3087", value)]


def test_bad_rows_are_set_aside_with_their_reasons(log, events, quarantined):
    log.write(
        NAME,
        *ROWS[:2],
        row("x", "7", "50"),
        row("1", "7", "50", click="2"),
        row("2", "7", "50", conversion=("yes", "9", "9", "1")),
        row("3", "7", "50", conversion=("1", "-1", "13", "0")),
        row("4", "7", "50", conversion=("1", "5", "14", "1"), cpo="-0.1"),
    )
    store = log.build("criteo_attribution")
    assert events(store, "user_id", "ts", "action") == [
        (7, "1970-01-01 00:00:02", "impression"),
        (7, "1970-01-01 00:00:03", "impression"),
        (7, "1970-01-01 00:00:04", "impression"),
        (20073966, "1970-01-01 00:00:00", "impression"),
    ]
    assert quarantined(store) == [
        ("events", "action is unknown", "click=2"),
        ("events", "action is unknown", "conversion=yes"),
        ("events", "ts cannot be read as a time", "x"),
        ("events", "ts is missing", None),
        ("events", "value is negative", "-0.1"),
    ]


def test_a_file_with_commas_is_refused(log):
    log.write(NAME, *(line.replace("\t", ",") for line in ROWS))
    with pytest.raises(DataError, match=rf"{NAME} lacks timestamp, uid, campaign"):
        log.build("criteo_attribution")
