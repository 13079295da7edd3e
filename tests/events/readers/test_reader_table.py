"""What holds for every named reader."""

import tomllib

import pytest

from lowerfunnel.config import load_settings
from lowerfunnel.errors import ConfigError, DataError
from lowerfunnel.events.build import build_store, resolve_log
from lowerfunnel.events.readers import READERS
from lowerfunnel.events.settings import LogConfig, SourceConfig

NAMED = [name for name in READERS if name != "generic"]


def test_sources_of_the_recipe_beside_a_named_reader_are_refused(log):
    log.write("UserBehavior.csv", "1,2268318,2520377,pv,1511544070")
    config = LogConfig(reader="taobao", events=(SourceConfig(files="mine.csv"),))
    with pytest.raises(ConfigError, match=r"log\.events is described in the recipe, and the reader 'taobao'"):
        READERS["taobao"](log.folder, config)


def test_a_held_out_file_of_the_recipe_stays_beside_the_named_reader(log):
    log.write("UserBehavior.csv", "1,2268318,2520377,pv,1511544070")
    test = (SourceConfig(files="held_out.csv"),)
    assert READERS["taobao"](log.folder, LogConfig(reader="taobao", test=test)).test == test


def test_the_generic_reader_changes_nothing(tmp_path):
    config = LogConfig(events=(SourceConfig(files="mine.csv"),))
    assert READERS["generic"](tmp_path, config) is config


@pytest.mark.parametrize("reader", NAMED)
def test_every_reader_says_what_an_empty_and_a_missing_folder_lack(reader, log, tmp_path):
    with pytest.raises(DataError, match=r"lacks .*; it holds no file\. Put the original files there"):
        READERS[reader](log.folder, LogConfig(reader=reader))
    with pytest.raises(DataError, match=r"the data folder .*nowhere does not exist"):
        READERS[reader](tmp_path / "nowhere", LogConfig(reader=reader))


def test_types_and_limits_of_the_recipe_stay(log):
    log.write("UserBehavior.csv", "1,2268318,2520377,pv,1511544070")
    config = LogConfig(reader="taobao", user_id_type="string", buckets=3, max_quarantined_share=0.2)
    resolved = resolve_log(config, log.folder)
    assert (resolved.user_id_type, resolved.item_id_type) == ("string", "int64")
    assert (resolved.buckets, resolved.max_quarantined_share) == (3, 0.2)


def test_an_unknown_reader_is_refused_with_the_nearest_name(log):
    with pytest.raises(ConfigError, match=r"log\.reader is 'retailroket'.*retailrocket"):
        build_store(LogConfig(reader="retailroket"), log.folder, log.store_dir)


def test_a_damaged_archive_is_no_traceback(log):
    (log.folder / "UserBehavior.csv.gz").write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match=r"UserBehavior\.csv\.gz cannot be read .*copy it again"):
        READERS["taobao"](log.folder, LogConfig(reader="taobao"))


def test_recipes_name_readers_that_exist_and_every_reader_has_a_recipe(project_root):
    readers = set()
    for path in sorted((project_root / "recipes").glob("*.toml")):
        settings = tomllib.loads(path.read_text())["log"]
        readers.add(load_settings(LogConfig, settings, source=path.name).reader)
    assert readers <= READERS.keys()
    assert readers >= set(NAMED) - {"complete_journey"}
