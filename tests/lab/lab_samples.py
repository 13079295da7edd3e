"""Planned runs without anything behind them, and a result to draw."""

from pathlib import Path

from lowerfunnel.config import load_settings
from lowerfunnel.lab.planned import PlannedRun
from lowerfunnel.lab.result import (
    Change,
    Comparison,
    Figure,
    RunResult,
    StudyResult,
    Value,
    VariantResult,
    verdict_of,
)
from lowerfunnel.lab.study import Published
from lowerfunnel.pipeline.fingerprints import STEPS
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run_folder import RunFolder

RECIPE = load_settings(
    Recipe, {"name": "x", "log": {"events": [{"files": "e.csv"}]}, "training": {"device": "cpu"}}, source="samples"
)


def planned(out: Path, variant: str, seed: int = 0, **fingerprints: str) -> PlannedRun:
    """A run whose import and label steps are those of all others unless `fingerprints` says otherwise."""
    made = {step: step if step in ("import", "label") else f"{step} of {variant} {seed}" for step in STEPS}
    return PlannedRun(
        variant=variant,
        seed=seed,
        recipe=RECIPE,
        path=out / variant / str(seed),
        log="log",
        fingerprints=made | fingerprints,
    )


def do_step(run: PlannedRun, step: str, **files: str) -> None:
    """Finish a step of a planned run: texts by their path, with "/" written as "__"."""
    folder = RunFolder.create(run.path)
    (run.path / "steps").mkdir(exist_ok=True)
    outputs = {name.replace("__", "/").replace("_json", ".json"): text for name, text in files.items()}
    for name, text in outputs.items():
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text(text)
    folder.run_step(step, run.fingerprints[step], list(outputs), lambda: None, {"log": "log"})


def figure(value: float, reach: float) -> Figure:
    return Figure(value=value, low=value - reach, high=value + reach)


def result_of(
    changes: dict[str, tuple[float, float]], *, seeds: tuple[int, ...] = (0, 1), broken: bool = False
) -> StudyResult:
    """A study in which variants change the metrics by a share, each with the reach of its interval."""
    names = ["base", *changes]
    metrics, tasks, slices = (
        ("recall@100", "ndcg@10"),
        ("conversion", "engagement"),
        ("all", "discovery", "surface=home"),
    )
    runs = [
        RunResult(
            variant=name,
            seed=seed,
            folder=f"runs/{name}/seed-{seed}",
            state="finished",
            trained_s=12.5 + place,
            examples_per_s=50_000.0,
            parameters=1_200_000,
            peak_memory_mb=640,
            threads=1,
            device="cpu",
            best_epoch=3,
            coverage=0.4,
            advertiser_coverage=0.7,
        )
        for place, name in enumerate(names)
        for seed in seeds
    ]
    values, comparisons = [], []
    for name in names:
        change, reach = changes.get(name, (0.0, 0.0))
        for task in tasks:
            for of in slices:
                for metric in metrics:
                    now = figure(0.3 * (1 + change), 0.02)
                    values.append(
                        Value(
                            variant=name, task=task, slice=of, metric=metric, figure=now, users=900, pairs=2000,
                            by_seed={str(seed): 0.3 * (1 + change) + 0.01 * seed for seed in seeds},
                        )
                    )  # fmt: skip
                    if name == "base":
                        continue
                    difference = figure(0.3 * change, 0.3 * reach)
                    comparisons.append(
                        Comparison(
                            variant=name, against="base", task=task, slice=of, metric=metric, seeds=seeds, users=900,
                            pairs=2000, of_variant=now, of_against=figure(0.3, 0.02), difference=difference,
                            relative=figure(change, reach), verdict=verdict_of(difference),
                        )
                    )  # fmt: skip
    variants = [VariantResult(name="base", description="As it is.", against=None, changes=(), left_out={})]
    variants += [
        VariantResult(
            name=name,
            description=f"What {name} is.",
            against="base",
            changes=(Change(setting="retrieval.tower.width", was=64, now=32),),
            published=Published(metric="recall@100", relative=0.1, source="Somebody, 2020") if place == 0 else None,
            held="held" if place == 0 else None,
            left_out={"conversion": 7} if place == 1 else {},
        )
        for place, name in enumerate(changes)
    ]
    if broken:
        variants.append(VariantResult(name="broken", description="", against="base", changes=(), left_out={}))
        runs += [
            RunResult(
                variant="broken", seed=seed, folder=f"runs/broken/seed-{seed}", state="failed", error="it broke",
                trace="errors/broken.txt",
            )
            for seed in seeds
        ]  # fmt: skip
    return StudyResult(
        name="study",
        description="What is asked?",
        recipe="demo",
        data="synthetic",
        lowerfunnel="0",
        seeds=seeds,
        metrics=metrics,
        n_boot=1000,
        variants=tuple(variants),
        runs=tuple(runs),
        values=tuple(values),
        comparisons=tuple(comparisons),
    )
