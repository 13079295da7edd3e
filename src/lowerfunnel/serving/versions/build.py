"""Making a version of finished runs: what the server needs of them, in one folder.

Shape letters: I items, D width of the towers, E width of their vectors, N items of a list, U users, E events.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from lowerfunnel import __version__
from lowerfunnel.errors import RunError
from lowerfunnel.events.schema import ACTION_CODE
from lowerfunnel.events.store import EventStore
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.files import sha256_of_folder
from lowerfunnel.index.settings import IndexConfig
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run import open_finished
from lowerfunnel.pipeline.run_folder import RunFolder, chain
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.corpus import end_of_log, store_timelines
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.sample_queries import sample_queries
from lowerfunnel.serving.towers.query_export import export_query_tower
from lowerfunnel.serving.towers.schema_hash import feature_schema_hash
from lowerfunnel.serving.versions.golden import write_golden
from lowerfunnel.serving.versions.manifest import (
    CATALOGUE_FILE,
    FORMAT,
    GOLDEN_FILE,
    ITEM_INPUTS_FILE,
    LISTS_FILE,
    TOWER_FILE,
    GeneratorManifest,
    VersionManifest,
    read_manifest,
    verify_files,
    version_id,
)
from lowerfunnel.serving.versions.registry import Registry

_NEEDED = ("import", "label", "train", "index")
_POPULAR_DAYS = 28
_DAY_US = 86_400_000_000
_SERVED_FIRST = "conversion"

Told = Callable[[str], None]
"""Is told in a few words what is being done."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A finished run, open."""

    name: str
    run: Path
    recipe: Recipe
    model_version: str
    head: str


def build_version(
    runs: Mapping[str, Path],
    registry: Registry,
    *,
    index: IndexConfig | None,
    key: bytes | None,
    told: Told,
) -> str:
    """Build the version of `runs` in the registry, unless it is there already and undamaged, and return its id.

    Args:
        runs: Folders of finished runs by the name of their generator; "conversion" must be among them. A run of two heads
            that is named twice gives its engagement head to the other name.
        registry: Where versions are kept.
        index: The index that is built; None takes that of each run.
        key: Signs the manifest; None leaves it unsigned.
        told: Is told what is being done.

    Raises:
        RunError: If a run is not finished or damaged, or the runs do not have one catalogue.
    """
    if _SERVED_FIRST not in runs:
        raise RunError(f'a version needs a generator named "{_SERVED_FIRST}", got {", ".join(runs) or "none"}')
    sources: list[_Source] = []
    for name, run in runs.items():
        sources.append(_open(name, run, again=run in [source.run for source in sources]))
    made_of = [
        [source.name, source.model_version, source.head, list(source.recipe.labels.conversions)] for source in sources
    ]
    settings = None if index is None else repr(index)
    version = version_id([FORMAT, __version__, made_of, settings, key is not None])
    if registry.holds(version) and _is_whole(registry.folder(version), key):
        return version
    told(f"building version {version}")

    def fill(folder: Path) -> None:
        _fill(folder, version, sources, index=index, key=key, told=told)

    registry.add(version, fill)
    return version


def _is_whole(folder: Path, key: bytes | None) -> bool:
    """Tell whether a version that is there already is what was built: a damaged one is built anew."""
    try:
        verify_files(folder, read_manifest(folder), key=key)
    except RunError:
        return False
    return True


def _open(name: str, run: Path, *, again: bool) -> _Source:
    folder = RunFolder.open(run)
    with folder.reading():
        recipe, _, _ = open_finished(folder, _NEEDED, untouched=("train", "index"))
        files: dict[str, str] = {}
        for step in ("train", "index"):
            record = folder.record(step)
            assert record is not None  # noqa: S101 - open_finished has just read it
            files |= record.files
    files.pop("model/training.json", None)
    head = "conversion"
    if again:
        if recipe.retrieval.objective.heads != "multi":
            raise RunError(
                f'{run} is named for two generators, and has one head; train a second run for "{name}", or one with '
                'retrieval.objective.heads = "multi"'
            )
        head = "engagement"
    return _Source(name=name, run=run, recipe=recipe, model_version=chain(files)[:16], head=head)


def _fill(
    folder: Path, version: str, sources: list[_Source], *, index: IndexConfig | None, key: bytes | None, told: Told
) -> None:
    manifests, catalogue_ids, first = {}, None, None
    for source in sources:
        with RunFolder.open(source.run).reading():
            path = folder / "generators" / source.name
            path.mkdir(parents=True)
            _take_over(source.run / "model", path / "model")
            artefact = ModelArtefact.load(path / "model")
            if catalogue_ids is None:
                catalogue_ids = artefact.items.ids
            elif not artefact.items.ids.equals(catalogue_ids):
                raise RunError(
                    f"{source.run} has another catalogue than {sources[0].run}: the generators of one version choose from "
                    "the same items; run both recipes on the same log"
                )
            told(f"encoding {len(artefact.items):,} items ({source.name})")
            encoder = Encoder(artefact.model, artefact.item_features, artefact.counters_IF, task=source.head)
            save_file({"inputs": encoder.item_inputs()}, path / ITEM_INPUTS_FILE)
            export_query_tower(artefact.model, path / TOWER_FILE, task=source.head)
            store = EventStore.open(source.run / "store")
            timelines = store_timelines(store, artefact.users, artefact.items, artefact.vocabularies.surface)
            if index is None and source.head == "conversion":
                _take_over(source.run / "index", path / "index")
            else:
                told(f"building the index ({source.name})")
                chosen = index or source.recipe.index
                asked_QE = sample_queries(artefact, encoder, timelines) if chosen.target_recall is not None else None
                chosen.build(encoder.items(), seed=source.recipe.seed, query_QD=asked_QE).save(path / "index")
            told(f"golden queries ({source.name})")
            write_golden(path / GOLDEN_FILE, artefact, encoder, timelines)
            manifests[source.name] = GeneratorManifest(
                recipe=source.recipe.name,
                model_version=source.model_version,
                head=source.head,
                feature_schema=feature_schema_hash(artefact, order=store.info.order),
                conversions=tuple(source.recipe.labels.conversions),
            )
            if first is None:
                first = (store, timelines)
                pq.write_table(store.items(), folder / CATALOGUE_FILE, compression="zstd")
                lists = _lists(timelines, len(artefact.items), source.recipe.labels.conversions)
                save_file(lists, folder / LISTS_FILE)
    assert first is not None and catalogue_ids is not None  # noqa: S101, PT018 - there is at least one source
    store, timelines = first
    manifest = VersionManifest(
        format=FORMAT,
        version=version,
        built_at_us=time.time_ns() // 1000,
        lowerfunnel=__version__,
        order=store.info.order,
        end_of_log_us=end_of_log(timelines),
        items=len(catalogue_ids),
        item_id_type=store.info.item_id_type,
        user_id_type=store.info.user_id_type,
        synthetic=store.info.synthetic,
        generators=manifests,
        files=sha256_of_folder(folder),
    )
    (manifest if key is None else manifest.signed(key)).write(folder)


def _take_over(source: Path, target: Path) -> None:
    """Link the files of a run's folder, or copy them where the disk is another one: a run replaces files, it never edits."""
    target.mkdir()
    for file in sorted(source.rglob("*")):
        place = target / file.relative_to(source)
        if file.is_dir():
            place.mkdir()
            continue
        try:
            os.link(file, place)
        except OSError:
            shutil.copyfile(file, place)


def _lists(timelines: Timelines, items: int, conversions: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return what sells most (of the last four weeks, where there are times) and what came last, as places and scores."""
    item_E, known_E = timelines.item_E, timelines.item_E >= 0
    bought_E = known_E & np.isin(timelines.action_E, [ACTION_CODE[action] for action in conversions])
    lists = {}
    if timelines.order == "time" and len(timelines.t_E):
        recent_E = bought_E & (timelines.t_E >= timelines.t_E.max() - _POPULAR_DAYS * _DAY_US)
        bought_E = recent_E if recent_E.any() else bought_E
        first_us_I = np.full(items, np.iinfo(np.int64).max, np.int64)
        np.minimum.at(first_us_I, item_E[known_E], timelines.t_E[known_E])
        seen_N = np.flatnonzero(first_us_I < np.iinfo(np.int64).max)
        newest_N = seen_N[np.lexsort((seen_N, -first_us_I[seen_N]))]
        # Days before the end of the log, negative: newer is larger, and a float32 holds it.
        age_days_N = (first_us_I[newest_N] - timelines.t_E.max()) / _DAY_US
        lists["fresh.place"], lists["fresh.score"] = newest_N.astype(np.int64), age_days_N.astype(np.float32)
    count_I = np.bincount(item_E[bought_E], minlength=items)
    bought_N = np.flatnonzero(count_I)
    best_N = bought_N[np.lexsort((bought_N, -count_I[bought_N]))]
    lists["popular.place"], lists["popular.score"] = best_N.astype(np.int64), count_I[best_N].astype(np.float32)
    return lists
