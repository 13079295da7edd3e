"""Several generators in one answer: the run's two heads, what sells most and what came last."""

import pytest

from lowerfunnel.errors import ConfigError, RunError
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import CandidateRequest, Filters
from lowerfunnel.serving.server import check_generators, load_server_config

QUOTAS = "engine.blend.quotas={conversion=0.5, engagement=0.25, popular=0.125, fresh=0.125}"


def ask(engine, k=40, **options):
    return engine.candidates([CandidateRequest(request_id="r", k=k, deadline_ms=10_000, **options)])[0]


def test_each_generator_gets_its_share_and_every_source_is_named(start, run):
    engine = start(settings=[QUOTAS], engagement=run)
    answer = ask(engine)
    first = [found.sources[0] for found in answer.candidates]
    assert {name: first.count(name) for name in set(first)} == pytest.approx(
        {"conversion": 20, "engagement": 10, "popular": 5, "fresh": 5}, abs=1
    )
    assert len({found.item_id for found in answer.candidates}) == 40
    assert any(len(found.sources) > 1 for found in answer.candidates)
    assert set(answer.plans) == {"conversion", "engagement", "popular", "fresh"}


def test_the_two_heads_of_a_run_answer_differently(start, run):
    engine = start(settings=["engine.blend.quotas={conversion=1.0, engagement=1.0}"], engagement=run)
    live = engine._live.loaded.generators
    assert live["conversion"].index.items == live["engagement"].index.items
    scores = {}
    for name in live:
        scores[name] = [found.score for found in ask(engine).candidates if found.sources[0] == name]
    assert scores["conversion"] != scores["engagement"]


def test_a_new_item_leads_the_fresh_ones(start):
    engine = start(settings=["engine.blend.quotas={conversion=1.0, fresh=1.0}"])
    engine.put_items([ItemRecord(item_id=1), ItemRecord(item_id=2)])
    fresh = [found.item_id for found in ask(engine).candidates if found.sources[0] == "fresh"]
    assert fresh[:2] in ([2, 1], [2], [1])
    sources = {found.item_id: found.sources for found in ask(engine, k=1000).candidates}
    assert "fresh" in sources[1]
    assert "fresh" in sources[2]


def test_the_cap_holds_over_the_whole_answer(start):
    engine = start(settings=["engine.blend.quotas={conversion=1.0, popular=1.0}", "engine.blend.most_per_advertiser=3"])
    views = engine.views([found.item_id for found in ask(engine, k=100).candidates])
    counts = {}
    for view in views:
        counts[view.advertiser_id] = counts.get(view.advertiser_id, 0) + 1
    assert max(counts.values()) == 3
    own = engine.views([found.item_id for found in ask(engine, filters=Filters(most_per_advertiser=1)).candidates])
    assert len({view.advertiser_id for view in own}) == len(own)


def test_quotas_and_generators_must_name_each_other(run):
    with pytest.raises(ConfigError, match="--generator engagement=DIR"):
        check_generators(load_server_config(None, [QUOTAS]), {})
    with pytest.raises(ConfigError, match="has no share"):
        check_generators(load_server_config(None, []), {"engagement": run})
    with pytest.raises(ConfigError, match="shares above 0"):
        load_server_config(None, ["engine.blend.quotas={conversion=0.0}"])


def test_a_generator_whose_run_is_not_there_is_a_clear_error(start, runs_folder):
    with pytest.raises(RunError, match="nothing holds no run"):
        start(settings=["engine.blend.quotas={conversion=1.0, other=1.0}"], other=runs_folder / "nothing")
