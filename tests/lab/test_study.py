"""Study files: what they say, and that what cannot work is found before anything runs."""

from pathlib import Path

import pytest

from lowerfunnel.errors import ConfigError
from lowerfunnel.lab.study import LoadedStudy, load_study

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))
HEAD = 'name = "x"\nrecipe = "base.toml"\n'
RECIPE = """
name = "base"
[world]
[log]
synthetic = true
[[log.events]]
files = "events/*.parquet"
[labels]
weights = { checkout = 1.0, click = 0.1 }
[evaluation]
ks = [10, 100]
"""


def loaded(folder: Path, text: str, **more: object) -> LoadedStudy:
    (folder / "base.toml").write_text(RECIPE)
    (folder / "study.toml").write_text(HEAD + text)
    return load_study(folder / "study.toml", **more)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_project_loads_and_is_named_after_its_file(path: Path) -> None:
    study = load_study(path).study
    assert study.name == path.stem
    assert study.description
    assert all(variant.description for variant in study.variants)


def test_there_are_studies() -> None:
    assert STUDIES


def test_a_variant_changes_what_it_names_and_what_the_study_names_and_nothing_else(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        """
        settings = { training = { epochs = 3 } }
        [[variants]]
        name = "a"
        [[variants]]
        name = "b"
        settings = { "retrieval.tower.width" = 8, labels = { weights = { checkout = 2.0 } } }
        """,
    )
    assert found.recipes["a"] == found.base
    assert found.base.training.epochs == 3
    changed = found.recipe("b", 7)
    assert (changed.training.epochs, changed.retrieval.tower.width, changed.seed) == (3, 8, 7)
    assert changed.labels.weights == {"checkout": 2.0}
    assert changed.log == found.base.log


def test_metrics_are_the_headline_and_the_usual_ones_as_far_as_the_lists_reach(tmp_path: Path) -> None:
    published = '[[variants]]\nname = "b"\npublished = { metric = "mrr@10", relative = 0.1, source = "them" }\n'
    found = loaded(tmp_path, '[[variants]]\nname = "a"\n' + published)
    assert found.metrics == ("recall@100", "hr@10", "ndcg@10", "mrr@10")


def test_each_is_compared_with_the_first_or_with_whom_it_names(tmp_path: Path) -> None:
    names = '[[variants]]\nname = "a"\n[[variants]]\nname = "b"\n[[variants]]\nname = "c"\nagainst = "b"\n'
    study = loaded(tmp_path, names).study
    others = [study.against(variant) for variant in study.variants]
    assert [None if other is None else other.name for other in others] == [None, "a", "b"]


def test_another_recipe_and_other_seeds_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE.replace('"base"', '"mine"'))
    found = loaded(tmp_path, '[[variants]]\nname = "a"\n', recipe=tmp_path / "mine.toml", seeds=[4, 5])
    assert (found.base.name, found.study.seeds) == ("mine", (4, 5))


A, B = '[[variants]]\nname = "a"\n', '[[variants]]\nname = "b"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "variants"),
        ("variants = []\n", "at least one"),
        (A + A, "different names.* a"),
        (A + B + 'against = "z"\n', "names z.* there are a, b"),
        (A + B + 'against = "b"\n', "circle: b -> b"),
        (A + B + 'against = "c"\n[[variants]]\nname = "c"\nagainst = "b"\n', "circle: b -> c -> b"),
        (A + 'against = "a"\n', "first variant is the base"),
        (A.replace('"a"', '"a b"'), "letters"),
        ("seeds = [1, 1]\n" + A, "seeds must be different"),
        ("seeds = []\n" + A, "seeds must be different"),
        ('metrics = ["auc"]\n' + A, "recall, hr"),
        ('metrics = ["recall@1000"]\n' + A, "100 places"),
        ("sedes = [1]\n" + A, "sedes.*did you mean seeds"),
        (A + B + "settings = { seed = 3 }\n", "seed cannot be changed there"),
        (A + B + 'published = { metric = "auc", relative = 1.0, source = "x" }\n', "published"),
        ('settings = { "training.epocs" = 1 }\n' + A, r"settings.*\n.*training.epocs"),
    ],
)
def test_what_cannot_work_is_one_clear_error(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(tmp_path, text)


def test_all_bad_settings_of_all_variants_are_named_at_once(tmp_path: Path) -> None:
    bad = 'settings = { "retrieval.tower.widht" = 3, "training.epochs" = "x" }\n'
    other = '[[variants]]\nname = "c"\nsettings = { foo = { bar = 3 } }\n'
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, A + B + bad + other)
    for part in ("variant b has 2 bad settings", "retrieval.tower.widht", "training.epochs", "variant c", "foo"):
        assert part in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no study"):
        load_study(tmp_path / "none.toml")
    (tmp_path / "study.toml").write_text(HEAD + A)
    with pytest.raises(ConfigError, match=r"no recipe.*--recipe"):
        load_study(tmp_path / "study.toml")
