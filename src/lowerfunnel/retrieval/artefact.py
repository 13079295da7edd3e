"""A trained model on disk: weights, vocabularies and everything its inputs are made with.

model/ model.json  price_scale.json  weights.safetensors  users.parquet  items.parquet  words.parquet
items.safetensors  users.safetensors  known.safetensors (who was trained, how items had performed)  vocabularies/*.parquet
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from lowerfunnel.config import load_settings, settings_to_dict
from lowerfunnel.errors import RunError
from lowerfunnel.features.entities import FeatureVocabularies, ItemFeatures, UserFeatures
from lowerfunnel.features.prices import PriceScale
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.files import write_json
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.retrieval.sizes import TableSizes
from lowerfunnel.retrieval.two_tower import TwoTower


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelArtefact:
    """A model with what it takes to ask it."""

    config: RetrievalConfig
    model: TwoTower
    sizes: TableSizes
    users: Vocabulary
    items: Vocabulary
    words: Vocabulary
    vocabularies: FeatureVocabularies
    price_scale: PriceScale
    item_features: ItemFeatures
    user_features: UserFeatures
    trained_U: npt.NDArray[np.bool_]
    counters_IF: npt.NDArray[np.float32]
    """How the items had performed before the test, for a model that looks at it."""

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        config: RetrievalConfig,
        model: TwoTower,
        *,
        sizes: TableSizes,
        counters_IF: npt.NDArray[np.float32],
    ) -> "ModelArtefact":
        """Put a model together with the parts of the corpus that it is asked with."""
        return cls(
            config=config,
            model=model,
            sizes=sizes,
            counters_IF=counters_IF,
            users=corpus.users,
            items=corpus.items,
            words=corpus.words,
            vocabularies=corpus.vocabularies,
            price_scale=corpus.price_scale,
            item_features=corpus.item_features,
            user_features=corpus.user_features,
            trained_U=corpus.trained_U,
        )

    def save(self, folder: Path) -> None:
        """Write everything into an existing folder."""
        (folder / "vocabularies").mkdir()
        self.vocabularies.save(folder / "vocabularies")
        self.users.save(folder / "users.parquet")
        self.items.save(folder / "items.parquet")
        self.item_features.save(folder / "items.safetensors")
        self.user_features.save(folder / "users.safetensors")
        self.words.save(folder / "words.parquet")
        save_arrays({"trained": self.trained_U, "counters": self.counters_IF}, folder / "known.safetensors")
        weights = {name: parameter.detach().cpu().contiguous() for name, parameter in self.model.named_parameters()}
        save_file(weights, folder / "weights.safetensors")
        self.price_scale.save(folder / "price_scale.json")
        write_json(folder / "model.json", {"config": settings_to_dict(self.config), "sizes": asdict(self.sizes)})

    @classmethod
    def load(cls, folder: Path) -> "ModelArtefact":
        """Read what `save` wrote.

        Raises:
            RunError: If a file is missing, or does not fit the others.
        """
        try:
            written = json.loads((folder / "model.json").read_text(encoding="utf-8"))
            config = load_settings(RetrievalConfig, written["config"], source=str(folder / "model.json"))
            sizes = TableSizes(**written["sizes"])
            users, items = Vocabulary.load(folder / "users.parquet"), Vocabulary.load(folder / "items.parquet")
            vocabularies = FeatureVocabularies.load(folder / "vocabularies")
            item_features = ItemFeatures.load(folder / "items.safetensors")
            user_features = UserFeatures.load(folder / "users.safetensors")
            words = Vocabulary.load(folder / "words.parquet")
            price_scale = PriceScale.load(folder / "price_scale.json")
            known = load_arrays(folder / "known.safetensors")
            trained_U, counters_IF = known["trained"], known["counters"]
            weights = load_file(folder / "weights.safetensors")
        # A cut or overwritten file fails as its reader likes: ValueError covers JSON, settings, ids and Parquet.
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, pa.ArrowException) as error:
            raise RunError(f"the model in {folder} cannot be read ({error}); train it again") from error
        model = TwoTower(config, sizes, generator=torch.Generator())
        live = dict(model.named_parameters())
        # Shapes are compared because copying would broadcast a single row over a table.
        if {name: tensor.shape for name, tensor in weights.items()} != {name: p.shape for name, p in live.items()}:
            raise RunError(f"the weights in {folder} are those of another model; train it again")
        if not (
            len(users) == len(user_features) == len(trained_U) == sizes.users
            and len(items) == len(item_features) == len(counters_IF) == sizes.items
            and (len(vocabularies.advertiser), len(vocabularies.category)) == (sizes.advertisers, sizes.categories)
            and (len(words), counters_IF.shape[1]) == (sizes.words, sizes.counters_width)
            and (len(vocabularies.surface), len(vocabularies.item_attribute)) == (sizes.surfaces, sizes.item_attributes)
            and (len(vocabularies.user_attribute), len(vocabularies.category_path))
            == (sizes.user_attributes, sizes.category_paths)
        ):
            raise RunError(f"the files of the model in {folder} do not belong together; train it again")
        with torch.no_grad():
            for name, parameter in live.items():
                parameter.copy_(weights[name])
        return cls(
            config=config,
            model=model.eval(),
            sizes=sizes,
            users=users,
            items=items,
            words=words,
            vocabularies=vocabularies,
            price_scale=price_scale,
            item_features=item_features,
            user_features=user_features,
            trained_U=trained_U,
            counters_IF=counters_IF,
        )
