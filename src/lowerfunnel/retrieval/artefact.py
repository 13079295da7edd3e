"""A trained model on disk: weights, vocabularies and everything its inputs are made with.

model/ model.json  weights.safetensors  users.parquet  items.parquet  items.safetensors  users.safetensors
trained_users.safetensors  vocabularies/*.parquet
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
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.files import write_json
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.retrieval.two_tower import TableSizes, TwoTower


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelArtefact:
    """A model with what it takes to ask it."""

    config: RetrievalConfig
    model: TwoTower
    users: Vocabulary
    items: Vocabulary
    vocabularies: FeatureVocabularies
    price_scale: tuple[float, float]
    item_features: ItemFeatures
    user_features: UserFeatures
    trained_U: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, corpus: Corpus, config: RetrievalConfig, model: TwoTower) -> "ModelArtefact":
        """Put a model together with the parts of the corpus that it is asked with."""
        return cls(
            config=config,
            model=model,
            users=corpus.users,
            items=corpus.items,
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
        save_arrays({"trained": self.trained_U}, folder / "trained_users.safetensors")
        weights = {name: parameter.detach().cpu().contiguous() for name, parameter in self.model.named_parameters()}
        save_file(weights, folder / "weights.safetensors")
        sizes = asdict(table_sizes(self.vocabularies, users=len(self.users), items=self.item_features))
        write_json(
            folder / "model.json",
            {"config": settings_to_dict(self.config), "sizes": sizes, "price_scale": list(self.price_scale)},
        )

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
            trained_U = load_arrays(folder / "trained_users.safetensors")["trained"]
            weights = load_file(folder / "weights.safetensors")
            price_mean, price_deviation = written["price_scale"]
        # A cut or overwritten file fails as its reader likes: ValueError covers JSON, settings, ids and Parquet.
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, pa.ArrowException) as error:
            raise RunError(f"the model in {folder} cannot be read ({error}); train it again") from error
        model = TwoTower(config.tower, sizes, generator=torch.Generator())
        live = dict(model.named_parameters())
        # Shapes are compared because copying would broadcast a single row over a table.
        if {name: tensor.shape for name, tensor in weights.items()} != {name: p.shape for name, p in live.items()}:
            raise RunError(f"the weights in {folder} are those of another model; train it again")
        if (
            sizes != table_sizes(vocabularies, users=len(users), items=item_features)
            or not len(users) == len(user_features) == len(trained_U)
            or len(items) != len(item_features)
        ):
            raise RunError(f"the files of the model in {folder} do not belong together; train it again")
        with torch.no_grad():
            for name, parameter in live.items():
                parameter.copy_(weights[name])
        return cls(
            config=config,
            model=model.eval(),
            users=users,
            items=items,
            vocabularies=vocabularies,
            price_scale=(price_mean, price_deviation),
            item_features=item_features,
            user_features=user_features,
            trained_U=trained_U,
        )


def table_sizes(vocabularies: FeatureVocabularies, *, users: int, items: ItemFeatures) -> TableSizes:
    """Return the rows of each embedding table."""
    return TableSizes(
        users=users,
        items=len(items),
        advertisers=len(vocabularies.advertiser),
        categories=len(vocabularies.category),
        item_attributes=len(vocabularies.item_attribute),
        user_attributes=len(vocabularies.user_attribute),
        surfaces=len(vocabularies.surface),
        content_width=items.content_IC.shape[1],
        has_price=bool(items.price_I2[:, 1].any()),
    )
