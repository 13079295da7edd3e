"""A world's folder beside real logs."""

import json
import tomllib
from dataclasses import replace
from importlib import resources

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lowerfunnel.errors import RunError
from lowerfunnel.world import PRESETS, make_world
from lowerfunnel.world.describe import compare, describe, description_table
from lowerfunnel.world.describe.comparison import COMPARED, real_marginals
from lowerfunnel.world.describe.measure import measure_world

SMALL = replace(PRESETS["tiny"], days=8, n_users=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("described") / "world"
    make_world(SMALL, out)
    return out


@pytest.fixture(scope="module")
def description(folder):
    return describe(folder)


def test_every_compared_figure_has_real_counterparts_with_a_source_and_a_count():
    real = {(entry["set"], entry["name"]): entry for entry in real_marginals()["group"]}
    for each in COMPARED:
        assert any(each.figure in real[source, each.group]["figures"] for source in each.sources), each.name
    for entry in (*real_marginals()["group"], *real_marginals()["curve"]):
        assert entry["n"] > 0
        assert entry["note"]


def test_the_measured_counts_are_those_of_the_log(folder, description):
    events = pq.read_table(folder / "events")
    counts = {each["values"].as_py(): each["counts"].as_py() for each in pc.value_counts(events["action"])}
    assert description.measured.actions == counts
    clicks, shown = counts["click"], counts["impression"]
    assert description.measured.groups["ads"]["ctr"] == pytest.approx(clicks / shown)
    truth = pq.read_table(folder / "truth")
    assert description.measured.truth["purchases"] == len(truth)
    causes = [description.measured.truth[f"by_{cause}"] for cause in ("click", "view", "organic")]
    assert sum(causes) == pytest.approx(1.0)


def test_a_figure_is_matched_within_its_factor_and_not_beyond(description):
    (row,) = [row for row in description.comparisons if (row.group, row.figure) == ("funnel", "carts_per_view")]
    real = row.real["retailrocket"]
    for value, matched in (
        (real, True),
        (real * 1.49, True),
        (real * 1.51, False),
        (real / 1.49, True),
        (real / 1.51, False),
    ):
        groups = {**description.measured.groups, "funnel": {"carts_per_view": value}}
        (again,) = [
            each
            for each in compare(replace(description.measured, groups=groups))
            if (each.group, each.figure) == ("funnel", "carts_per_view")
        ]
        assert again.matched == matched


def test_the_page_and_the_figures_are_written_and_say_what_they_are(tmp_path, description):
    description.write(tmp_path / "new" / "out", title="small")
    written = json.loads((tmp_path / "new" / "out" / "describe.json").read_text())
    assert written["data"] == "synthetic"
    assert len(written["comparisons"]) == len(description.comparisons) > 20
    page = (tmp_path / "new" / "out" / "describe.html").read_text()
    assert "synthetic data" in page
    for row in description.comparisons:
        assert row.name in page
    assert description_table(description.comparisons).row_count == len(description.comparisons)
    # Behind this stand the charts: Vega-Lite names its schema by an address, which nothing opens.
    markup = page.split("<script")[0]
    assert "default-src 'none'" in markup
    assert "http" not in markup.replace("http-equiv", "")


def test_a_folder_without_a_world_or_with_a_damaged_one_is_named(tmp_path, folder):
    with pytest.raises(RunError, match="holds no synthetic world"):
        describe(tmp_path)
    damaged = tmp_path / "damaged"
    for name in ("events", "truth"):
        (damaged / name).mkdir(parents=True)
        for path in (folder / name).iterdir():
            (damaged / name / path.name).write_bytes(path.read_bytes())
    for name in ("items.parquet", "world.json"):
        (damaged / name).write_bytes((folder / name).read_bytes())
    day = damaged / "events" / "day-003.parquet"
    day.write_bytes(day.read_bytes()[:500])
    with pytest.raises(RunError, match="is damaged"):
        describe(damaged)
    for path in (damaged / "events").iterdir():
        path.unlink()
    with pytest.raises(RunError, match="holds no days"):
        measure_world(damaged)


def test_a_world_without_purchases_is_described_as_far_as_it_goes(tmp_path):
    quiet = replace(SMALL, n_users=30, days=2, tracking=replace(SMALL.tracking, report_share=0.0, fraud_share=0.0))
    make_world(quiet, tmp_path / "quiet")
    description = describe(tmp_path / "quiet")
    assert "funnel" not in description.measured.groups
    description.write(tmp_path / "out", title="quiet")


def test_the_real_figures_come_with_the_package():
    text = resources.files("lowerfunnel.world.describe").joinpath("real_marginals.toml").read_text()
    assert {entry["set"] for entry in tomllib.loads(text)["group"]} >= {"retailrocket", "rees46_sessions", "gowalla"}
