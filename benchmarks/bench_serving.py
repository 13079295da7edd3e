"""How fast, how right and at what cost `lowerfunnel serve` answers over HTTP.

    python benchmarks/bench_serving.py [--run runs/million] [--rate 200] [--seconds 60] [--shares 1 0.01 0.0001]

Starts the server on a finished run (`recipes/million.toml` is run first where there is none), waits until it is ready, and
sends requests at a rate, whatever becomes of them: without a filter, and with filters that let a share of the catalogue pass,
drawn from its advertisers. Users, surfaces, subject items and queries are those of the log's last two days, one in five
users is unknown, and all ask for the moment right after the log's end. Prints, for each share,

- p50, p90, p99, p99.9 and maximum of the time from when a request was due to when its answer was whole;
- statuses, short and degraded answers, and how the generators searched;
- where each millisecond goes: the mean of the stages that one answer in twenty tells, and what is left for HTTP;
- recall against exact search: by the server's own probe (`/metrics`), and of a sample computed here from the run's folder
  once the server has ended (`--sample 0` leaves that out);
- CPU and memory of the server, and CPU and lateness of the load generator beside it.

Appends one row per figure to `benchmarks/results/serving.jsonl`. How to read them on a busy machine stands in
`load_generator/__init__.py`: look at the generator's lateness first, and compare the smallest p99 of `--repeats 3`.
"""

import argparse
import asyncio
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from load_generator import (
    LoadRequest,
    LoadResult,
    RunLog,
    ServerProcess,
    candidate_requests,
    fault_of_answer,
    filters_of_share,
    precise_loop,
    run_load,
    serving,
)
from load_generator.server_process import LOWERFUNNEL

if TYPE_CHECKING:
    from offline_truth import OfflineTruth

ROOT = Path(__file__).resolve().parents[1]
DEBUG_SHARE = 0.05


class Answers:
    """What the answers of one load say: those that were asked to are read whole, the others by their status alone."""

    def __init__(self) -> None:
        self.stage_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.plans: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()
        self.read = self.partial = 0
        self.kept: list[tuple[dict[str, Any], dict[str, Any]]] = []
        """Requests and answers that were read."""

    def note(self, request: LoadRequest, status: int, body: bytes, latency_ms: float) -> str | None:
        asked: dict[str, Any] = request.about  # type: ignore[assignment]
        if status != 200 or not asked.get("debug"):
            return None if status == 200 else f"status {status}"
        answer = json.loads(body)
        self.read += 1
        self.partial += answer["partial"]
        self.degraded.update(answer["degraded"])
        self.plans.update(f"{generator} {plan}" for generator, plan in answer["plans"].items())
        for stage, took_ms in answer["stage_ms"].items():
            self.stage_ms[stage].append(took_ms)
        self.stage_ms["http and waiting"].append(latency_ms - answer["stage_ms"]["total"])
        self.kept.append((asked, answer))
        return fault_of_answer(asked, status, answer)


def probed_recall(metrics: str) -> tuple[float, float]:
    """Return sum and count of the recall probes from a page of metrics; zeros where there were none."""
    found = dict(re.findall(r"^lowerfunnel_ann_recall_probes_(sum|count) (\S+)$", metrics, re.MULTILINE))
    return float(found.get("sum", 0)), float(found.get("count", 0))


def measure(
    server: ServerProcess, log: RunLog, share: float, arguments: argparse.Namespace, *, seed: int
) -> tuple[LoadResult, Answers, dict[str, float]]:
    """Send one load; return what it measured, what the answers said, and the server's figures."""
    generator = np.random.default_rng(seed)
    filters, passing = ([], [1.0]) if share >= 1 else filters_of_share(
        log, share, count=arguments.filters, generator=generator
    )  # fmt: skip
    mix = candidate_requests(
        log,
        generator,
        k=arguments.k,
        filters=filters,
        at=log.end,
        debug_share=DEBUG_SHARE,
        deadline_ms=arguments.deadline_ms,
    )
    # Made before the clock starts, so that the generator's own time is that of sending and reading.
    wanted = int(arguments.rate * (arguments.seconds + arguments.warm_up) * 1.2) + 100
    requests = list(islice(mix, wanted))
    answers = Answers()
    before, probes_before = server.usage(), probed_recall(server.get("/metrics")[1])
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        result = runner.run(
            run_load(
                server.host,
                server.port,
                requests,
                arguments.rate,
                arguments.seconds,
                arguments.connections,
                on_answer=answers.note,
                generator=generator,
                warm_up_s=arguments.warm_up,
            )
        )
    after, probes = server.usage(), probed_recall(server.get("/metrics")[1])
    probed = probes[1] - probes_before[1]
    sent = len(result) * (1 + arguments.warm_up / arguments.seconds)
    figures = {
        "p50_ms": result.percentile_ms(50),
        "p90_ms": result.percentile_ms(90),
        "p99_ms": result.percentile_ms(99),
        "p99.9_ms": result.percentile_ms(99.9),
        "max_ms": result.percentile_ms(100),
        "failed": result.failed,
        "achieved_per_s": result.achieved_per_s,
        "passing_share": float(np.mean(passing)),
        "server_cpu_ms_per_request": (after.cpu_s - before.cpu_s) * 1e3 / sent,
        "server_cpu_share": (after.cpu_s - before.cpu_s) / result.wall_s,
        "server_rss_mb": after.rss_mb,
        "generator_cpu_ms_per_request": result.cpu_ms_per_request,
        "generator_late_p99_ms": result.late_p99_ms,
    }
    if probed:
        figures["probed_recall"] = (probes[0] - probes_before[0]) / probed
    return result, answers, figures


def sampled_recall(truth: "OfflineTruth", kept: list[tuple[dict[str, Any], dict[str, Any]]], name: str) -> float:
    """Return the mean recall of what the generator `name` brought in, against exact search over the run's folder."""
    asked = [request for request, _ in kept]
    found = [
        [candidate["item_id"] for candidate in answer["candidates"] if name in candidate["sources"]]
        for _, answer in kept
    ]
    if not any(found):
        sources = sorted({source for _, answer in kept for each in answer["candidates"] for source in each["sources"]})
        raise SystemExit(f"no candidate came from {name!r}; --generator may be one of {', '.join(sources) or 'none'}")
    return float(np.nanmean(truth.recalls(asked, found)))


def report(share: float, result: LoadResult, answers: Answers, figures: dict[str, float]) -> None:
    print("\n== no filter" if share >= 1 else f"\n== filters that pass {figures['passing_share']:.4%}")
    print(result)
    print(
        f"server: {figures['server_cpu_ms_per_request']:.2f} ms CPU a request, {figures['server_cpu_share']:.1%} of a core, "
        f"{figures['server_rss_mb']:.0f} MB resident"
    )
    if answers.read:
        print(
            f"of {answers.read} answers read: {answers.partial} short; left out: {dict(answers.degraded) or 'nothing'}; "
            f"searched: {', '.join(f'{plan} {count / answers.read:.0%}' for plan, count in answers.plans.most_common())}"
        )
        stages = ", ".join(
            f"{stage} {np.mean(took):.2f} (p99 {np.percentile(took, 99):.2f})"
            for stage, took in answers.stage_ms.items()
        )
        print(f"mean ms of each stage: {stages}")
    if "probed_recall" in figures:
        print(f"recall by the server's own probe: {figures['probed_recall']:.4f}")


def main(argv: Sequence[str] | None = None, *, command: Sequence[str] = LOWERFUNNEL) -> int:
    """Run the benchmark; `command` serves in place of `lowerfunnel`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "million")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=5, help="seconds before that, not counted")
    parser.add_argument("--shares", type=float, nargs="+", default=[1, 0.01, 0.0001], help="of the catalogue, let pass")
    parser.add_argument("--filters", type=int, default=64, help="different filters of each share")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--deadline-ms", type=float, default=50)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sample", type=int, default=200, help="answers of each share compared with exact search")
    parser.add_argument("--generator", default="conversion", help="whose candidates are compared")
    parser.add_argument("--server", nargs=argparse.REMAINDER, default=[], help="more arguments of `lowerfunnel serve`")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results" / "serving.jsonl")
    arguments = parser.parse_args(argv)
    if not (arguments.run / "manifest.json").exists():
        arguments.run.parent.mkdir(parents=True, exist_ok=True)
        recipe = ROOT / "recipes" / "million.toml"
        subprocess.run([*LOWERFUNNEL, "run", str(recipe), "--out", str(arguments.run)], check=True)
    log = RunLog.of_run(arguments.run)
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"{arguments.run}: {len(log.item_id_I):,} items, {arguments.rate:g} requests/s, k={arguments.k}")
    measured: list[tuple[float, dict[str, float], Answers]] = []
    with serving(("serve", arguments.run, "--port", "0", *arguments.server), command=command) as server:
        ready_s = server.wait_until_ready(600)
        usage = server.usage()
        print(
            f"ready after {ready_s:.1f} s, {usage.cpu_s:.1f} s CPU, {usage.rss_mb:.0f} MB ({usage.peak_rss_mb:.0f} at most)"
        )
        for repeat in range(arguments.repeats):
            for share in arguments.shares:
                result, answers, figures = measure(server, log, share, arguments, seed=repeat)
                report(share, result, answers, figures)
                measured.append((share, figures, answers))
    if arguments.sample:
        # Not before: it loads torch and a model, of which the load generator needs nothing.
        from offline_truth import OfflineTruth

        truth = OfflineTruth(arguments.run, log)
        for share in dict.fromkeys(arguments.shares):
            kept = [each for of, _, answers in measured if of == share for each in answers.kept][: arguments.sample]
            if kept:
                recall = sampled_recall(truth, kept, arguments.generator)
                print(
                    f"recall of {arguments.generator} at share {share:g} of {len(kept)} answers, by exact search: {recall:.4f}"
                )
                measured.append((share, {"sampled_recall": recall}, Answers()))
    with arguments.results.open("a", encoding="utf-8") as rows:
        for share, figures, _ in measured:
            for metric, value in figures.items():
                row = {
                    "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "commit": commit,
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                    "config": f"{arguments.run.name}, share {share:g}, {arguments.rate:g}/s, k {arguments.k}",
                    "size": len(log.item_id_I), "metric": metric, "value": round(value, 4), "data": "synthetic",
                }  # fmt: skip
                rows.write(json.dumps(row) + "\n")
    return 1 if any(figures.get("failed", 0) for _, figures, _ in measured) else 0


if __name__ == "__main__":
    sys.exit(main())
