"""Where each part of a millisecond goes when a server turns requests into vectors.

    python benchmarks/bench_query_tower.py [--rows 200000] [--repeats 300] [--aot] [--rows-file FILE]

Two shapes, with weights and events drawn at random: that of recipes/claims.toml (one layer, at most 20 entries, counts of
past actions, no user ids) and a wide one (width 64, two layers, at most 100 entries, user ids). For 1, 4 and 16 requests
with histories of 10, 50 and 100 events it prints the median milliseconds of one call: gathering the features, laying out
the arrays, ONNX Runtime, all three; and of the same vectors by torch as offline. With `--aot`, also of the graph compiled by
AOTInductor, which needs a C++ compiler. These are times of the calling thread, the only one that works: on a busy machine
they are what they are on an idle one, but for its caches. Then 1, 4 and 16 callers ask at once, each for itself or through a
micro-batcher: requests a second, waits by the clock, and the processor's time of one request. Appends one row per figure.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from lowerfunnel.config import load_settings
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.features.activity import activity_names
from lowerfunnel.features.counters import COUNTER_NAMES
from lowerfunnel.features.entities import FeatureVocabularies, ItemFeatures, UserFeatures
from lowerfunnel.features.prices import PriceScale
from lowerfunnel.features.vocabulary import Vocabulary
from lowerfunnel.retrieval.artefact import ModelArtefact
from lowerfunnel.retrieval.inputs import Bag, HistoryInputs, Lookup, UserInputs
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.retrieval.sizes import TableSizes
from lowerfunnel.retrieval.two_tower import TwoTower
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.towers.micro_batcher import MicroBatcher
from lowerfunnel.serving.towers.online_features import OnlineFeatures
from lowerfunnel.serving.towers.query_export import INPUT_PREFIX, example_inputs, export_query_tower
from lowerfunnel.serving.towers.query_features import QueryFeatures
from lowerfunnel.serving.towers.query_graph import QueryGraph
from lowerfunnel.serving.towers.query_tower import QueryTower, query_arrays, query_tables
from lowerfunnel.serving.user_timeline import UserTimeline

ROOT = Path(__file__).resolve().parents[1]
DAY_US = 86_400_000_000


def texts(values: list[str]) -> Vocabulary:
    return Vocabulary(pa.array(sorted(values), pa.string()))


def model_of(config: RetrievalConfig, rows: int) -> ModelArtefact:
    """Return a model of so many users and items, its weights drawn at random, also those that begin at zero."""
    names = FeatureVocabularies(
        advertiser=texts([]), category=texts([]), category_path=texts([]), item_attribute=texts([]),
        user_attribute=texts([f"age={n}" for n in range(10)]), surface=texts(["home", "related", "search"]),
    )  # fmt: skip
    sizes = TableSizes(
        users=rows, items=rows, user_attributes=10, surfaces=3,
        counters_width=len(COUNTER_NAMES) if config.tower.counters else 0,
        activity_width=len(activity_names("time")) if config.tower.activity else 0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    model = TwoTower(config, sizes, generator=generator).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.1, generator=generator)
    none = np.zeros(rows, np.int32)
    nothing = {"path_T": none[:0], "attribute_T": none[:0]}
    items = ItemFeatures(
        id_I=np.arange(rows, dtype=np.int32), advertiser_I=none, category_I=none, price_bucket_I=none,
        path_offsets_I1=np.zeros(rows + 1, np.int64), attribute_offsets_I1=np.zeros(rows + 1, np.int64),
        price_I3=np.zeros((rows, 3), np.float32), content_IC=np.zeros((rows, 0), np.float32),
        visual_IV=np.zeros((rows, 0), np.float32), log_share_I=np.zeros(rows, np.float32), **nothing,
    )  # fmt: skip
    return ModelArtefact(
        config=config, model=model, sizes=sizes, users=Vocabulary(pa.array(range(rows), pa.int64())),
        items=Vocabulary(pa.array(range(rows), pa.int64())), words=texts([]), vocabularies=names,
        price_scale=PriceScale(mean=0.0, deviation=1.0, category_mean={}, edges=()), item_features=items,
        user_features=UserFeatures(
            attribute_offsets_U1=np.arange(rows + 1, dtype=np.int64),
            attribute_T=(np.arange(rows) % 10).astype(np.int32),
        ),
        trained_U=np.ones(rows, np.bool_), counters_IF=np.zeros((rows, sizes.counters_width), np.float32),
    )  # fmt: skip


def timeline(generator: np.random.Generator, events: int, items: int) -> UserTimeline:
    actions = [action for action in ACTIONS if action not in ("impression", "hide", "return")]
    return UserTimeline.of(
        ts_us=np.sort(generator.integers(0, 30 * DAY_US, events)).tolist(),
        item_id=generator.integers(0, items, events).tolist(),
        action=[actions[place] for place in generator.integers(0, len(actions), events)],
        surface=[("home", "related", "search")[place] for place in generator.integers(0, 3, events)],
        dwell_s=[float(dwell) if dwell < 60 else None for dwell in generator.integers(0, 90, events)],
    )


def by_torch(artefact: ModelArtefact, features: QueryFeatures, x_ID: torch.Tensor) -> torch.Tensor:
    """Return the vectors as `Encoder.users` makes them of what it has gathered."""
    requests = features.requests
    inputs = UserInputs(
        id=Lookup.of(np.maximum(features.id_R, 0).astype(np.int64)),
        has_id_R=torch.from_numpy((features.id_R >= 0).astype(np.float32)),
        attributes=Bag(token=Lookup.of(features.attribute_T), offsets=torch.from_numpy(features.attribute_offsets_R1)),
        history=HistoryInputs.of(features.histories, features.histories.item_N),
        activity_RF=torch.from_numpy(features.activity_RF),
        surface=Lookup.of(requests.surface_R),
        subject_place_R=torch.from_numpy(np.maximum(requests.subject_R, 0).astype(np.int64)),
        has_subject_R=torch.from_numpy((requests.subject_R >= 0).astype(np.float32)),
        query=Bag(token=Lookup.of(requests.word_T), offsets=torch.from_numpy(requests.word_offsets_R1)),
    )
    with torch.no_grad():
        return artefact.model.user_tower(inputs, x_ID)["conversion"]


def median_ms(call: Callable[[], object], repeats: int) -> float:
    for _ in range(max(repeats // 10, 3)):
        call()
    times = []
    for _ in range(repeats):
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return statistics.median(times) * 1000


def callers_ms(call: Callable[[int], object], callers: int, seconds: float = 2.0) -> dict[str, float]:
    """Return requests a second and the waits of each, with so many callers that ask again as soon as they are answered."""
    waits: list[list[float]] = [[] for _ in range(callers)]
    until, worked = time.perf_counter() + seconds, time.process_time()

    def ask(caller: int) -> None:
        while (began := time.perf_counter()) < until:
            call(caller)
            waits[caller].append(time.perf_counter() - began)

    threads = [threading.Thread(target=ask, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worked = time.process_time() - worked
    all_ms = np.sort(np.concatenate([np.array(each) for each in waits])) * 1000
    return {
        "requests_per_s": len(all_ms) / seconds,
        "processor_ms": worked / len(all_ms) * 1000,
        "p50_ms": float(np.quantile(all_ms, 0.5)),
        "p99_ms": float(np.quantile(all_ms, 0.99)),
    }


class _OwnPlaces:
    """Items whose ids are their places."""

    def places_of(self, item_ids):
        return np.asarray(item_ids, np.int64)


class Bench:
    """One shape of model, with everything that a server holds of it."""

    def __init__(self, name: str, config: RetrievalConfig, arguments: argparse.Namespace, folder: Path) -> None:
        self.name, self.repeats = name, arguments.repeats
        self.artefact = model_of(config, arguments.rows)
        self.model = self.artefact.model
        self.generator = np.random.default_rng(0)
        self.x_ID = self.generator.standard_normal((arguments.rows, config.tower.width)).astype(np.float32)
        self.online = OnlineFeatures(self.artefact, order="time")
        # A dict that gives every item its place, as a server's does, without holding a million entries here.
        self.places = _OwnPlaces()
        path = folder / f"{name}.onnx"
        began = time.process_time()
        export_query_tower(self.model, path)
        self.export_s, self.export_bytes = time.process_time() - began, path.stat().st_size
        self.tower = QueryTower.load(path, self.model)
        self.compiled = compiled(self.model, folder / f"{name}.pt2") if arguments.aot else None

    def ask(self, requests: int, events: int) -> tuple[list[CandidateRequest], list[UserTimeline], list[int]]:
        asked = [
            CandidateRequest(request_id="r", k=100, user_id=int(user), surface="home")
            for user in self.generator.integers(0, len(self.x_ID), requests)
        ]
        stored = [timeline(self.generator, events, len(self.x_ID)) for _ in asked]
        return asked, stored, [31 * DAY_US] * requests

    def parts_ms(self, requests: int, events: int) -> dict[str, float]:
        asked = self.ask(requests, events)
        features = self.online.gather(*asked, self.places)
        graph = QueryGraph(self.model)
        tables = query_tables(self.model, graph.names)
        width = self.artefact.config.tower.width

        def arrays() -> list[np.ndarray]:
            return query_arrays(features, self.x_ID, names=graph.names, tables=tables, width=width)

        feed = dict(zip([INPUT_PREFIX + name for name in graph.names], arrays(), strict=True))
        x_ID = torch.from_numpy(self.x_ID)
        expected = by_torch(self.artefact, features, x_ID).numpy()
        np.testing.assert_allclose(self.tower.encode(features, self.x_ID), expected, atol=1e-5)
        session = self.tower._session
        figures = {
            "features_ms": median_ms(lambda: self.online.gather(*asked, self.places), self.repeats),
            "arrays_ms": median_ms(arrays, self.repeats),
            "onnxruntime_ms": median_ms(lambda: session.run(None, feed), self.repeats),
            "all_ms": median_ms(
                lambda: self.tower.encode(self.online.gather(*asked, self.places), self.x_ID), self.repeats
            ),
            "torch_eager_ms": median_ms(lambda: by_torch(self.artefact, features, x_ID), self.repeats),
        }
        if self.compiled is not None:
            runs, inputs = self.compiled, {name: torch.from_numpy(feed[INPUT_PREFIX + name]) for name in graph.names}
            np.testing.assert_allclose(runs(inputs=inputs).numpy(), expected, atol=1e-5)
            figures["aot_inductor_ms"] = median_ms(lambda: runs(inputs=inputs), self.repeats)
        return figures

    def together(self, callers: int, events: int) -> dict[str, dict[str, float]]:
        asked = [self.ask(1, events) for _ in range(callers)]

        def direct(caller: int) -> object:
            return self.tower.encode(self.online.gather(*asked[caller], self.places), self.x_ID)

        def run(parts: list[QueryFeatures]) -> np.ndarray:
            return self.tower.encode(QueryFeatures.joined(parts), self.x_ID)

        with MicroBatcher(run) as batcher:

            def batched(caller: int) -> object:
                return batcher.answer(self.online.gather(*asked[caller], self.places))

            return {"direct": callers_ms(direct, callers), "batched": callers_ms(batched, callers)}


def compiled(model: TwoTower, path: Path) -> Callable[..., torch.Tensor]:
    graph = QueryGraph(model).eval()
    inputs, shapes = example_inputs(graph, model)
    with torch.no_grad():
        program = torch.export.export(graph, (), {"inputs": inputs}, dynamic_shapes={"inputs": shapes})
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return torch._inductor.aoti_load_package(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--aot", action="store_true")
    parser.add_argument("--rows-file", type=Path, default=ROOT / "benchmarks" / "results" / "query_tower.jsonl")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    claims = tomllib.loads((ROOT / "recipes" / "claims.toml").read_text(encoding="utf-8"))["retrieval"]
    shapes = {"claims": load_settings(RetrievalConfig, claims, source="claims.toml"), "wide": RetrievalConfig()}

    def note(name: str, size: str, metric: str, value: float) -> None:
        row = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "config": name, "size": size,
            "metric": metric, "value": round(value, 4), "data": "synthetic",
        }  # fmt: skip
        with arguments.rows_file.open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        for name, config in shapes.items():
            bench = Bench(name, config, arguments, Path(folder))
            size_mb, load = bench.export_bytes / 1e6, os.getloadavg()[0]
            print(
                f"{name}: export {bench.export_s:.1f} s of one core, {size_mb:.2f} MB; load of the machine {load:.1f}"
            )
            note(name, "", "export_s", bench.export_s)
            note(name, "", "export_bytes", bench.export_bytes)
            for requests in (1, 4, 16):
                for events in (10, 50, 100):
                    figures = bench.parts_ms(requests, events)
                    print(
                        f"  {requests:2d} requests, {events:3d} events  "
                        + "  ".join(f"{k} {v:7.3f}" for k, v in figures.items())
                    )
                    for metric, value in figures.items():
                        note(name, f"{requests} requests, {events} events", metric, value)
            for callers in (1, 4, 16):
                for how, waits in bench.together(callers, 50).items():
                    print(
                        f"  {callers:2d} callers, 50 events, {how:8s}"
                        + "  ".join(f"{k} {v:9.3f}" for k, v in waits.items())
                    )
                    for metric, value in waits.items():
                        note(name, f"{callers} callers, 50 events, {how}", metric, value)


if __name__ == "__main__":
    main()
