"""A finished run as a policy: its model chooses the ads of a world.

Shape letters: R requests, S slots, I items of the world, E eligible items that the model knows, Q distinct queries,
D width of the vectors, X excluded pairs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from lowerfunnel.errors import PolicyError, RunError
from lowerfunnel.evaluation.queries import histories_before, purchased
from lowerfunnel.events.store import EventStore
from lowerfunnel.events.timeline import Int32Array, Int64Array, Timelines
from lowerfunnel.features.requests import Requests as RequestFeatures
from lowerfunnel.features.requests import encode_words
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run import open_finished
from lowerfunnel.pipeline.run_folder import RunFolder
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.corpus import store_timelines
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.world.policy import SURFACES, Bools, Ints, Requests, Slate

_NEEDED = ("import", "label", "train", "index")


class RunPolicy:
    """Shows each user the items that the model of a run holds best for them, among those that it knows.

    The user tower reads what the run's log held of the user before the request, and of the request what the model has
    learned to read: the surface, the item that the user looks at, the query. Whoever is not in the log gets the model's
    answer for nobody in particular. Items of the world that came after the log are never shown.
    """

    def __init__(
        self,
        artefact: ModelArtefact,
        timelines: Timelines,
        item_id_I: Ints,
        *,
        queries: Sequence[str],
        name: str,
        excluded_actions: tuple[str, ...] = (),
    ) -> None:
        """Prepare a policy.

        Args:
            artefact: The model.
            timelines: The events of its log.
            item_id_I: Ids of the world's items, ascending.
            queries: What the world's people search for, by its number.
            name: What it is called in reports.
            excluded_actions: Items that a user did one of these with before are not shown again.

        Raises:
            RunError: If the model's ids are no integers, or none of the world's items is in its catalogue.
        """
        for what, vocabulary in (("items", artefact.items), ("users", artefact.users)):
            if vocabulary.ids.type != pa.int64():
                raise RunError(
                    f"the {what} of the run are {vocabulary.ids.type} ids and those of a world are integers: the run was not "
                    "made on this world"
                )
        self._name = name
        # Behind the queries stands the text of a request without one.
        self._queries = pa.array([*queries, None], pa.string())
        self._artefact = artefact
        self._timelines = timelines
        self._excluded_actions = excluded_actions
        self._item_id_I = item_id_I
        self._dense_I = artefact.items.encode(pa.array(item_id_I))
        if (self._dense_I < 0).all():
            raise RunError(
                f"none of the world's {len(item_id_I):,} items is in the run's catalogue of {len(artefact.items):,}: the run "
                "was not made on this world"
            )
        self._encoder = Encoder(artefact.model, artefact.item_features, artefact.counters_IF)
        self._vector_ID = self._encoder.items()
        # 0 stands for a surface that the model has not learned.
        self._surface_code = artefact.vocabularies.surface.encode(pa.array(SURFACES, pa.string())) + np.int32(1)

    @classmethod
    def open(cls, run: Path, item_id_I: Ints, *, queries: Sequence[str], name: str | None = None) -> "RunPolicy":
        """Make a policy of the run in a folder.

        Args:
            run: The folder.
            item_id_I: Ids of the world's items, ascending.
            queries: What the world's people search for, by its number.
            name: What it is called; None for the name of its recipe.

        Raises:
            RunError: If there is no such run, it is not finished, damaged, or of another world.
        """
        folder = RunFolder.open(run)
        with folder.reading():
            recipe, _, _ = open_finished(folder, _NEEDED, untouched=("train", "index"))
            artefact = ModelArtefact.load(run / "model")
            timelines = store_timelines(
                EventStore.open(run / "store"), artefact.users, artefact.items, artefact.vocabularies.surface
            )
        return cls(
            artefact,
            timelines,
            item_id_I,
            queries=queries,
            name=recipe.name if name is None else name,
            excluded_actions=_excluded_actions(recipe),
        )

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self._name

    def rank(self, requests: Requests, eligible_I: Bools, slots: int) -> Slate:
        """Return the `slots` best known and eligible items of each request; see `Policy.rank`.

        Raises:
            PolicyError: If the model knows too few of the eligible items.
        """
        place_E = np.flatnonzero(eligible_I & (self._dense_I >= 0))
        if len(place_E) < slots:
            raise PolicyError(
                f'the policy "{self.name}" knows {len(place_E)} of the {int(eligible_I.sum())} eligible items, fewer than the '
                f"{slots} slots of a request: the catalogue of its log is too old or too small for this day"
            )
        if not len(requests):
            return Slate(item_id_RS=np.zeros((0, slots), np.int64))
        user_R = self._artefact.users.encode(pa.array(requests.user_id_R))
        surface_R = self._surface_code[requests.surface_R]
        nothing_R = np.full(len(requests), -1, np.int32)
        context = self._artefact.config.context
        subject_R = self._artefact.items.encode(pa.array(requests.context_item_id_R)) if context.subject else nothing_R
        text_R = requests.query_R if context.query else nothing_R
        # All that a query vector depends on: who asks, how much of their history there is, and the request; and when, if
        # what they did of late is counted.
        _, known_R = self._timelines.before(user_R, requests.t_us_R)
        known_R = np.where(user_R < 0, 0, known_R)
        moment_R = requests.t_us_R if self._artefact.config.tower.activity else np.zeros_like(requests.t_us_R)
        columns = (user_R, known_R, np.where(user_R < 0, 0, moment_R), surface_R, subject_R, text_R)
        query_R6 = np.stack([column.astype(np.int64) for column in columns], axis=1)
        _, first_Q, query_R = np.unique(query_R6, axis=0, return_index=True, return_inverse=True)
        user_Q, at_Q = user_R[first_Q], requests.t_us_R[first_Q]
        word_offsets_Q1, word_T = encode_words(
            self._queries.take(pa.array(text_R[first_Q] % len(self._queries))), self._artefact.words
        )
        vector_QD = self._encoder.users(
            user_Q,
            at_Q,
            timelines=self._timelines,
            features=self._artefact.user_features,
            trained_U=self._artefact.trained_U,
            requests=RequestFeatures(
                surface_R=surface_R[first_Q],
                subject_R=subject_R[first_Q],
                word_offsets_R1=word_offsets_Q1,
                word_T=word_T,
            ),
        )
        index = ExactIndex(self._vector_ID[self._dense_I[place_E]])
        offsets, item = self._excluded(user_Q, at_Q, place_E)
        found_QS = index.search(vector_QD, slots, excluded_offsets=offsets, excluded_item=item).item_QK
        short_Q = (found_QS < 0).any(axis=1)
        if short_Q.any():
            raise PolicyError(
                f'the policy "{self.name}" has fewer than {slots} items for the user '
                f"{requests.user_id_R[first_Q[short_Q][0]]}, who has bought the others; set labels.exclude_purchased to false"
            )
        return Slate(item_id_RS=self._item_id_I[place_E[found_QS]][query_R.ravel()])

    def _excluded(self, user_Q: Int32Array, at_Q: Int64Array, place_E: Ints) -> tuple[Int64Array, Int32Array]:
        """Return, per query, which of the eligible items it must not get."""
        offsets, item_X = purchased(*histories_before(self._timelines, user_Q, at_Q), self._excluded_actions)
        eligible_of_item = np.full(len(self._artefact.items), -1, np.int32)
        eligible_of_item[self._dense_I[place_E]] = np.arange(len(place_E), dtype=np.int32)
        return offsets, eligible_of_item[item_X]


def _excluded_actions(recipe: Recipe) -> tuple[str, ...]:
    return tuple(recipe.labels.conversions) if recipe.labels.exclude_purchased else ()
