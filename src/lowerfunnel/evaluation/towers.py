"""The two-tower model as a retriever: encode the users, search the index."""

import numpy as np
import numpy.typing as npt

from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.features.entities import UserFeatures
from lowerfunnel.index.contract import Index
from lowerfunnel.index.ranking import Ranking
from lowerfunnel.retrieval.encoder import Encoder


class TowerRetriever:
    """Answers queries with the items nearest to the user vector. The surface of a request is not known ahead of it."""

    def __init__(
        self,
        encoder: Encoder,
        index: Index,
        *,
        timelines: Timelines,
        user_features: UserFeatures,
        trained_U: npt.NDArray[np.bool_],
    ) -> None:
        self._encoder = encoder
        self._index = index
        self._timelines = timelines
        self._user_features = user_features
        self._trained_U = trained_U

    def retrieve(self, queries: EvaluationSet, k: int) -> Ranking:
        """Return the `k` nearest items that are not excluded."""
        query_QD = self._encoder.users(
            queries.user_Q,
            queries.at_us_Q,
            timelines=self._timelines,
            features=self._user_features,
            trained_U=self._trained_U,
        )
        return self._index.search(
            query_QD, k, excluded_offsets=queries.excluded_offsets, excluded_item=queries.excluded_item
        )
