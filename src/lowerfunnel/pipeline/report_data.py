"""What the report shows, collected from what the steps of a run wrote."""

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

from lowerfunnel.config import settings_to_dict
from lowerfunnel.evaluation.metrics_json import DataKind, read_metrics
from lowerfunnel.events.quality import Quality as LogQuality
from lowerfunnel.events.quality import read_quality
from lowerfunnel.events.store import EventStore
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.report.data import Facts, Quality, ReportData


def report_data(
    recipe: Recipe, run: Path, store: EventStore, manifest: dict[str, object], kind: DataKind
) -> ReportData:
    """Collect the report of a finished evaluation."""
    shown = _read(run / "evaluation" / "shown.json")
    training = _read(run / "model" / "training.json")
    log_quality = read_quality(run / "store")
    evaluated = datetime.datetime.fromtimestamp((run / "metrics.json").stat().st_mtime, datetime.UTC)
    facts: Facts = {
        "users": store.info.users,
        "items": store.info.items,
        "advertisers": log_quality.advertisers,
        "events": store.info.events,
        "train_examples": training["examples"],
        "parameters": training["parameters"],
        "training_s": training["trained_s"],
        "device": training["device"],
    }
    if "test_users" in shown:
        facts["test_users"], facts["test_pairs"] = shown["test_users"], shown["test_pairs"]
    if store.info.first_ts_us is not None and store.info.last_ts_us is not None:
        facts["span"] = f"{_day(store.info.first_ts_us)} to {_day(store.info.last_ts_us)}"
    return ReportData(
        title=recipe.name,
        data=kind,
        model_version=str(manifest["model_version"]),
        created=f"{evaluated:%Y-%m-%d %H:%M} UTC",
        noun="purchases" if recipe.labels.conversions == ("checkout",) else "conversions",
        facts=facts,
        rows=[dataclasses.asdict(row) for row in read_metrics(run / "metrics.json")],  # type: ignore[misc]
        comparisons=shown["comparisons"],
        training=training["history"],
        best_epoch=training["best_epoch"],
        quality=_quality(log_quality),
        scores=shown.get("scores"),
        examples=shown.get("examples", ()),
        settings=settings_to_dict(recipe),
        description=recipe.description,
        warnings=shown["warnings"],
    )


def _quality(quality: LogQuality) -> Quality:
    return Quality(
        actions=quality.actions,
        days_each=quality.days_each,
        remarks=quality.remarks,
        days=[{"day": day.day, "counts": day.counts} for day in quality.days],
        funnel=[
            {"origin": rate.origin, "target": rate.target, "rate": rate.rate, "meaning": rate.meaning}
            for rate in quality.funnel
        ],
        delays=[
            {
                "origin": delay.origin,
                "target": delay.target,
                "edges_h": delay.edges_h,
                "counts": delay.counts,
                "median_h": delay.median_h,
            }
            for delay in quality.delays
        ],
        quarantined=quality.quarantined,
        duplicates=quality.duplicates,
        cannot=quality.cannot,
    )


def _read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(value, dict)  # noqa: S101 - written by a step of ours
    return value


def _day(t_us: int) -> str:
    return f"{datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(microseconds=t_us):%Y-%m-%d}"
