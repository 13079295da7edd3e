"""What each step is made from: a changed setting changes its own step and what follows, and nothing before."""

import pytest

from lowerfunnel.config import apply_overrides, load_settings
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.fingerprints import OUTPUTS, STEPS, fingerprints, import_fingerprint, log_fingerprint
from lowerfunnel.pipeline.recipe import Recipe

RECIPE = {"name": "x", "world": {"n_users": 10}, "log": {"events": [{"files": "events.parquet"}]}}


def made(*overrides):
    recipe = load_settings(Recipe, apply_overrides(RECIPE, overrides), source="test")
    return fingerprints(recipe, import_fingerprint(log_fingerprint(recipe, None)))


def test_the_steps_are_those_of_the_design():
    assert STEPS == ("import", "label", "train", "index", "evaluate", "report")
    assert tuple(made()) == STEPS
    assert len({output for outputs in OUTPUTS.values() for output in outputs}) == sum(map(len, OUTPUTS.values()))


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("world.n_users=11", "import"),
        ("world.seed=1", "import"),
        ("log.buckets=3", "import"),
        ("log.events.0.time_unit=ms", "import"),
        ("seed=1", "label"),
        ("labels.weights.checkout=2.0", "label"),
        ("labels.exclude_purchased=false", "label"),
        ("labels.split.gap_h=1", "label"),
        ("retrieval.tower.width=8", "train"),
        ("retrieval.objective.temperature=0.2", "train"),
        ("training.epochs=1", "train"),
        ("training.threads=1", "train"),
        ("evaluation.headline=ndcg@10", "train"),
        ("evaluation.validation_users=10", "train"),
        ("index.kind=faiss_hnsw", "index"),
        ("index.hnsw_links=8", "index"),
        ("evaluation.ks=[3, 100]", "evaluate"),
        ("evaluation.floors=[]", "evaluate"),
        ("evaluation.bootstrap=200", "evaluate"),
        ("evaluation.cold_at_most=1", "evaluate"),
        ("name=y", "report"),
        ("description=y", "report"),
    ],
)
def test_a_setting_changes_its_step_and_what_follows(override, first):
    before, after = made(), made(override)
    changed = [step for step in STEPS if before[step] != after[step]]
    assert changed == list(STEPS[STEPS.index(first) :])


def test_equal_settings_are_made_from_the_same():
    assert made() == made("training.epochs=20", "retrieval.objective.temperature=0.1")


def test_a_floor_whose_package_was_installed_since_is_measured(monkeypatch):
    before = made()
    monkeypatch.setattr(assemble, "missing_floors", lambda config: ["als"])
    after = made()
    assert [step for step in STEPS if before[step] != after[step]] == ["evaluate", "report"]


def test_another_version_of_the_program_starts_from_the_import(monkeypatch):
    before = made()
    monkeypatch.setattr("lowerfunnel.pipeline.fingerprints.__version__", "99")
    assert made()["import"] != before["import"]


def test_a_store_of_another_layout_is_imported_again(monkeypatch):
    before = import_fingerprint("log")
    assert import_fingerprint("log") == before
    monkeypatch.setattr("lowerfunnel.pipeline.fingerprints.STORE_VERSION", 99)
    assert import_fingerprint("log") != before
