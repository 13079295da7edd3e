"""Skew between serving and training: requests as they were served, gathered again offline and compared.

The features of a logged request are gathered anew by the code of training from what the store holds today of its users,
strictly before the request, and given to the same query tower. Every difference is reported by feature. Events that were
stored after the request though they lie before it are no skew of the code; those requests are counted apart.

Shape letters: R requests, U users of a group of requests, E events.
"""

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lowerfunnel.errors import DataError, RunError
from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.features.activity import activity_counts
from lowerfunnel.features.history import gather_histories
from lowerfunnel.features.requests import Requests, encode_words
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.serving.engine.served_line import FORMAT
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.towers.feature_records import differences, feature_records
from lowerfunnel.serving.towers.query_features import QueryFeatures, attribute_tokens, trained_rows
from lowerfunnel.serving.user_timeline import NOTHING, UserTimeline
from lowerfunnel.serving.versions.loaded import LoadedVersion
from lowerfunnel.serving.versions.registry import Registry

VECTOR_TOLERANCE = 1e-4
"""Largest difference of a query vector's coordinate that counts as rounding."""

_GROUP = 512
_EXAMPLES = 5

Line = dict[str, Any]


@dataclass(kw_only=True, slots=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        requests: Requests read.
        compared: Those that were gathered again and compared.
        skewed: Those of which a feature or the vector differed.
        late: Not compared: an event came later that lies before the request.
        degraded: Not compared: the store had not answered in time when they were served.
        fresh: Not compared: they read items that came after the version, which training has not seen.
        damaged: Lines that could not be read; the last line of a killed server may be half written.
        of_other_versions: Not compared: their version is no longer there.
        by_feature: Requests in which each feature differed.
        examples: Some of the skewed requests, with what differed.
    """

    requests: int = 0
    compared: int = 0
    skewed: int = 0
    late: int = 0
    degraded: int = 0
    fresh: int = 0
    damaged: int = 0
    of_other_versions: int = 0
    by_feature: Counter[str] = field(default_factory=Counter)
    largest_vector_difference: float = 0.0
    examples: list[dict[str, object]] = field(default_factory=list)

    @property
    def skew_ratio(self) -> float:
        """Share of the compared requests that were skewed."""
        return self.skewed / self.compared if self.compared else 0.0


def replay(
    folder: Path,
    registry: Registry,
    store: OnlineStore,
    *,
    key: bytes | None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ReplayReport:
    """Compare the requests that were written to `folder`, the latest files first.

    Raises:
        RunError: If there are no requests, or a version is damaged.
        StoreError: If the store does not answer.
    """
    report = ReplayReport()
    loaded: dict[str, LoadedVersion | None] = {}
    for version, lines in _groups(folder, report, limit):
        if version not in loaded:
            loaded.clear()  # one version in memory at a time: lines of one file are mostly of one version
            loaded[version] = LoadedVersion.load(registry.folder(version), key=key) if registry.holds(version) else None
        current = loaded[version]
        if current is None:
            report.of_other_versions += len(lines)
        else:
            _compare(current, lines, store, report)
        if progress is not None:
            progress(report.requests)
    if not report.requests and not report.damaged:
        raise RunError(f"no requests are written down in {folder}; serve some with engine.request_log.share above 0")
    return report


def _groups(folder: Path, report: ReplayReport, limit: int | None) -> Iterator[tuple[str, list[Line]]]:
    group: list[Line] = []
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                if limit is not None and report.requests >= limit:
                    break
                try:
                    line = json.loads(text)
                    version = line["version"] if line["format"] == FORMAT else None
                except (ValueError, KeyError, TypeError):
                    version = None
                if not isinstance(version, str):
                    report.damaged += 1
                    continue
                report.requests += 1
                if group and (group[0]["version"] != version or len(group) == _GROUP):
                    yield group[0]["version"], group
                    group = []
                group.append(line)
    if group:
        yield group[0]["version"], group


def _compare(version: LoadedVersion, lines: list[Line], store: OnlineStore, report: ReplayReport) -> None:
    usable, timelines = [], []
    for line in lines:
        if line["degraded"] or not line["features"]:
            report.degraded += 1
            continue
        if line["fresh"]:
            report.fresh += 1
            continue
        timeline = NOTHING
        if line["user_id"] is not None:
            before_us = line["at_us"] if version.manifest.order == "time" else None
            timeline = store.timeline(line["user_id"], before_us=before_us)
        if len(timeline) != line["events"]:
            report.late += 1
            continue
        usable.append(line)
        timelines.append(timeline)
    if not usable:
        return
    for name, generator in version.generators.items():
        artefact = generator.artefact
        served = [line["features"].get(name) for line in usable]
        offline = gathered_offline(artefact, version, usable, timelines)
        records = feature_records(offline, functools.partial(_id_at, artefact.items.ids))
        vector_RE = generator.tower.encode(offline, generator.item_input_ID)
        for row, (line, record) in enumerate(zip(usable, served, strict=True)):
            if record is None:
                continue
            report.compared += 1
            different = [found.feature for found in differences(record, records[row])]
            off = float(np.abs(vector_RE[row] - np.array(line["vectors"][name], np.float32)).max(initial=0.0))
            report.largest_vector_difference = max(report.largest_vector_difference, off)
            if off > VECTOR_TOLERANCE:
                different = [*different, "vector"]
            if different:
                report.skewed += 1
                report.by_feature.update(different)
                if len(report.examples) < _EXAMPLES:
                    report.examples.append(
                        {"request_id": line["request_id"], "generator": name, "different": different, "off": off}
                    )


def _id_at(ids: pa.Array, place: int) -> Id:
    found: Id = ids[place].as_py()
    return found


def gathered_offline(
    artefact: ModelArtefact, version: LoadedVersion, lines: Sequence[Line], timelines: Sequence[UserTimeline]
) -> QueryFeatures:
    """Gather the features of logged requests as training does: whole columns, encoded by the vocabularies."""
    order, config = version.manifest.order, artefact.config
    length_R = [len(timeline) for timeline in timelines]
    row_E = np.repeat(np.arange(len(lines), dtype=np.int32), length_R)
    item_id = [item_id for timeline in timelines for item_id in timeline.item_id]
    surface = [surface for timeline in timelines for surface in timeline.surface]
    dwell_s = [np.nan if dwell is None else dwell for timeline in timelines for dwell in timeline.dwell_s]
    ts_us = [0 if order == "none" else ts_us for timeline in timelines for ts_us in timeline.ts_us]
    try:
        item_E = artefact.items.encode(pa.array(item_id, artefact.items.ids.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"the store holds item ids of another type than version {version.version}: {error}") from error
    log = Timelines.build(
        user_E=row_E,
        t_E=np.array(ts_us, np.int64),
        item_E=item_E,
        action_E=np.array([ACTION_CODE[name] for timeline in timelines for name in timeline.action], np.int8),
        users=len(lines),
        order=order,
        surface_E=(artefact.vocabularies.surface.encode(pa.array(surface, pa.string())) + 1).astype(np.int16),
        dwell_E=np.array(dwell_s, np.float32),
    )
    row_R, at_R = np.arange(len(lines), dtype=np.int32), np.array([line["at_us"] for line in lines], np.int64)
    user_R = artefact.users.encode(pa.array([line["user_id"] for line in lines], artefact.users.ids.type))
    vocabulary = artefact.vocabularies.user_attribute
    given = [
        None if line["user_attributes"] is None else vocabulary.encode(pa.array(line["user_attributes"], pa.string()))
        for line in lines
    ]
    offsets_R1, attribute_T = attribute_tokens(artefact, user_R, given)
    word_offsets_R1, word_T = encode_words(pa.array([line["query"] for line in lines], pa.string()), artefact.words)
    surfaces = pa.array([line["surface"] for line in lines], pa.string())
    subjects = pa.array([line["subject_item_id"] for line in lines], artefact.items.ids.type)
    return QueryFeatures(
        histories=gather_histories(log.of_actions(config.history.codes), row_R, at_R, max_length=config.history.length),
        id_R=trained_rows(artefact, user_R),
        attribute_offsets_R1=offsets_R1,
        attribute_T=attribute_T,
        activity_RF=activity_counts(log, row_R, at_R)
        if config.tower.activity
        else np.zeros((len(lines), 0), np.float32),
        requests=Requests(
            surface_R=artefact.vocabularies.surface.encode(surfaces) + np.int32(1),
            subject_R=artefact.items.encode(subjects),
            word_offsets_R1=word_offsets_R1,
            word_T=word_T,
        ),
    )
