"""A published version in memory: everything that answers, from one folder that was verified first.

Shape letters: I items, D width of the towers, E width of their vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lowerfunnel.errors import RunError
from lowerfunnel.events.schema import ACTION_CODE, ACTIONS
from lowerfunnel.events.timeline import Int64Array
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.index.contract import Index
from lowerfunnel.index.settings import load_index
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.serving.blending.ranked_list import RankedList
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.towers.item_embedder import ItemEmbedder
from lowerfunnel.serving.towers.online_features import OnlineFeatures
from lowerfunnel.serving.towers.query_tower import QueryTower
from lowerfunnel.serving.towers.schema_hash import feature_schema_hash
from lowerfunnel.serving.versions.manifest import (
    CATALOGUE_FILE,
    ITEM_INPUTS_FILE,
    LISTS_FILE,
    TOWER_FILE,
    VersionManifest,
    read_manifest,
    verify_files,
)

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedGenerator:
    """A model that answers: its query tower, its items and the index over them."""

    name: str
    artefact: ModelArtefact
    features: OnlineFeatures
    tower: QueryTower
    embedder: ItemEmbedder
    index: Index
    item_input_ID: Float32Array
    """What each item is in a history, and as the subject of a request."""
    is_conversion: BoolArray
    """By code of an action: whether it counts as having bought."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedVersion:
    """A version. Its parts never change, and are never used with those of another one."""

    manifest: VersionManifest
    folder: Path
    items: Vocabulary
    catalogue: CatalogueSegment
    generators: Mapping[str, LoadedGenerator]
    lists: Mapping[str, RankedList]
    surfaces: tuple[str, ...]

    @property
    def version(self) -> str:
        """Its id."""
        return self.manifest.version

    @classmethod
    def load(cls, folder: Path, *, key: bytes | None = None) -> "LoadedVersion":
        """Read a version, after its files were compared with their hashes.

        Raises:
            RunError: If a file is missing, damaged or of another version, or the parts do not belong together.
        """
        manifest = read_manifest(folder)
        verify_files(folder, manifest, key=key)
        generators, vocabulary, surfaces = {}, None, ()
        for name in manifest.generators:
            artefact = ModelArtefact.load(folder / "generators" / name / "model")
            generators[name] = _generator(folder, manifest, name, artefact)
            if vocabulary is None:
                vocabulary = artefact.items
                surfaces = tuple(artefact.vocabularies.surface.ids.to_pylist())
            elif not artefact.items.ids.equals(vocabulary.ids):
                raise RunError(
                    f'the generator "{name}" of version {manifest.version} has another catalogue than the others'
                )
        if vocabulary is None:
            raise RunError(f"version {manifest.version} has no generator; publish a run again")
        catalogue = CatalogueSegment.load(folder / CATALOGUE_FILE)
        if catalogue.items != len(vocabulary) or manifest.items != len(vocabulary):
            raise RunError(
                f"version {manifest.version} has a catalogue of {catalogue.items:,} items and models of {len(vocabulary):,}; "
                "publish the run again"
            )
        return cls(
            manifest=manifest,
            folder=folder,
            items=vocabulary,
            catalogue=catalogue,
            generators=generators,
            lists=_lists(folder, len(vocabulary)),
            surfaces=surfaces,
        )

    def places_of(self, item_ids: Sequence[Id], /) -> Int64Array:
        """Return the place of each item in the snapshot, -1 where it is not there."""
        return self.catalogue.places_of(item_ids)

    def records(self, place_N: Int64Array) -> list[ItemRecord]:
        """Return items of the snapshot as they were imported; the table is read from disk."""
        table = pq.read_table(self.folder / CATALOGUE_FILE).take(pa.array(place_N))
        names = [name for name in ItemRecord.__slots__ if name in table.column_names]
        columns = [table.column(name).to_pylist() for name in names]
        return [_record(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def _record(row: dict[str, Any]) -> ItemRecord:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    values["attributes"] = values["attributes"] or ()
    return ItemRecord(**values)


def _generator(folder: Path, manifest: VersionManifest, name: str, artefact: ModelArtefact) -> LoadedGenerator:
    path, said = folder / "generators" / name, manifest.generators[name]
    found = feature_schema_hash(artefact, order=manifest.order)
    if found != said.feature_schema:
        raise RunError(
            f'the features of the generator "{name}" are not those that version {manifest.version} was built with (schema '
            f"{found[:12]}, not {said.feature_schema[:12]}): this program computes them otherwise; publish the run again"
        )
    index = load_index(path / "index")
    try:
        item_input_ID: Float32Array = load_file(path / ITEM_INPUTS_FILE)["inputs"]
    except (OSError, KeyError, SafetensorError) as error:
        raise RunError(f"{path / 'item_inputs.safetensors'} cannot be read ({error}); publish the run again") from error
    if not (
        index.items == len(item_input_ID) == len(artefact.items)
        and index.width == artefact.config.tower.vector_width
        and item_input_ID.shape[1] == artefact.config.tower.width
    ):
        raise RunError(
            f'the parts of the generator "{name}" do not belong together: an index of {index.items:,} x {index.width}, item '
            f"inputs of {item_input_ID.shape} and a model of {len(artefact.items):,} items; publish the run again"
        )
    return LoadedGenerator(
        name=name,
        artefact=artefact,
        features=OnlineFeatures(artefact, order=manifest.order),
        tower=QueryTower.load(path / TOWER_FILE, artefact.model, task=said.head),
        embedder=ItemEmbedder(artefact, task=said.head),
        index=index,
        item_input_ID=item_input_ID,
        is_conversion=np.isin(np.arange(len(ACTIONS)), [ACTION_CODE[action] for action in said.conversions]),
    )


def _lists(folder: Path, items: int) -> dict[str, RankedList]:
    try:
        arrays = load_file(folder / LISTS_FILE)
        names = sorted(name.removesuffix(".place") for name in arrays if name.endswith(".place"))
        lists = {name: RankedList(arrays[f"{name}.place"], arrays[f"{name}.score"], items=items) for name in names}
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise RunError(f"{folder / 'lists.safetensors'} cannot be read ({error}); publish the run again") from error
    return lists
