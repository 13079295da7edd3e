"""The service behind every face of the server: one live version, swapped as a whole.

Answers take the live version once and never a lock. Whatever changes it (an item, a publication, a rollback) builds a new
one beside it and then replaces one reference; requests that are under way end with the version that they began with, which
is let go when the last of them has.
"""

import functools
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from lowerfunnel.errors import LowerfunnelError, RunError, StoreError, UnavailableError
from lowerfunnel.events.timeline import Int64Array
from lowerfunnel.index.settings import IndexConfig
from lowerfunnel.serving.engine.answering import Answering
from lowerfunnel.serving.engine.changes import CatalogueChanges
from lowerfunnel.serving.engine.fitting import event_problem, item_id_problem, require_fitting, require_ids
from lowerfunnel.serving.engine.inspecting import inspect
from lowerfunnel.serving.engine.live import LiveVersion
from lowerfunnel.serving.engine.probe import RecallProbe
from lowerfunnel.serving.engine.query_towers import QueryTowers
from lowerfunnel.serving.engine.request_log import RequestLog
from lowerfunnel.serving.engine.served_line import served_line
from lowerfunnel.serving.engine.timelines import TimelineReader
from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.peers import Peers
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.records import EventRecord, ItemRecord
from lowerfunnel.serving.requests import CandidateAnswer, CandidateRequest, Id
from lowerfunnel.serving.service import Inspection, ItemView, Readiness, VersionInfo, WriteOutcome
from lowerfunnel.serving.settings import LIST_SOURCES, EngineConfig
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.versions.build import build_version
from lowerfunnel.serving.versions.golden import check_golden
from lowerfunnel.serving.versions.loaded import LoadedVersion
from lowerfunnel.serving.versions.manifest import VersionManifest, read_manifest
from lowerfunnel.serving.versions.registry import Pointer, Registry

_log = logging.getLogger("lowerfunnel.serving")

_PING_S = 0.2
_LETTING_GO_S = 1.0


class CandidateEngine:
    """Answers requests, takes in events and items, publishes versions. See `CandidateService`."""

    def __init__(
        self,
        registry: Registry,
        store: OnlineStore,
        config: EngineConfig,
        *,
        runs: Callable[[str], Mapping[str, Path]],
        metrics: ServerMetrics,
        recent: RecentAnswers,
        requests_folder: Path | None,
        index: IndexConfig | None = None,
        key: bytes | None = None,
        told: Callable[[str], None] = _log.info,
    ) -> None:
        """Put the service together; `open_current` makes it answer.

        Args:
            registry: Published versions.
            store: Timelines, items, eligibility.
            config: Settings.
            runs: Gives the folders of the runs of a name, by generator; raises `RunError` for one that is not there.
            metrics: Told of everything.
            recent: Told of answers and probes, for the page.
            requests_folder: Where requests are written down as served; None for nowhere.
            index: The index of versions to be built; None for that of each run.
            key: Signs and verifies manifests.
            told: Is told what is being done while a version is built.
        """
        self._registry, self._store, self._config = registry, store, config
        self._runs, self._metrics, self._recent = runs, metrics, recent
        self._index, self._key, self._told = index, key, told
        self._reader = TimelineReader(store, config.store)
        self._towers = QueryTowers(largest_batch=config.largest_tower_batch)
        self._answering = Answering(self._reader, self._towers, config)
        self._changes = CatalogueChanges(store, most_items=config.freshness.most_items)
        self._live: LiveVersion | None = None
        self._publishing, self._swapping = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        self._request_log: RequestLog | None = None
        if requests_folder is not None and config.request_log.share > 0:
            self._request_log = RequestLog(requests_folder, config.request_log, on_error=_tell_disk)
        self._probe = RecallProbe(config.probe, metrics=metrics, recent=recent)
        self._peers = Peers(
            registry.root / "servers",
            {"changes": self._catch_up, "version": functools.partial(self._follow_pointer, wait=True)},
        )
        self._follower = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._follower.start()

    def open_current(self) -> VersionInfo:
        """Load and serve the version that the registry points to.

        Raises:
            UnavailableError: If nothing is published.
            RunError: If the version is damaged.
            StoreError: If the store does not answer.
        """
        with self._swapping:
            self._changes.catch_up(None)
            pointer = self._registry.pointer()
            self._serve(self._load(pointer.version))
            return self._info(read_manifest(self._registry.folder(pointer.version)), pointer)

    def candidates(self, requests: Sequence[CandidateRequest]) -> list[CandidateAnswer]:
        """Answer requests, all by one version."""
        live = self._current()
        require_fitting(live.loaded.manifest, requests)
        answers = []
        for one in self._answering.prepare(live, requests):
            answer, blended = self._answering.finish(live, one)
            answers.append(answer)
            self._probe.offer(live, one)
            self._recent.observe(
                answer,
                duration_s=answer.stage_ms["total"] / 1000,
                advertisers=_advertisers(live, blended.place_K),
            )
            if self._request_log is not None and self._request_log.wants(one.request.request_id):
                self._request_log.write(functools.partial(served_line, live, answer, one))
        return answers

    def inspect(self, request: CandidateRequest) -> Inspection:
        """Answer a request with what a person wants to see beside it."""
        live = self._current()
        require_fitting(live.loaded.manifest, [request])
        return inspect(live, self._answering, request)

    def views(self, item_ids: Sequence[Id]) -> list[ItemView | None]:
        """Return items as a person sees them, None for one that is not known."""
        live = self._current()
        place_P = live.places_of(item_ids)
        views = iter(live.views(place_P[place_P >= 0]))
        return [next(views) if place >= 0 else None for place in place_P.tolist()]

    def add_events(self, events: Sequence[EventRecord]) -> list[WriteOutcome]:
        """Store events; they are durable, and part of the next answer, when this returns."""
        live = self._live
        problems = [event_problem(live, event) for event in events]
        accepted = [event for event, problem in zip(events, problems, strict=True) if problem is None]
        new = iter(self._store.add_events(accepted) if accepted else [])
        return [
            WriteOutcome(status="accepted" if next(new) else "duplicate") if problem is None else _outcome(problem)
            for problem in problems
        ]

    def put_items(self, items: Sequence[ItemRecord]) -> list[WriteOutcome]:
        """Store items; they are durable and served when this returns."""
        live = self._current()
        refused = self._changes.unreadable(live.loaded, items)
        accepted = [item for place, item in enumerate(items) if place not in refused]
        if not self._changes.room_for(live, [item.item_id for item in accepted]):
            most = self._config.freshness.most_items
            raise UnavailableError(
                f"{most:,} items stand beside the published snapshot already (freshness.most_items); publish a run that "
                "holds them, then send these again"
            )
        if accepted:
            self._store.put_items(accepted)
            self._catch_up()
            self._peers.tell("changes")
        return [_outcome(refused.get(place)) for place in range(len(items))]

    def delete_items(self, item_ids: Sequence[Id]) -> list[WriteOutcome]:
        """Take items out; they are not served once this has returned."""
        live = self._live
        problems = [item_id_problem(live, item_id) for item_id in item_ids]
        accepted = [item_id for item_id, problem in zip(item_ids, problems, strict=True) if problem is None]
        if accepted:
            self._store.delete_items(accepted)
            self._catch_up()
            self._peers.tell("changes")
        return [_outcome(problem) for problem in problems]

    def set_eligibility(self, *, advertisers: dict[str, bool], items: dict[Id, bool]) -> None:
        """Say who has budget and what is in stock; it holds for every request after this has returned."""
        live = self._live
        if live is not None:
            require_ids("item_id", items, live.loaded.manifest.item_id_type)
        self._store.set_eligibility(advertisers=advertisers, items=items)
        self._catch_up()
        self._peers.tell("changes")

    def publish(self, name: str) -> VersionInfo:
        """Publish the run `name`, verify it, and serve it from then on; the one before serves until it is loaded."""
        return self.publish_runs(self._runs(name))

    def publish_runs(self, runs: Mapping[str, Path]) -> VersionInfo:
        """Publish runs by their generators, verify them as one version, and serve it.

        Raises:
            RunError: If a run is not finished, or the version does not answer as it did offline.
        """
        with self._publication():
            try:
                version = build_version(runs, self._registry, index=self._index, key=self._key, told=self._told)
                loaded = self._load(version)
                pointer = self._registry.point_to(version, at_us=time.time_ns() // 1000)
            except LowerfunnelError:
                self._metrics.observe_swap("refused")
                raise
            self._serve(loaded)
            self._peers.tell("version")
            self._registry.remove_unreachable()
            return self._info(loaded.manifest, pointer)

    def rollback(self) -> VersionInfo:
        """Serve the version before the current one again."""
        with self._publication():
            pointer = self._registry.one_back()
            loaded = self._load(pointer.version)
            self._registry.write(pointer)
            self._serve(loaded, how="rolled_back")
            self._peers.tell("version")
            return self._info(loaded.manifest, pointer)

    def versions(self) -> list[VersionInfo]:
        """Return the published versions, latest first."""
        try:
            pointer = self._registry.pointer()
        except UnavailableError:
            return []
        return [self._info(manifest, pointer) for manifest in self._registry.manifests()]

    def readiness(self) -> Readiness:
        """Say whether requests can be answered; a store that is away is told of and does not make the server unready."""
        live, checks = self._live, {}
        checks["version"] = "ok" if live is not None else "no version is loaded"
        try:
            self._store.ping(timeout_s=_PING_S)
            checks["store"] = "ok"
        except StoreError as error:
            checks["store"] = f"answers are made from the request alone: {error}"
        return Readiness(ready=live is not None, checks=checks, version=None if live is None else live.version)

    def surfaces(self) -> list[str]:
        """Return the surfaces that the model knows."""
        return list(self._current().loaded.surfaces)

    def users(self, *, limit: int) -> list[Id]:
        """Return some users that the store knows."""
        return self._store.users(limit=limit)

    def close(self) -> None:
        """Stop what runs in the background. The store is the caller's."""
        self._stopping.set()
        self._peers.close()
        self._follower.join(timeout=10.0)
        self._probe.close()
        self._towers.close()
        if self._request_log is not None:
            self._request_log.close()

    @contextmanager
    def _publication(self) -> Iterator[None]:
        """Keep every other publication out, of this process and of others; what follows those of others is waited for."""
        if not self._publishing.acquire(blocking=False):
            raise RunError("another publication is under way; wait for it and try again")
        try:
            with self._swapping, self._registry.changing():
                yield
        finally:
            self._publishing.release()

    def _current(self) -> LiveVersion:
        live = self._live
        if live is None:
            raise UnavailableError("nothing is published yet; publish a finished run first")
        return live

    def _load(self, version: str) -> LoadedVersion:
        """Load a version and make sure that it answers as it did offline."""
        loaded = LoadedVersion.load(self._registry.folder(version), key=self._key)
        wanted = [name for name in self._config.blend.quotas if name not in LIST_SOURCES]
        missing = [name for name in wanted if name not in loaded.generators]
        if missing:
            raise RunError(
                f'blend.quotas names the generator "{missing[0]}", and version {version} has '
                f"{', '.join(loaded.generators)}; publish it with --generator {missing[0]}=DIR or take it out of the quotas"
            )
        check_golden(loaded)
        return loaded

    def _serve(self, loaded: LoadedVersion, *, how: Literal["published", "rolled_back"] = "published") -> None:
        with self._changes.lock:
            self._live = self._changes.attach(loaded)
        # Nothing but requests under way may hold the version before: neither what waits in the background to look at its
        # answers, nor cycles of its own, which the collector does not see while they are frozen.
        self._probe.let_go()
        if self._request_log is not None:
            self._request_log.let_go(timeout_s=_LETTING_GO_S)
        gc.unfreeze()
        gc.collect()
        # What a version is made of lives long. Looking through it for garbage again and again would stop every thread.
        gc.freeze()
        self._metrics.observe_swap(how)
        self._tell_size()

    def _catch_up(self) -> None:
        with self._changes.lock:
            before, self._live = self._live, self._changes.catch_up(self._live)
        if self._live is not before:
            self._tell_size()

    def _follow(self) -> None:
        """Take in what other servers wrote, and what they published."""
        told: str | None = None
        while not self._stopping.wait(self._config.freshness.poll_s):
            try:
                self._catch_up()
                self._follow_pointer()
            except (LowerfunnelError, OSError) as error:
                # The store is away, or a version cannot be loaded: what is served stays served.
                if str(error) != told:
                    told = str(error)
                    _log.warning("following other servers failed: %s", told)
                self._stopping.wait(self._config.store.rest_s)
            else:
                told = None

    def _follow_pointer(self, *, wait: bool = False) -> None:
        if not self._swapping.acquire(blocking=wait):
            return
        try:
            if self._live is None:
                return  # `open_current` looks at the pointer itself
            version = self._registry.pointer().version
            if version != self._live.version:
                self._serve(self._load(version))
        finally:
            self._swapping.release()

    def _tell_size(self) -> None:
        live = self._live
        if live is not None:
            self._metrics.set_version(live.version, live.snapshot_items, len(live.fresh))

    def _info(self, manifest: VersionManifest, pointer: Pointer) -> VersionInfo:
        published = {pointer.version: pointer.published_at_us, **dict(pointer.before)}
        return VersionInfo(
            version=manifest.version,
            published_at_us=published.get(manifest.version, manifest.built_at_us),
            current=manifest.version == pointer.version,
            items=manifest.items,
            generators=tuple(manifest.generators),
            recipe=next(iter(manifest.generators.values())).recipe,
        )


def _advertisers(live: LiveVersion, place_K: Int64Array) -> list[int | None]:
    return [None if code < 0 else code for code in live.advertiser_of(place_K).tolist()]


def _outcome(problem: str | None) -> WriteOutcome:
    return WriteOutcome(status="accepted" if problem is None else "rejected", reason=problem)


def _tell_disk(error: OSError) -> None:
    _log.warning("requests are not written down: %s", error)
