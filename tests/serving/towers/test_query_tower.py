"""The exported query tower gives what the trained one gives, for every setting and any shape of request."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.serving.towers.tower_samples import (
    CONFIGS,
    END_US,
    LATER,
    USERS,
    NamedPlaces,
    Sample,
    asked_by_all,
    config_of,
    sample,
    stored_of,
)

from lowerfunnel.errors import RunError, UnavailableError
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.towers.online_features import OnlineFeatures
from lowerfunnel.serving.towers.query_export import export_query_tower
from lowerfunnel.serving.towers.query_features import QueryFeatures
from lowerfunnel.serving.towers.query_graph import QueryGraph
from lowerfunnel.serving.towers.query_tower import QueryTower, query_arrays, query_tables

EXPORTED = ("everything", "pooling", "no history", "cross")
"""Settings whose graphs differ in what ONNX must hold; the export takes seconds, so the others run in torch as well."""


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give the exported graph of a setting and a head, made once."""
    folder, made = tmp_path_factory.mktemp("graphs"), {}

    def path_of(name: str, task: str = "conversion") -> Path:
        if (name, task) not in made:
            made[name, task] = folder / f"{len(made)}.onnx"
            model = sample(CONFIGS[name]).artefact.model.train(len(made) % 2 == 0)
            modes = [module.training for module in model.modules()]
            export_query_tower(model, made[name, task], task=task)
            assert [module.training for module in model.modules()] == modes
        return made[name, task]

    return path_of


@pytest.fixture(scope="module")
def everything() -> Sample:
    return sample(CONFIGS["everything"])


@pytest.fixture(scope="module")
def tower(everything: Sample, graphs: Callable[..., Path]) -> QueryTower:
    return QueryTower.load(graphs("everything"), everything.artefact.model)


def gathered(made: Sample, requests: list[CandidateRequest], t: list[int]) -> QueryFeatures:
    online = OnlineFeatures(made.artefact, order=made.order)
    return online.gather(requests, stored_of(made, requests), t, made.places)


def by_torch(made: Sample, features: QueryFeatures, task: str = "conversion") -> np.ndarray:
    """Return what the graph makes of its arrays before it is exported."""
    graph = QueryGraph(made.artefact.model, task=task).eval()
    arrays = query_arrays(
        features,
        made.encoder().item_inputs(),
        names=graph.names,
        tables=query_tables(made.artefact.model, graph.names),
        width=made.artefact.config.tower.width,
    )
    with torch.no_grad():
        return graph(dict(zip(graph.names, map(torch.from_numpy, arrays), strict=True))).numpy()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_graph_gives_the_vectors_of_the_encoder(config: RetrievalConfig) -> None:
    made = sample(config)
    requests = asked_by_all()
    t = [END_US // 2 + n * END_US // 20 for n in range(len(requests))]
    features = gathered(made, requests, t)
    expected_RE = made.offline(requests, t)
    np.testing.assert_allclose(by_torch(made, features), expected_RE, atol=1e-5)
    # Distinct, or agreement would say little.
    assert len(np.unique(expected_RE.round(3), axis=0)) > USERS // 2


@pytest.mark.parametrize("name", [n if n in EXPORTED else pytest.param(n, marks=pytest.mark.slow) for n in CONFIGS])
def test_it_does_when_exported(graphs: Callable[..., Path], name: str) -> None:
    made = sample(CONFIGS[name])
    requests = asked_by_all()
    t = [END_US // 2 + n * END_US // 20 for n in range(len(requests))]
    tower = QueryTower.load(graphs(name), made.artefact.model)
    vector_RE = tower.encode(gathered(made, requests, t), made.encoder().item_inputs())
    assert vector_RE.dtype == np.float32
    np.testing.assert_allclose(vector_RE, made.offline(requests, t), atol=1e-5)
    assert graphs(name).stat().st_size < 500_000


@pytest.mark.parametrize("order", ["sequence", "none"])
@pytest.mark.parametrize("name", ["transformer", "causal", "pooling"])
def test_it_does_in_logs_without_times(name: str, order: str) -> None:
    made = sample(CONFIGS[name], order=order)
    requests = asked_by_all()
    t = [LATER if n % 2 else 3 * n for n in range(len(requests))]
    np.testing.assert_allclose(by_torch(made, gathered(made, requests, t)), made.offline(requests, t), atol=1e-5)


@pytest.mark.parametrize("without", [{"attributes": False}, {"surfaces": False}], ids=str)
def test_it_does_where_the_log_lacks_a_feature(without: dict[str, bool]) -> None:
    made = sample(CONFIGS["transformer"], **without)
    requests, t = asked_by_all(), [END_US] * (USERS + 2)
    np.testing.assert_allclose(by_torch(made, gathered(made, requests, t)), made.offline(requests, t), atol=1e-5)


@pytest.mark.parametrize("name", ["two heads", "two heads of a sum"])
def test_the_engagement_head_is_a_tower_of_its_own(name: str) -> None:
    made = sample(CONFIGS[name])
    requests, t = asked_by_all(), [END_US] * (USERS + 2)
    features = gathered(made, requests, t)
    engagement_RE = by_torch(made, features, "engagement")
    np.testing.assert_allclose(engagement_RE, made.offline(requests, t, task="engagement"), atol=1e-5)
    assert np.abs(engagement_RE - made.offline(requests, t)).max() > 0.1


def test_the_graphs_of_two_heads_are_not_taken_for_each_other(everything: Sample, graphs: Callable[..., Path]) -> None:
    requests, t = asked_by_all(), [END_US] * (USERS + 2)
    path = graphs("everything", "engagement")
    tower = QueryTower.load(path, everything.artefact.model, task="engagement")
    vector_RE = tower.encode(gathered(everything, requests, t), everything.encoder().item_inputs())
    np.testing.assert_allclose(vector_RE, everything.offline(requests, t, task="engagement"), atol=1e-5)
    with pytest.raises(RunError, match='head "conversion"; export it again'):
        QueryTower.load(path, everything.artefact.model)


def test_a_request_alone_gets_what_it_gets_among_others(everything: Sample, tower: QueryTower) -> None:
    requests, t = asked_by_all(), [END_US] * (USERS + 2)
    x_ID = everything.encoder().item_inputs()
    together_RE = tower.encode(gathered(everything, requests, t), x_ID)
    alone = [gathered(everything, [request], t[:1]) for request in requests]
    np.testing.assert_allclose([tower.encode(one, x_ID)[0] for one in alone], together_RE, atol=1e-6)
    np.testing.assert_allclose(tower.encode(QueryFeatures.joined(alone), x_ID), together_RE, atol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 2, 8, 9, 10, 30])
def test_histories_of_any_length(everything: Sample, tower: QueryTower, length: int) -> None:
    stored = everything.stored[USERS - 1]
    request = CandidateRequest(request_id="r", k=1, user_id=2**53 + USERS - 1, surface="home")
    # One microsecond after its event number `length`, those before are what counts.
    t = [stored.ts_us[length - 1] + 1 if length else 0]
    vector_RE = tower.encode(gathered(everything, [request], t), everything.encoder().item_inputs())
    np.testing.assert_allclose(vector_RE, everything.offline([request], t), atol=1e-5)


def test_no_request_gets_no_vector(everything: Sample, tower: QueryTower) -> None:
    assert tower.encode(gathered(everything, [], []), everything.encoder().item_inputs()).shape == (0, 13)


def test_a_graph_of_another_model_is_refused(graphs: Callable[..., Path]) -> None:
    path = graphs("everything")
    other = sample(CONFIGS["everything"]).artefact.model
    assert QueryTower.load(path, other)
    with torch.no_grad():
        other.user_parts.anyone[3] += 1e-6
    with pytest.raises(RunError, match="is not that of this model's head"):
        QueryTower.load(path, other)
    with pytest.raises(RunError, match="is not that of this model's head"):
        QueryTower.load(path, sample(CONFIGS["transformer"]).artefact.model)


def test_a_damaged_or_missing_graph_is_refused(everything: Sample, graphs: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "query_tower.onnx"
    with pytest.raises(RunError, match="cannot be read"):
        QueryTower.load(path, everything.artefact.model)
    whole = graphs("everything").read_bytes()
    for broken in (b"", b"text", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(broken)
        with pytest.raises(RunError, match=r"cannot be read|is not that of"):
            QueryTower.load(path, everything.artefact.model)


def test_a_model_with_one_head_has_no_engagement_tower(tmp_path: Path) -> None:
    model = sample(config_of()).artefact.model
    with pytest.raises(UnavailableError, match='no head "engagement"'):
        export_query_tower(model, tmp_path / "query_tower.onnx", task="engagement")
    assert list(tmp_path.iterdir()) == []


def test_items_behind_the_catalogue_are_read_like_the_others(everything: Sample, tower: QueryTower) -> None:
    requests, t = asked_by_all(), [END_US] * (USERS + 2)
    x_ID = everything.encoder().item_inputs()
    # Item 3 moves behind the catalogue, under the same input: nothing changes. Under another one, something does.
    moved = replace(everything, places=NamedPlaces({**everything.places, "item003": len(x_ID)}))
    same = tower.encode(gathered(moved, requests, t), np.concatenate([x_ID, x_ID[3:4]]))
    np.testing.assert_array_equal(same, tower.encode(gathered(everything, requests, t), x_ID))
    other = tower.encode(gathered(moved, requests, t), np.concatenate([x_ID, x_ID[4:5]]))
    assert (other != same).any()


def test_many_threads_may_ask_at_once(everything: Sample, tower: QueryTower) -> None:
    requests, t, x_ID = asked_by_all(), [END_US] * (USERS + 2), everything.encoder().item_inputs()
    online = OnlineFeatures(everything.artefact, order="time")
    expected_RE = tower.encode(gathered(everything, requests, t), x_ID)

    def ask(row: int) -> np.ndarray:
        one = [requests[row]]
        return tower.encode(online.gather(one, stored_of(everything, one), t[:1], everything.places), x_ID)[0]

    rows = [row for _ in range(20) for row in range(len(requests))]
    with ThreadPoolExecutor(8) as threads:
        np.testing.assert_allclose(list(threads.map(ask, rows)), expected_RE[rows], atol=1e-6)


def test_the_tables_are_those_of_the_model_and_not_in_the_graph(
    everything: Sample, graphs: Callable[..., Path]
) -> None:
    model = sample(CONFIGS["everything"]).artefact.model
    requests, t, x_ID = asked_by_all(), [END_US] * (USERS + 2), everything.encoder().item_inputs()
    tower = QueryTower.load(graphs("everything"), model)
    before_RE = tower.encode(gathered(everything, requests, t), x_ID)
    with torch.no_grad():
        model.user_parts.table("user").weight[8] += 1.0
    changed_R = (tower.encode(gathered(everything, requests, t), x_ID) != before_RE).any(axis=1)
    assert np.flatnonzero(changed_R).tolist() == [8]
