"""The page: the same for the same data, self-contained, and safe whatever the texts in it say."""

import json
import re
import time
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from typing import Any

import pytest
from report_samples import HOSTILE, MARKUP, bare, hostile, metric_rows, sample

from lowerfunnel.page import embedded_json
from lowerfunnel.pipeline.report import ReportData, render_report
from lowerfunnel.pipeline.report.charts import spread

REPORTS: dict[str, Callable[[], ReportData]] = {
    "sample": sample,
    "bare": bare,
    "hostile": hostile,
    "synthetic": partial(sample, "synthetic"),
}
_LOADING = {"src", "href", "data", "poster", "srcset", "action", "formaction", "background", "xlink:href"}


class Elements(HTMLParser):
    """Collects elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.texts.append(data)


def parse(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    elements.close()
    return elements


def charts_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    specs: dict[str, Any] = json.loads(match[1])["specs"]
    return specs


@pytest.fixture(scope="module", params=sorted(REPORTS))
def page(request: pytest.FixtureRequest) -> str:
    return render_report(REPORTS[request.param]())


def test_the_same_data_give_the_same_page() -> None:
    assert render_report(sample()) == render_report(sample())


def test_it_survives_json() -> None:
    data = sample()
    fields = {name: getattr(data, name) for name in ReportData.__dataclass_fields__}
    assert render_report(ReportData(**json.loads(json.dumps(fields)))) == render_report(data)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attributes in parse(page).found:
        assert tag not in ("iframe", "object", "embed", "base", "img", "audio", "video")
        for name in _LOADING & attributes.keys():
            value = attributes[name] or ""
            assert value.startswith("#") or value == "data:,", (tag, name, value)
        assert "http-equiv" not in attributes or attributes["http-equiv"] == "Content-Security-Policy"
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page


def test_every_section_says_real_or_synthetic() -> None:
    for kind, other in (("real", "synthetic"), ("synthetic", "real")):
        page = render_report(REPORTS["sample" if kind == "real" else "synthetic"]())
        headings = re.findall(r"<h2 .*?</h2>", page)
        assert len(headings) >= 7
        assert all(f"{kind} data" in heading for heading in headings)
        assert f'class="badge {other}"' not in page


def test_hostile_texts_stay_texts() -> None:
    page = render_report(hostile())
    elements = parse(page)
    assert sum(tag == "script" for tag, _ in elements.found) == 3
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    shown = "".join(elements.texts)
    assert HOSTILE in shown
    assert MARKUP in shown
    assert "49" not in shown.replace("{{ 7*7 }}", "")


def test_hostile_texts_arrive_whole_in_the_charts() -> None:
    assert HOSTILE in json.dumps(charts_of(render_report(hostile()))["days"])


def test_embedded_json_has_nothing_that_html_reads() -> None:
    value = {"text": "</script><!-- & ]]> \u2028"}
    text = str(embedded_json(value))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_json([float("nan")])


def test_almost_nothing_known_is_a_short_page_that_says_so() -> None:
    page = render_report(bare())
    assert "has not been evaluated" in page
    assert "<h2" not in page
    assert charts_of(page) == {}
    assert len(page) < 60_000


def test_a_log_without_days_says_so() -> None:
    data = ReportData(title="t", data="real", model_version="m", created="now", quality={"actions": {"checkout": 5}})
    page = render_report(data)
    assert "this log has no time" in page
    assert "days" not in charts_of(page)


def test_each_part_alone_is_enough() -> None:
    full = sample()
    for name in ("facts", "rows", "training", "quality", "scores", "examples", "settings", "warnings"):
        parts: dict[str, Any] = {name: getattr(full, name)}
        render_report(ReportData(title="t", data="real", model_version="m", created="now", **parts))


def test_values_that_are_not_numbers_are_left_out() -> None:
    rows = [row | {"ci_low": float("nan"), "ci_high": None} for row in metric_rows("real")]
    rows += [{**rows[0], "metric": "recall@7", "value": float("inf")}, {**rows[0], "metric": "recall@7", "value": None}]
    page = render_report(ReportData(title="t", data="real", model_version="m", created="now", rows=rows))
    assert "NaN" not in json.dumps(charts_of(page))
    assert "Recall@7" not in page


def test_ids_beyond_2_to_53_and_strings_are_shown_as_they_are() -> None:
    data = ReportData(
        title="t",
        data="real",
        model_version="m",
        created="now",
        examples=[
            {
                "user_id": 2**53 + 1,
                "timeline": [],
                "candidates": [{"item_id": 2**63 - 1, "rank": 1, "score": 0.5}],
                "held_out": [{"item_id": "00012e5", "rank": None}],
                "depth": 500,
            }
        ],
    )
    page = render_report(data)
    for text in ("User 9007199254740993", "Item 9223372036854775807", "Item 00012e5", "not in the top 500"):
        assert text in page


def test_every_row_is_in_the_table() -> None:
    page = render_report(sample())
    lines = page.count("<tr data-task=")
    assert lines == len({(row["task"], row["slice"], row["metric"]) for row in sample().rows})


def test_names_at_the_ends_of_lines_keep_apart_and_inside() -> None:
    places = spread([0.0, 0.1, 0.1, 9.9, 10.0, 10.0], gap=1.0, top=10.0)
    assert places == [0.0, 1.0, 2.0, 8.0, 9.0, 10.0]


def test_the_oracle_stands_in_the_standings_and_the_charts() -> None:
    rows = [{**row, "model": "oracle"} if row["model"] == "als" else row for row in metric_rows("synthetic")]
    page = render_report(ReportData(title="t", data="synthetic", model_version="m", created="now", rows=rows))
    assert '<span class="tag ceiling">ceiling</span>' in page
    assert "var(--m-oracle)" in json.dumps(charts_of(page)["curves"])


def test_rendering_takes_seconds_and_the_page_is_no_burden() -> None:
    started = time.monotonic()
    page = render_report(sample())
    assert time.monotonic() - started < 10
    assert len(page) < 3_000_000
