"""What Prometheus reads."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.requests import Candidate, CandidateAnswer


def samples(metrics: ServerMetrics) -> dict[tuple, float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def answer(found: int, **more) -> CandidateAnswer:
    candidates = tuple(Candidate(item_id=n, score=1.0, sources=("popular",)) for n in range(found))
    return CandidateAnswer(request_id="r", version="v", candidates=candidates, partial=False, **more)


def test_an_answer_is_counted_by_what_came():
    metrics = ServerMetrics()
    metrics.observe_answer(answer(3, plans={"popular": "list"}, stage_ms={"search": 0.15, "total": 4.0}))
    metrics.observe_answer(answer(0, degraded=("store", "deadline")))
    found = samples(metrics)
    assert found["lowerfunnel_retrieval_requests_total", ("result", "full")] == 1
    assert found["lowerfunnel_retrieval_requests_total", ("result", "empty")] == 1
    assert found["lowerfunnel_retrieval_degraded_total", ("left_out", "store")] == 1
    assert found["lowerfunnel_retrieval_filter_strategy_total", ("generator", "popular"), ("strategy", "list")] == 1
    assert found["lowerfunnel_ann_search_seconds_bucket", ("le", "0.0001")] == 0
    assert found["lowerfunnel_ann_search_seconds_bucket", ("le", "0.0002")] == 1
    assert found["lowerfunnel_stage_seconds_sum", ("stage", "total")] == pytest.approx(0.004)
    assert found["lowerfunnel_retrieval_candidates_count",] == 2


def test_events_items_versions_swaps_and_probes_are_counted():
    metrics = ServerMetrics()
    metrics.observe_events([("click", "accepted", 5.0), ("click", "duplicate", None), ("<script>", "rejected", None)])
    metrics.set_version("v1", 10, 1)
    metrics.set_version("v2", 20, 2)
    metrics.observe_swap("published")
    metrics.observe_probe(0.9)
    metrics.observe_probe(1.0)
    found = samples(metrics)
    events = "lowerfunnel_ingest_events_total"
    assert found[events, ("event_name", "click"), ("result", "accepted")] == 1
    assert found[events, ("event_name", "unknown"), ("result", "rejected")] == 1
    assert found["lowerfunnel_ingest_event_age_seconds_count",] == 1
    assert found["lowerfunnel_model_info", ("version", "v2")] == 1
    assert ("lowerfunnel_model_info", ("version", "v1")) not in found
    assert (found["lowerfunnel_index_items",], found["lowerfunnel_index_delta_items",]) == (20, 2)
    assert found["lowerfunnel_index_swap_total", ("result", "published")] == 1
    assert found["lowerfunnel_ann_recall_probe_ratio",] == 1.0
    assert found["lowerfunnel_ann_recall_probes_sum",] == pytest.approx(1.9)
    assert 0 <= found["lowerfunnel_model_age_seconds",] < 60


def test_two_servers_of_one_process_count_apart():
    one, other = ServerMetrics(), ServerMetrics()
    one.observe_probe(0.5)
    assert samples(other)["lowerfunnel_ann_recall_probes_count",] == 0


def test_names_follow_the_conventions():
    metrics = ServerMetrics()
    metrics.observe_request(route="/x", method="GET", status=200, duration_s=0.1)
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        assert re.fullmatch(r"lowerfunnel_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|milliseconds|percent|count)$", family.name)


def test_paths_that_clients_write_make_no_series(server):
    for number in range(50):
        server.client.get(f"/path-{number}")
        server.client.request(f"M{number}" if number < 2 else "GET", "/livez")
    text = server.client.get("/metrics").text
    assert "path-" not in text
    routes = set(re.findall(r'route="([^"]*)"', text))
    document = server.client.get("/openapi.json").json()
    assert routes <= set(document["paths"]) | {"unmatched", "/openapi.json", "/docs"}
    assert set(re.findall(r'method="([^"]*)"', text)) <= {"GET", "POST", "PUT", "DELETE", "other"}
    assert 'lowerfunnel_lane_requests{lane="serve"} 0.0' in text
    assert server.client.get("/metrics").headers["content-type"].startswith("text/plain; version=")
