"""What does not fit a model: ids of another type, which would never meet its own, and words that it does not know.

The first is a mistake of whoever asks, and refused. The second is how the world moves on ahead of a model (a new surface,
an item that has ended): the request is answered without it, as offline, and the answer says so.
"""

import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from lowerfunnel.errors import DataError
from lowerfunnel.events.schema import IdType
from lowerfunnel.serving.engine.live import LiveVersion
from lowerfunnel.serving.records import EventRecord
from lowerfunnel.serving.requests import CandidateRequest, Id
from lowerfunnel.serving.towers.query_features import QueryFeatures
from lowerfunnel.serving.versions.loaded import LoadedGenerator
from lowerfunnel.serving.versions.manifest import VersionManifest

_LARGEST_DWELL_S = float(np.finfo(np.float32).max)


def require_fitting(manifest: VersionManifest, requests: Sequence[CandidateRequest]) -> None:
    """Make sure that requests name users and items by ids of the log's types, and a time only where the log has times.

    Raises:
        DataError: For the first that does not fit; it names the field, and the request where there are several.
    """
    for number, request in enumerate(requests):
        place = f"requests[{number}]." if len(requests) > 1 else ""
        for name, ids, wanted in (
            ("user_id", [request.user_id], manifest.user_id_type),
            ("subject_item_id", [request.subject_item_id], manifest.item_id_type),
            ("filters.items.allow", request.filters.items.allow or (), manifest.item_id_type),
            ("filters.items.deny", request.filters.items.deny, manifest.item_id_type),
        ):
            require_ids(f"{place}{name}", [one for one in ids if one is not None], wanted)
        if request.at_us is not None and manifest.order != "time":
            raise DataError(f"{place}at needs a log with times, and the model's log has none; leave it out")


def require_ids(name: str, ids: Collection[Id], wanted: IdType) -> None:
    """Make sure that ids are of the log's type; 7 is not "7".

    Raises:
        DataError: For the first that is not.
    """
    own = int if wanted == "int64" else str
    if set(map(type, ids)) - {own}:
        other = next(one for one in ids if type(one) is not own)
        kind = "an integer" if wanted == "int64" else "a string"
        raise DataError(f"{name} must be {kind} as in the log, got {other!r}")


def event_problem(live: LiveVersion | None, event: EventRecord) -> str | None:
    """Return why an event cannot be part of a timeline that the model reads; None where it can, or there is no model."""
    if live is None:
        return None
    manifest = live.loaded.manifest
    beside = [] if event.context_item_id is None else [event.context_item_id]
    try:
        require_ids("user_id", [event.user_id], manifest.user_id_type)
        require_ids("item_id", [event.item_id], manifest.item_id_type)
        require_ids("context_item_id", beside, manifest.item_id_type)
    except DataError as error:
        return str(error)
    if event.dwell_s is not None and not (math.isfinite(event.dwell_s) and event.dwell_s <= _LARGEST_DWELL_S):
        return f"dwell_s must be a number of seconds that 32 bits hold, got {event.dwell_s}"
    return None


def item_id_problem(live: LiveVersion | None, item_id: Id) -> str | None:
    """Return why no item has an id; None where one may have it, or there is no model."""
    try:
        if live is not None:
            require_ids("item_id", [item_id], live.loaded.manifest.item_id_type)
    except DataError as error:
        return str(error)
    return None


def ignored_by(live: LiveVersion, request: CandidateRequest, features: dict[str, QueryFeatures]) -> tuple[str, ...]:
    """Return which parts of a request no generator has read; `features` holds those of one request, by generator."""
    given = {
        "surface": request.surface,
        "subject_item_id": request.subject_item_id,
        "query": request.query,
        "user_attributes": request.user_attributes or None,
    }
    read = {part for name, one in features.items() for part in _read(live.loaded.generators[name], one)}
    return tuple(part for part, value in given.items() if value is not None and part not in read)


def _read(generator: LoadedGenerator, features: QueryFeatures) -> Iterator[str]:
    """Name the parts of one request that a generator has read."""
    context, asked = generator.artefact.config.context, features.requests
    if context.surface and int(asked.surface_R[0]) > 0:
        yield "surface"
    if context.subject and int(asked.subject_R[0]) >= 0:
        yield "subject_item_id"
    if context.query and len(asked.word_T):
        yield "query"
    if len(features.attribute_T):
        yield "user_attributes"
