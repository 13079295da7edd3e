"""The shell of a page: a template of another package stands in it, and nothing it shows becomes markup."""

import json
import re
import sys
from pathlib import Path

import altair as alt
import pytest

from lowerfunnel.page import finish, inline, render_page

TEMPLATE = """\
{% extends "shell.html.j2" %}
{% from "parts.html.j2" import heading, plot with context %}
{% block content %}{{ heading("one", "A heading") }}{{ text|loud }}{{ plot("bars", 100, "bars") }}{% endblock %}
{% block footer %}<p>the end</p>{% endblock %}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with one template."""
    folder = tmp_path / "a_package_with_a_page"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "mine.html.j2").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    return folder.name


def rendered(package: str, text: str) -> str:
    bars = alt.Chart(inline([{"x": 1, "label": text}])).mark_bar().encode(x="x:Q")
    return render_page(
        "mine.html.j2",
        package=package,
        title=text,
        kind="synthetic",
        specs={"bars": finish(bars)},
        filters={"loud": lambda value: f"{value}".upper()},
        text=text,
    )


def test_a_template_fills_the_shell(package: str) -> None:
    page = rendered(package, "words")
    assert "<title>words</title>" in page
    assert '<h2 id="one">A heading <span class="badge synthetic">synthetic data</span></h2>' in page
    assert "WORDS" in page
    assert 'data-chart="bars"' in page
    assert "default-src 'none'" in page
    assert page.rstrip().endswith("</html>")


def test_markup_in_a_text_stays_text(package: str) -> None:
    page = rendered(package, "</script><b>")
    assert "</script><b>" not in page
    charts = re.search(r'id="charts">(.*?)</script>', page)
    assert charts is not None
    assert '"</script><b>"' in json.dumps(json.loads(charts[1])["specs"]["bars"])


def test_a_name_that_the_template_lacks_is_an_error(package: str) -> None:
    with pytest.raises(Exception, match="'text' is undefined"):
        render_page(
            "mine.html.j2",
            package=package,
            title="t",
            kind="real",
            specs={},
            filters={"loud": lambda value: f"{value}".upper()},
        )
