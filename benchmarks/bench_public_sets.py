"""Run the recipes of the public sets and print what the README's table says: figures, floors, intervals, seeds.

    python benchmarks/bench_public_sets.py --data DIR [--sets gowalla ...] [--seeds 0 1 2] [--out runs/bench]

DIR holds one folder per set, named like its recipe. A set that is not there is named and left out. Finished runs are
reused, so an interrupted benchmark goes on where it stopped. Every figure is on real data, over the whole catalogue; the
interval is the 95% bootstrap interval over users of the first seed, and the seeds' spread stands beside it.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]

# Set -> the metrics its papers report, and what has to be reached (None: only to stand above the floors).
TARGETS: dict[str, dict[str, float | None]] = {
    "gowalla": {"recall@20": 0.187, "ndcg@20": 0.1473},
    "retailrocket": {"hr@10": 0.12, "recall@100": 0.27},
    "mule_taobao": {"micro_recall@10": 0.205, "ndcg@10": None},
    "mule_jdata": {"micro_recall@10": 0.56, "ndcg@10": 0.34},
    "taobao_userbehavior": {"hr@10": None, "recall@100": None},
    "amazon_beauty": {"hr@10": 0.0605, "ndcg@10": 0.0318},
    "complete_journey": {"hr@10": None, "recall@20": None, "recall@100": None},
}
MODELS = ("lowerfunnel", "popularity", "untrained", "own_history", "itemknn", "als")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench")
    arguments = parser.parse_args()
    table = Table(
        "set", "metric", "target", *MODELS, "seeds", "train s", title="Real data, test split, whole catalogue"
    )
    failed = False
    for name in arguments.sets:
        if not (arguments.data / name).is_dir():
            print(f"{name}: {arguments.data / name} is not there; left out", file=sys.stderr)
            continue
        runs = [_run(name, arguments.data / name, arguments.out / f"{name}-{seed}", seed) for seed in arguments.seeds]
        for metric, target in TARGETS[name].items():
            figures = [_figures(run, metric) for run in runs]
            ours = [figure["lowerfunnel"]["value"] for figure in figures]
            failed |= target is not None and statistics.mean(ours) < target
            table.add_row(
                name,
                metric,
                "" if target is None else f"{target:.4f}",
                *(_cell(figures[0].get(model)) for model in MODELS),
                " ".join(f"{value:.4f}" for value in ours),
                f"{statistics.mean(_seconds(run) for run in runs):.0f}",
            )
        for run in runs[:1]:
            for sentence in _where_floors_lead(run, list(TARGETS[name])):
                table.caption = f"{table.caption or ''}{name}: {sentence}\n"
    Console(width=200 if not sys.stdout.isatty() else None).print(table)
    return 1 if failed else 0


def _run(name: str, data: Path, out: Path, seed: int) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "from lowerfunnel.cli.main import main; main()", "run"]
    command += [str(ROOT / "recipes" / f"{name}.toml"), "--data", str(data), "--out", str(out), "--seed", str(seed)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return out


def _figures(run: Path, metric: str) -> dict[str, dict[str, float]]:
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    return {
        row["model"]: row
        for row in rows
        if row["metric"] == metric and row["slice"] == "all" and row["task"] == "conversion"
    }


def _cell(row: dict[str, float] | None) -> str:
    return "" if row is None else f"{row['value']:.4f}\n[{row['ci_low']:.4f}, {row['ci_high']:.4f}]".replace("[", "\\[")


def _seconds(run: Path) -> float:
    return float(json.loads((run / "model" / "training.json").read_text())["trained_s"])


def _where_floors_lead(run: Path, metrics: list[str]) -> list[str]:
    sentences = []
    for metric in metrics:
        figures = _figures(run, metric)
        ours = figures["lowerfunnel"]
        ahead = [model for model, row in figures.items() if row["value"] > ours["value"]]
        if ahead:
            sentences.append(f"{' and '.join(ahead)} ahead in {metric}")
        sentences += [
            f"{metric} does not stand above {floor} outside the interval"
            for floor in ("popularity", "untrained")
            if floor in figures and not _stands_above(run, metric, floor, figures)
        ]
    return sentences


def _stands_above(run: Path, metric: str, floor: str, figures: dict[str, dict[str, float]]) -> bool:
    """Whether the paired difference excludes zero; where the run has none, whether the two intervals are apart."""
    shown = json.loads((run / "evaluation" / "shown.json").read_text())
    for each in shown["comparisons"]:
        if (each["metric"], each["floor"], each["task"]) == (metric, floor, "conversion"):
            return float(each["ci_low"]) > 0
    return figures["lowerfunnel"]["ci_low"] > figures[floor]["ci_high"]


if __name__ == "__main__":
    sys.exit(main())
