"""Recall and latency of nearest-neighbour search, with and without filters, against exact search.

    python benchmarks/bench_filtered_search.py [--items 100000] [--queries 200] [--threads 2] [--only ours,hnswlib]
    python benchmarks/bench_filtered_search.py --vectors vectors.npy --query-file queries.npy

Our exact index, graph, inverted lists and quantised lists, beside FAISS flat, hnswlib and usearch (M = 16, 100 candidates
at build, both on vectors lengthened to equal norm, as our graph is). Without a filter a curve over the search width; with
filters that pass a half to a ten-thousandth, at random and around what the query likes best or least, what each plan
finds. Last, what the plan weighs against each other: exact search of few items and search of lists, by the share that
passes. Single queries on one thread; recall is that of the best 100. Appends its rows to
`benchmarks/results/filtered_search.jsonl`. Without `--vectors` the data are made: clustered unit vectors with the
logarithm of a popularity as one more coordinate, and queries of another distribution.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import hnswlib
import numpy as np
import torch
from usearch.index import Index as UsearchIndex

from lowerfunnel.index.allowed import Allowed
from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.faiss_index import FaissIndex
from lowerfunnel.index.ranking import Ranking
from lowerfunnel.index.tune import recall

ROOT = Path(__file__).resolve().parents[1]
K = 100
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
LINKS, BUILD_WIDTH = 16, 100
GRAPH_WIDTHS = (100, 200, 400, 800)
LIST_WIDTHS = (8, 16, 32, 64, 128, 256)
Search = Callable[[np.ndarray, int, Allowed | None], Ranking]


def made_up(items: int, queries: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Items around centres of uneven size; queries between two centres, pushed off the items' distribution."""
    rng = np.random.default_rng(seed)
    centres, width = int(2 * items**0.5), 64
    scale = np.arange(1, width + 1) ** -0.5
    centre = rng.standard_normal((centres, width)) * scale
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    size = rng.dirichlet(np.full(centres, 0.5))
    of = rng.choice(centres, items, p=size)
    noise = rng.standard_normal((items, width), dtype=np.float32) * scale.astype(np.float32) ** 0.5
    vector = centre.astype(np.float32)[of] + 0.8 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    popularity = rng.lognormal(0, 2, items) * np.exp(rng.standard_normal(centres))[of]
    log_share = np.clip(np.log(popularity / popularity.sum()), -16.5, -5)
    a, b, part = rng.choice(centres, queries, p=size), rng.choice(centres, queries, p=size), rng.random((queries, 1))
    query = centre[a] * part + centre[b] * (1 - part) + 0.6 * rng.standard_normal((queries, width)) / width**0.5
    query += 0.5 * centre[0]
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    return (
        np.column_stack([vector, log_share]).astype(np.float32),
        np.column_stack([query, np.full(queries, 0.1)]).astype(np.float32),
    )


def lengthened(vector_ID: np.ndarray) -> np.ndarray:
    square_I = np.einsum("id,id->i", vector_ID, vector_ID, dtype=np.float64)
    return np.column_stack([vector_ID, np.sqrt(square_I.max() - square_I).astype(np.float32)])


def measured(
    search: Search, query_QD: np.ndarray, width: int, sets: list[Allowed | None], truth: list[Ranking]
) -> dict:
    recalls, taken_s = [], []
    for place, (allowed, best) in enumerate(zip(sets, truth, strict=True)):
        began = time.perf_counter()
        found = search(query_QD[place : place + 1], width, allowed)
        taken_s.append(time.perf_counter() - began)
        recalls.append(recall(found, best))
    p50_ms, p99_ms = np.quantile(np.array(taken_s) * 1e3, [0.5, 0.99])
    return {"recall": round(float(np.mean(recalls)), 4), "p50_ms": round(p50_ms, 3), "p99_ms": round(p99_ms, 3)}


def filters(kind: str, share: float, vector_ID: np.ndarray, query_QD: np.ndarray) -> list[Allowed | None]:
    """One set per query. Around what it likes: the items nearest to some item it likes best, or least."""
    rng = np.random.default_rng(1)
    sets: list[Allowed | None] = []
    for query in range(len(query_QD)):
        if kind == "random":
            value_I = rng.random(len(vector_ID))
        else:
            score_I = vector_ID @ query_QD[query] * (1 if kind == "liked" else -1)
            value_I = -(vector_ID[:, :-1] @ vector_ID[score_I.argmax(), :-1])
        count = max(1, int(share * len(vector_ID)))
        sets.append(Allowed.of_places(np.argpartition(value_I, count - 1)[:count], items=len(vector_ID)))
    return sets


def as_ranking(item_K: np.ndarray) -> Ranking:
    item_QK = np.full((1, K), -1, np.int32)
    item_QK[0, : len(item_K)] = item_K[:K].astype(np.int64)
    return Ranking(item_QK=item_QK, score_QK=np.zeros((1, K), np.float32))


def ours(kind: str, vector_ID: np.ndarray, threads: int) -> tuple[Search, FaissIndex, int]:
    index = FaissIndex.build(
        vector_ID, kind=kind, links=LINKS, build_width=BUILD_WIDTH, build_threads=threads, search_width=400, probes=64
    )
    nbytes = len(vector_ID) * vector_ID.shape[1] * 4
    if kind == "hnsw":
        nbytes += len(vector_ID) * (4 + 4 * 2 * LINKS + 8)
    elif kind == "ivf":
        nbytes = 2 * nbytes + len(vector_ID) * (8 + 4)
    elif kind == "ivfpq":
        nbytes += len(vector_ID) * (-(-vector_ID.shape[1] // 2) + 8 + 4)

    def search(query_1D: np.ndarray, width: int, allowed: Allowed | None) -> Ranking:
        if width:
            return index.search_with_width(query_1D, K, width, allowed=allowed)
        return index.search(query_1D, K, allowed=allowed)

    return search, index, nbytes


def other_hnswlib(vector_ID: np.ndarray, threads: int) -> tuple[Search, int]:
    row_IE = lengthened(vector_ID)
    index = hnswlib.Index("l2", row_IE.shape[1])
    index.init_index(len(row_IE), M=LINKS, ef_construction=BUILD_WIDTH, random_seed=1)
    index.add_items(row_IE, num_threads=threads)

    def search(query_1D: np.ndarray, width: int, allowed: Allowed | None) -> Ranking:
        index.set_ef(width)
        query_1E = np.pad(query_1D, ((0, 0), (0, 1)))
        passes = None if allowed is None else allowed.mask().__getitem__
        try:
            return as_ranking(index.knn_query(query_1E, K, num_threads=1, filter=passes)[0][0])
        except RuntimeError:  # it raises where it finds fewer than k
            return as_ranking(np.zeros(0, np.int32))

    return search, index.index_file_size()


def other_usearch(vector_ID: np.ndarray, threads: int) -> tuple[Search, int]:
    row_IE = lengthened(vector_ID)
    index = UsearchIndex(
        ndim=row_IE.shape[1], metric="l2sq", dtype="f32", connectivity=LINKS, expansion_add=BUILD_WIDTH
    )
    index.add(np.arange(len(row_IE)), row_IE, threads=threads)

    def search(query_1D: np.ndarray, width: int, allowed: Allowed | None) -> Ranking:
        index.expansion_search = width
        return as_ranking(index.search(np.pad(query_1D, ((0, 0), (0, 1)))[0], K, threads=1).keys)

    return search, index.serialized_length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2, help="threads of the builds")
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--query-file", type=Path)
    parser.add_argument("--only", default="exact,flat,hnsw,ivf,ivfpq,hnswlib,usearch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.vectors:
        vector_ID, query_QD = np.load(arguments.vectors), np.load(arguments.query_file)[: arguments.queries]
    else:
        vector_ID, query_QD = made_up(arguments.items, arguments.queries)
    data = "given" if arguments.vectors else "synthetic"
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    exact = ExactIndex.over(vector_ID, threads=1)

    def row(**figures: object) -> None:
        print("  " + "  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
        full = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "size": len(vector_ID),
            "width_of_vectors": vector_ID.shape[1], "k": K, "data": data, **figures,
        }  # fmt: skip
        with (ROOT / "benchmarks" / "results" / "filtered_search.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(full) + "\n")

    print(f"{len(vector_ID):,} items x {vector_ID.shape[1]}, {data}; {len(query_QD)} queries, k = {K}")
    open_sets: list[Allowed | None] = [None] * len(query_QD)
    open_truth = [exact.search(query_QD[q : q + 1], K) for q in range(len(query_QD))]
    filtered = {
        (kind, share): filters(kind, share, vector_ID, query_QD[:60])
        for kind in ("random", "liked", "disliked")
        for share in SHARES
    }
    truths = {
        key: [exact.search(query_QD[q : q + 1], K, allowed=allowed) for q, allowed in enumerate(sets)]
        for key, sets in filtered.items()
    }
    for name in arguments.only.split(","):
        began = time.perf_counter()
        nbytes = vector_ID.nbytes
        index = None
        if name == "exact":
            search = exact_way(exact)
        elif name == "hnswlib":
            search, nbytes = other_hnswlib(vector_ID, arguments.threads)
        elif name == "usearch":
            search, nbytes = other_usearch(vector_ID, arguments.threads)
        else:
            search, index, nbytes = ours(name, vector_ID, arguments.threads)
        row(index=name, build_s=round(time.perf_counter() - began, 1), bytes_per_item=round(nbytes / len(vector_ID)))
        widths = LIST_WIDTHS if name in ("ivf", "ivfpq") else GRAPH_WIDTHS if name not in ("exact", "flat") else (0,)
        for width in widths:
            row(index=name, filter="none", width=width, **measured(search, query_QD, width, open_sets, open_truth))
        if name not in ("flat", "usearch"):  # flat has no filter of its own here, usearch none in Python
            measure_filters(row, name, index, search, query_QD, filtered, truths)
        if name == "ivf" and index is not None:
            measure_threshold(row, exact, index, search, vector_ID, query_QD[:40])


def measure_filters(
    row: Callable[..., None],
    name: str,
    index: FaissIndex | None,
    search: Search,
    query_QD: np.ndarray,
    filtered: dict[tuple[str, float], list[Allowed | None]],
    truths: dict[tuple[str, float], list[Ranking]],
) -> None:
    """Search as planned; hnswlib at a fixed width, and for fewer queries: its filter is a call of Python per item."""
    width, some = (400, slice(0, 10)) if name == "hnswlib" else (0, slice(None))
    for (kind, share), sets in filtered.items():
        plan = {} if index is None else {"plan": index.plan(sets[0], K).strategy}
        found = measured(search, query_QD, width, sets[some], truths[kind, share][some])
        row(index=name, filter=kind, share=share, width=width or "plan", **plan, **found)


def measure_threshold(
    row: Callable[..., None],
    exact: ExactIndex,
    index: FaissIndex,
    search: Search,
    vector_ID: np.ndarray,
    query_QD: np.ndarray,
) -> None:
    """Search the same random sets exactly and by lists."""
    for share in (0.003, 0.01, 0.02, 0.05, 0.1):
        sets = filters("random", share, vector_ID, query_QD)
        truth = [exact.search(query_QD[q : q + 1], K, allowed=allowed) for q, allowed in enumerate(sets)]
        width = index.widths.at(K / share)
        for way, how in (("exact", exact_way(exact)), ("lists", search)):
            row(threshold=way, share=share, width=width, **measured(how, query_QD, width, sets, truth))


def exact_way(exact: ExactIndex) -> Search:
    return lambda query, width, allowed: exact.search(query, K, allowed=allowed)


if __name__ == "__main__":
    main()
