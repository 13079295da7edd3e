"""The steps of a run: import -> label -> train -> index -> evaluate -> report.

Each step reads what the steps before it wrote, writes one thing whole, and is skipped when its fingerprint has not
changed. A fingerprint is made of the settings that the step reads and of the fingerprints before it, so a changed
setting redoes its own step and what follows, and nothing else.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from lowerfunnel import __version__
from lowerfunnel.config import settings_to_dict
from lowerfunnel.errors import DataError, RunError
from lowerfunnel.evaluation.evaluate import COVERAGE_K, evaluate
from lowerfunnel.evaluation.evaluation_set import EvaluationSet
from lowerfunnel.evaluation.measure import measure
from lowerfunnel.evaluation.metrics_json import DataKind, MetricRow, write_metrics
from lowerfunnel.evaluation.pair_rank import pair_ranks
from lowerfunnel.evaluation.ranks_file import write_ranks
from lowerfunnel.evaluation.within_group import within_group_rows
from lowerfunnel.events.store import EventStore
from lowerfunnel.events.timeline import Int32Array
from lowerfunnel.files import sha256_of_file, write_folder, write_json, write_text
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.settings import load_index
from lowerfunnel.labels.build import build_labels
from lowerfunnel.pipeline import assemble
from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.examples import examples_of, score_distribution
from lowerfunnel.pipeline.fingerprints import OUTPUTS, STEPS
from lowerfunnel.pipeline.import_log import import_log
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run_folder import RunFolder, chain
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.batches import BatchSource
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.examples import TASKS
from lowerfunnel.retrieval.objective import TwoTowerTraining
from lowerfunnel.retrieval.sample_queries import sample_queries
from lowerfunnel.retrieval.training_data import describe_examples, item_counters, table_sizes, training_data
from lowerfunnel.training.loop import train
from lowerfunnel.training.memory import forget_peak, keep_large_blocks, peak_bytes


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recipe at work in one folder, which the caller has locked.

    Attributes:
        recipe: The settings.
        folder: Where everything is written.
        data: The folder of the log's files; None where the log is generated, or imported already.
        log: Fingerprint of the log.
        fingerprints: What each step is made from.
        console: Who is told about it.
    """

    recipe: Recipe
    folder: RunFolder
    data: Path | None
    log: str
    fingerprints: dict[str, str]
    console: Console

    def execute(self, *, until: str = STEPS[-1]) -> None:
        """Do every step that is not finished, up to and with the step `until`."""
        with self.console.waiting("Comparing what is there"):
            finished = self.folder.finished(self.fingerprints)
        unfinished = [step for step in STEPS if step not in finished]
        # In this order, so that a kill at any moment leaves no record beside settings that it does not belong to.
        self.folder.forget(unfinished)
        for name in (name for step in unfinished for name in OUTPUTS[step] if "." in name):
            self.folder.discard(name)
        self.folder.write_settings(settings_to_dict(self.recipe))
        for step in finished:
            self.console.skipped(step)
        self.redo([step for step in unfinished if STEPS.index(step) <= STEPS.index(until)])

    def redo(self, steps: Sequence[str]) -> None:
        """Do these steps, whether they are finished or not."""
        if self.recipe.training.threads is not None:
            torch.set_num_threads(self.recipe.training.threads)
        keep_large_blocks()
        work = {
            "import": self._import,
            "label": self._label,
            "train": self._train,
            "index": self._index,
            "evaluate": self._evaluate,
            "report": self._report,
        }
        self.folder.forget(steps)
        for step in steps:
            facts = {"log": self.log} if step == "import" else {}
            with self.console.step(step):
                self.folder.run_step(step, self.fingerprints[step], OUTPUTS[step], work[step], facts)
        # Only now: a kill right after training finds them still there.
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    @property
    def _checkpoints(self) -> Path:
        return self.folder.path / "checkpoints"

    @cached_property
    def store(self) -> EventStore:
        """The imported log."""
        return EventStore.open(self.folder.path / "store")

    @cached_property
    def labels(self) -> Path:
        """The folder of the labels."""
        return self.folder.path / "labels"

    @cached_property
    def corpus(self) -> Corpus:
        """The log with its labels, in memory."""
        model = self.recipe.retrieval
        return Corpus.build(
            self.store,
            self.labels,
            category_separator=model.tower.category_separator,
            tasks=model.objective.learned,
        )

    @cached_property
    def artefact(self) -> ModelArtefact:
        """The trained model."""
        return ModelArtefact.load(self.folder.path / "model")

    @property
    def data_kind(self) -> DataKind:
        """Whether the log is real or synthetic."""
        return "synthetic" if self.store.info.synthetic else "real"

    @cached_property
    def surfaces(self) -> list[str]:
        """Names of the log's surfaces, sorted."""
        return sorted(self.store.info.surfaces)

    def _import(self) -> None:
        shutil.rmtree(self.folder.path / "world", ignore_errors=True)
        import_log(self.recipe, self.data, self.folder.path)
        info = self.store.info
        self.console.note(f"{info.events:,} events of {info.users:,} users on {info.items:,} items")

    def _label(self) -> None:
        def fill(folder: Path) -> None:
            info = build_labels(self.store, self.recipe.labels, folder, seed=self.recipe.seed)
            positives = ", ".join(f"{count:,} {action}" for action, count in info.train.items())
            self.console.note(
                f"positives: {positives}; held out: {info.validation_pairs:,} to validate, {info.test_pairs:,} to test"
            )

        write_folder(self.labels, fill)

    def _train(self) -> None:
        forget_peak()
        recipe, corpus = self.recipe, self.corpus
        device = assemble.device_of(recipe.training)
        data = training_data(corpus, recipe.retrieval)
        model = assemble.new_model(recipe, corpus, data)
        batches = BatchSource(recipe.retrieval, data, seed=recipe.seed)
        validation = self._validation_set()
        headline = recipe.evaluation.headline
        counters_IF = item_counters(corpus, recipe.retrieval, testing=False)

        def validate() -> Mapping[str, float]:
            if validation is None:
                return {}
            encoder = Encoder(model, corpus.item_features, counters_IF)
            retriever = assemble.tower_retriever(corpus, encoder, ExactIndex(encoder.items()), validating=True)
            k = int(headline.partition("@")[2])
            ranks = pair_ranks(retriever.retrieve(validation, k), validation)
            rows = measure({"lowerfunnel": ranks}, validation, ks=[k], n_boot=2, seed=0, data=self.data_kind)
            return {row.metric: row.value for row in rows if row.slice == "all" and row.metric == headline}

        def describe(epoch: int, step: int) -> str:
            return describe_examples(corpus, batches, epoch, step)

        training = TwoTowerTraining(
            model,
            batches,
            recipe.retrieval,
            recipe.training,
            device=device,
            seed=recipe.seed,
            validate=validate,
            describe=describe,
        )
        checkpoints = self._checkpoints / self.fingerprints["train"][:16]
        with self.console.training() as progress:
            result = train(training, recipe.training, checkpoints=checkpoints, headline=headline, progress=progress)

        def fill(folder: Path) -> None:
            ModelArtefact.of(
                corpus,
                recipe.retrieval,
                model,
                sizes=table_sizes(corpus, recipe.retrieval, data),
                counters_IF=item_counters(corpus, recipe.retrieval, testing=True),
            ).save(folder)
            history = {
                "history": result.history,
                "best_epoch": result.best_epoch,
                "trained_s": round(result.trained_s, 3),
                "peak_memory_mb": round(peak_bytes() / 1e6),
                "device": str(device),
                "threads": torch.get_num_threads(),
                "examples": len(batches.examples),
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
            }
            write_json(folder / "training.json", history)

        write_folder(self.folder.path / "model", fill)

    def _validation_set(self) -> EvaluationSet | None:
        """Return the queries that training is validated on: a fixed draw of at most `validation_users`."""
        held_out = self.corpus.held_out(self.labels, "validation")
        validation = assemble.queries_of(
            self.recipe, self.corpus, held_out, self.surfaces, task="conversion", validating=True
        )
        if validation is None:
            self.console.warn("nothing is held out for validation: training runs for all its epochs")
            return None
        limit = self.recipe.evaluation.validation_users
        if validation.queries <= limit:
            return validation
        chosen = np.random.default_rng((self.recipe.seed, 3)).permutation(validation.queries)[:limit]
        return validation.take(np.sort(chosen))

    def _index(self) -> None:
        encoder = self._encoder()
        asked_QD = None
        if self.recipe.index.target_recall is not None:
            asked_QD = sample_queries(self.artefact, encoder, self.corpus.known)
        index = self.recipe.index.build(encoder.items(), seed=self.recipe.seed, query_QD=asked_QD)
        write_folder(self.folder.path / "index", index.save)

    def _encoder(self) -> Encoder:
        artefact = self.artefact
        return Encoder(artefact.model, artefact.item_features, artefact.counters_IF)

    def _evaluate(self) -> None:
        """Measure the model and the floors on the test pairs; write `metrics.json` and what the report shows."""
        recipe, corpus = self.recipe, self.corpus
        index = load_index(self.folder.path / "index")
        if index.items != len(corpus.items):
            raise DataError(
                f"the index holds {index.items:,} items and the catalogue {len(corpus.items):,}; run the steps from train on"
            )
        encoder = self._encoder()
        ours = assemble.tower_retriever(corpus, encoder, index)
        retrievers = {"lowerfunnel": ours, **assemble.floors_of(recipe, corpus), **assemble.oracle_of(recipe, corpus)}
        advertiser_I = corpus.item_features.advertiser_I - 1
        rows: list[MetricRow] = []
        comparisons: list[dict[str, object]] = []
        shown: dict[str, object] = {}
        ranked: list[tuple[EvaluationSet, Int32Array]] = []
        length = min(max(*recipe.evaluation.ks, COVERAGE_K), len(corpus.items))
        held_out = corpus.held_out(self.labels, "test")
        for task in TASKS:
            queries = assemble.queries_of(recipe, corpus, held_out, self.surfaces, task=task)
            if queries is None:
                continue
            if task != "conversion":
                # Its truth is of purchases; who is clicked on also depends on what is shown.
                retrievers.pop("oracle", None)
            with self.console.evaluating(task, len(retrievers) * queries.queries) as advance:
                result = evaluate(
                    retrievers,
                    queries,
                    n_items=len(corpus.items),
                    data=self.data_kind,
                    advertiser_of_item=advertiser_I if len(corpus.vocabularies.advertiser) else None,
                    ks=recipe.evaluation.ks,
                    n_boot=recipe.evaluation.bootstrap,
                    seed=recipe.seed,
                    progress=advance,
                )
            rows += result.rows
            rows += within_group_rows(
                corpus,
                encoder,
                queries,
                advertiser_I,
                n_boot=recipe.evaluation.bootstrap,
                seed=recipe.seed,
                data=self.data_kind,
            )
            ranked.append((queries, result.lists["lowerfunnel"].rank_P))
            for floor in retrievers:
                if floor == "lowerfunnel":
                    continue
                for metric in dict.fromkeys(
                    (recipe.evaluation.headline, "recall@20", "recall@100", "hr@10", "ndcg@10")
                ):
                    found = result.difference("lowerfunnel", floor, metric, n_boot=recipe.evaluation.bootstrap)
                    comparisons.append(
                        {"metric": metric, "floor": floor, "task": task, "slice": "all", "difference": found.value,
                         "ci_low": found.ci_low, "ci_high": found.ci_high}
                    )  # fmt: skip
            if task == "conversion":
                ranks = result.lists["lowerfunnel"].rank_P
                shown = {
                    "scores": score_distribution(corpus, encoder, ours, queries, seed=recipe.seed),
                    "examples": examples_of(self.store, corpus, ours, queries, ranks, seed=recipe.seed),
                    "test_users": queries.queries,
                    "test_pairs": len(queries.pair_item_P),
                }
        shown["comparisons"] = comparisons
        shown["warnings"] = self._warnings()

        def fill(folder: Path) -> None:
            write_json(folder / "shown.json", shown)
            source = pq.read_table(self.labels / "test.parquet", columns=["user_id", "item_id"])
            write_ranks(
                folder / "ranks.parquet",
                ranked,
                user_ids=source.column("user_id"),
                item_ids=source.column("item_id"),
                length=length,
                data=self.data_kind,
            )

        write_folder(self.folder.path / "evaluation", fill)
        write_metrics(self.folder.path / "metrics.json", rows)

    def _warnings(self) -> list[str]:
        missing = assemble.missing_floors(self.recipe.evaluation)
        if not missing:
            return []
        sentence = (
            f"{' and '.join(missing)} are not measured: the package 'implicit' is not installed "
            "(pip install 'lowerfunnel[baselines]')."
        )
        self.console.warn(sentence)
        return [sentence]

    def _report(self) -> None:
        """Bind everything under one version in `manifest.json`, and write `report.html`."""
        from lowerfunnel.pipeline.report import render_report
        from lowerfunnel.pipeline.report_data import report_data

        manifest = self._manifest()
        write_json(self.folder.path / "manifest.json", manifest)
        page = render_report(report_data(self.recipe, self.folder.path, self.store, manifest, self.data_kind))
        write_text(self.folder.path / "report.html", page)

    def _manifest(self) -> dict[str, object]:
        """Return what belongs together: data, settings, code, both towers and the index, under one model version."""
        path = self.folder.path
        settings = settings_to_dict(self.recipe)
        files = {name: digest for step in ("train", "index") for name, digest in self._files_of(step).items()}
        # How long training took is no part of what the model is.
        del files["model/training.json"]
        return {
            "model_version": chain(files)[:16],
            "lowerfunnel": __version__,
            "torch": torch.__version__,
            "recipe": self.recipe.name,
            "data": self.data_kind,
            "data_fingerprint": self.log,
            "settings_sha256": chain(settings),
            "store_sha256": sha256_of_file(path / "store" / "store.json"),
            "store": asdict(self.store.info),
            "files": files,
            "metrics_sha256": sha256_of_file(path / "metrics.json"),
        }

    def _files_of(self, step: str) -> dict[str, str]:
        record = self.folder.record(step)
        if record is None:
            raise RunError(f'the record of the step "{step}" has gone from {self.folder.path}; run again')
        return record.files
