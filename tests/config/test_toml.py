import pytest

from lowerfunnel.config import apply_overrides, parse_override, read_toml
from lowerfunnel.errors import ConfigError


def test_a_recipe_is_read_with_its_tables(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xef\xbb\xbf[tower]\r\nlearning_rate = 0.1\r\n")
    assert read_toml(path) == {"tower": {"learning_rate": 0.1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb = = 2\n", r"run.toml is not valid TOML: line 2, column 5: Invalid value"),
        (b"a = 1\nb = [1,\n", r"run.toml is not valid TOML: line 2: "),
        (b"a = 1\na = 2\n", r"line 2, column 6: Cannot overwrite a value"),
        (b"a = '\xff'\n", r"byte 5 is not UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_names_itself_and_the_line(tmp_path, content, message):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_toml(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none.toml does not exist"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read as a TOML file: Is a directory"):
        read_toml(tmp_path)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("tower.dim=64", ("tower", "dim"), 64),
        ("tower.learning_rate = 1e-3", ("tower", "learning_rate"), 1e-3),
        ("flag=true", ("flag",), True),
        ("flag=True", ("flag",), "True"),
        ("labels.task=conversion", ("labels", "task"), "conversion"),
        ("name=a=b", ("name",), "a=b"),
        ("dims=[64, 32]", ("dims",), [64, 32]),
        ('ids="7"', ("ids",), "7"),
        ("files.0.path=data/x.csv", ("files", "0", "path"), "data/x.csv"),
        ('columns."user.id"=user', ("columns", "user.id"), "user"),
        ("name=a\nb=2", ("name",), "a\nb=2"),
    ],
)
def test_an_override_is_a_name_and_a_toml_value(text, path, value):
    parsed_path, parsed = parse_override(text)
    assert parsed_path == path
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tower.dim", "has no '='"),
        ("=3", "does not begin with a setting's name"),
        ("tower..dim=3", "does not begin with a setting's name"),
        ("a=1\nb=3", None),
        ("a =", "has no value"),
        ("dims=[64, 32", "not valid TOML"),
        ("dims=[a, b]", "not valid TOML"),
    ],
)
def test_an_override_that_cannot_be_meant_is_refused(text, message):
    if message is None:
        assert parse_override(text)[0] == ("a",)
        return
    with pytest.raises(ConfigError, match=message):
        parse_override(text)


def test_overrides_reach_tables_arrays_and_new_tables_and_leave_the_original_alone():
    original = {"tower": {"dim": 8}, "files": [{"path": "a"}, {"path": "b"}]}
    changed = apply_overrides(original, ["tower.dim=16", "files.1.path=c", "train.epochs=3", "train.epochs=4"])
    assert changed == {
        "tower": {"dim": 16},
        "files": [{"path": "a"}, {"path": "c"}],
        "train": {"epochs": 4},
    }
    assert original == {"tower": {"dim": 8}, "files": [{"path": "a"}, {"path": "b"}]}


def test_an_override_replaces_an_entry_of_a_list():
    assert apply_overrides({"dims": [1, 2]}, ["dims.1=5"]) == {"dims": [1, 5]}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("files.2.path=c", r"asks for entry '2' of files, which has 2 entries"),
        ("files.first.path=c", r"asks for entry 'first' of files"),
        ("tower.dim.size=3", r"leads into tower.dim, which is 8 and not a table"),
    ],
)
def test_an_override_that_leads_nowhere_says_where_it_stopped(override, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides({"tower": {"dim": 8}, "files": [{}, {}]}, [override])
