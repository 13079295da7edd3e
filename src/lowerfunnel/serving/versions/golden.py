"""Golden queries: requests whose answers were worked out offline when a version was built, asked again before it serves.

The whole way is compared: features from a timeline, query tower, item index. Parts of two versions, another library that
computes otherwise, or a program that gathers features otherwise are found here, whatever the hashes of the files say.

Shape letters: G golden queries, E width of the vectors, K length of a list, I items.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lowerfunnel.errors import RunError
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.events.timeline import Int32Array, Timelines
from lowerfunnel.features.requests import Requests, encode_words
from lowerfunnel.files import write_json
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.corpus import end_of_log
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.sample_queries import spread_users
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.user_timeline import UserTimeline
from lowerfunnel.serving.versions.loaded import LoadedGenerator, LoadedVersion
from lowerfunnel.serving.versions.manifest import GOLDEN_FILE

QUERIES = 24
"""Golden queries of a generator."""

K = 20
"""Length of their lists."""

VECTOR_TOLERANCE = 1e-4
"""Largest difference of a query vector's coordinate from the one of the offline tower; vectors have length 1."""

SCORE_TOLERANCE = 1e-3
"""Largest difference of a score; every index gives exact ones for what it finds."""

LEAST_RECALL = 0.9
"""Mean share of the exact lists that the index has to find."""


def write_golden(path: Path, artefact: ModelArtefact, encoder: Encoder, timelines: Timelines) -> None:
    """Choose requests of the log's users, and write down what the offline model answers."""
    users = _chosen_users(timelines)
    at = end_of_log(timelines)
    # In turn: nothing known of the request, its surface, its subject too, its words too. The last one is nobody's.
    plain = [_request(artefact, timelines, user, place) for place, user in enumerate([*users.tolist(), -1])]
    user_G = np.append(users, np.int32(-1))
    query_GE = encoder.users(
        user_G,
        np.full(len(user_G), at, np.int64),
        timelines=timelines,
        features=artefact.user_features,
        trained_U=artefact.trained_U,
        requests=_coded(artefact, plain),
    )
    found = ExactIndex(encoder.items(), threads=1).search(query_GE, min(K, max(len(artefact.items), 1)))
    written = []
    for row, request in enumerate(plain):
        item_K = found.item_QK[row]
        written.append(
            {
                "user_id": request.user_id,
                "surface": request.surface,
                "subject_item_id": request.subject_item_id,
                "query": request.query,
                "at_us": at,
                "timeline": _timeline(artefact, timelines, int(user_G[row])).columns(),
                "vector": query_GE[row].tolist(),
                "places": item_K[item_K >= 0].tolist(),
                "scores": found.score_QK[row][item_K >= 0].tolist(),
            }
        )
    write_json(path, written)


def check_golden(version: LoadedVersion) -> dict[str, float]:
    """Ask the golden queries of every generator, and return each one's recall against the exact lists.

    Raises:
        RunError: If a vector or a list is not what was worked out offline.
    """
    return {name: _check(version, generator) for name, generator in version.generators.items()}


def _check(version: LoadedVersion, generator: LoadedGenerator) -> float:
    path = version.folder / "generators" / generator.name / GOLDEN_FILE
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        requests = [_read_request(golden) for golden in written]
        timelines = [UserTimeline.of(**golden["timeline"]) for golden in written]
        at_us = [int(golden["at_us"]) for golden in written]
        expected_GE = np.array([golden["vector"] for golden in written], np.float32)
        expected = [dict(zip(golden["places"], golden["scores"], strict=True)) for golden in written]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}); publish the run again") from error
    features = generator.features.gather(requests, timelines, at_us, version)
    vector_GE = generator.tower.encode(features, generator.item_input_ID)
    off = float(np.abs(vector_GE - expected_GE).max(initial=0.0)) if vector_GE.shape == expected_GE.shape else np.inf
    if not off <= VECTOR_TOLERANCE:
        raise RunError(
            f'the generator "{generator.name}" of version {version.version} does not give the vectors that were worked out '
            f"when it was built (off by {off:.2g}, at most {VECTOR_TOLERANCE:g} is rounding): its parts do not belong "
            "together; publish the run again"
        )
    found = generator.index.search(vector_GE, K)
    shares = []
    for exact, item_K, score_K in zip(expected, found.item_QK.tolist(), found.score_QK.tolist(), strict=True):
        both = {item: score for item, score in zip(item_K, score_K, strict=True) if item in exact}
        off = max((abs(exact[item] - score) for item, score in both.items()), default=0.0)
        if not off <= SCORE_TOLERANCE:
            raise RunError(
                f'the index of the generator "{generator.name}" of version {version.version} gives other scores than were '
                f"worked out when it was built (off by {off:.2g}, at most {SCORE_TOLERANCE:g} is rounding): it is another "
                "model's; publish the run again"
            )
        if exact:
            shares.append(len(both) / len(exact))
    recall = float(np.mean(shares)) if shares else 1.0
    if recall < LEAST_RECALL:
        raise RunError(
            f'the index of the generator "{generator.name}" of version {version.version} finds {recall:.0%} of what an exact '
            f"search finds for its golden queries, at least {LEAST_RECALL:.0%} is needed: it is another model's, or its "
            "search is too narrow; publish the run again"
        )
    return recall


def _chosen_users(timelines: Timelines) -> Int32Array:
    """Return users spread over the log: of those whose events are all on items of the catalogue."""
    foreign_E1 = np.concatenate([np.zeros(1, np.int64), np.cumsum(timelines.item_E < 0)])
    return spread_users(timelines, QUERIES - 1, keep_U=np.diff(foreign_E1[timelines.offsets_U1]) == 0)


def _timeline(artefact: ModelArtefact, timelines: Timelines, user: int) -> UserTimeline:
    part = slice(0, 0) if user < 0 else slice(int(timelines.offsets_U1[user]), int(timelines.offsets_U1[user + 1]))
    surfaces = [None, *artefact.vocabularies.surface.ids.to_pylist()]
    dwell = timelines.dwell_E[part].tolist()
    return UserTimeline.of(
        ts_us=timelines.t_E[part].tolist(),
        item_id=artefact.items.decode(timelines.item_E[part]).to_pylist(),
        action=[ACTIONS[code] for code in timelines.action_E[part].tolist()],
        surface=[surfaces[code] for code in timelines.surface_E[part].tolist()],
        dwell_s=[None if math.isnan(seconds) else seconds for seconds in dwell],
    )


def _request(artefact: ModelArtefact, timelines: Timelines, user: int, place: int) -> CandidateRequest:
    timeline = _timeline(artefact, timelines, user)
    surfaces, words = artefact.vocabularies.surface.ids, artefact.words.ids
    depth = place % 4
    return CandidateRequest(
        request_id=f"golden-{place}",
        k=K,
        user_id=None if user < 0 else artefact.users.ids[user].as_py(),
        surface=surfaces[place % len(surfaces)].as_py() if depth >= 1 and len(surfaces) else None,
        subject_item_id=timeline.item_id[-1] if depth >= 2 and len(timeline) else None,
        query=" ".join(words[(place + step) % len(words)].as_py() for step in (0, 1))
        if depth >= 3 and len(words)
        else None,
    )


def _coded(artefact: ModelArtefact, requests: list[CandidateRequest]) -> Requests:
    """Return requests as the offline encoder takes them; what the model does not read is left out by the encoder itself."""
    context = artefact.config.context
    subject = [request.subject_item_id if context.subject else None for request in requests]
    query = [request.query if context.query else None for request in requests]
    offsets_R1, word_T = encode_words(pa.array(query, pa.string()), artefact.words)
    surfaces = pa.array([request.surface for request in requests], pa.string())
    return Requests(
        surface_R=artefact.vocabularies.surface.encode(surfaces) + np.int32(1),
        subject_R=artefact.items.encode(pa.array(subject, artefact.items.ids.type)),
        word_offsets_R1=offsets_R1,
        word_T=word_T,
    )


def _read_request(golden: Mapping[str, Any]) -> CandidateRequest:
    return CandidateRequest(
        request_id="golden",
        k=K,
        user_id=golden["user_id"],
        surface=golden["surface"],
        subject_item_id=golden["subject_item_id"],
        query=golden["query"],
    )
