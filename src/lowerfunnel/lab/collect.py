"""From the folders of finished runs to the result of a study."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lowerfunnel import __version__
from lowerfunnel.config import settings_to_dict
from lowerfunnel.evaluation.metrics_json import read_metrics
from lowerfunnel.evaluation.ranks_file import Ranks, read_ranks
from lowerfunnel.evaluation.within_group import METRIC as WITHIN_ADVERTISER
from lowerfunnel.lab.conduct import Failure
from lowerfunnel.lab.pairing import Compared, Paired, compare, pair_up
from lowerfunnel.lab.planned import PlannedRun
from lowerfunnel.lab.published import held
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
from lowerfunnel.lab.study import LoadedStudy, Variant
from lowerfunnel.retrieval.examples import TASKS

Advance = Callable[[int, int], None]


def collect(
    loaded: LoadedStudy,
    runs: Sequence[PlannedRun],
    failures: Sequence[Failure],
    out: Path,
    *,
    progress: Advance | None = None,
) -> StudyResult:
    """Return what a study found in the runs that are finished.

    Args:
        loaded: The study.
        runs: All its runs.
        failures: Those that failed just now.
        out: The study's folder.
        progress: Called with the variants compared so far and their number.

    Raises:
        RunError: If the files of a finished run cannot be read.
    """
    study = loaded.study
    failed = {failure.run.name: failure for failure in failures}
    finished = {(run.variant, run.seed): run for run in runs if run.name not in failed and run.is_finished()}
    n_boot = loaded.base.evaluation.bootstrap
    ranks: dict[tuple[str, int], Ranks] = {}

    def ranks_of(variant: str, seed: int) -> Ranks:
        if (variant, seed) not in ranks:
            ranks[variant, seed] = read_ranks(finished[variant, seed].path / "evaluation" / "ranks.parquet")
        return ranks[variant, seed]

    metrics = _reached(loaded, [ranks_of(*key).length for key in finished])
    values: list[Value] = []
    comparisons: list[Comparison] = []
    described: list[VariantResult] = []
    for number, variant in enumerate(study.variants, start=1):
        seeds = [seed for seed in study.seeds if (variant.name, seed) in finished]
        own = [pair_up(ranks_of(variant.name, seed), ranks_of(variant.name, seed)) for seed in seeds]
        values += _values(variant.name, seeds, own, metrics, n_boot)
        against = study.against(variant)
        made: list[Comparison] = []
        left_out: dict[str, int] = {}
        if against is not None:
            both = [seed for seed in seeds if (against.name, seed) in finished]
            paired = [pair_up(ranks_of(against.name, seed), ranks_of(variant.name, seed)) for seed in both]
            made = list(_comparisons(variant.name, against.name, both, paired, metrics, n_boot))
            left_out = _left_out(paired)
        comparisons += made
        described.append(_described(loaded, variant, against, made, left_out))
        if progress is not None:
            progress(number, len(study.variants))
    return StudyResult(
        name=study.name,
        description=study.description,
        recipe=loaded.base.name,
        data="synthetic" if loaded.base.world is not None or loaded.base.log.synthetic else "real",
        lowerfunnel=__version__,
        seeds=study.seeds,
        metrics=metrics,
        n_boot=n_boot,
        variants=tuple(described),
        runs=tuple(
            _run_result(run, failed.get(run.name), out, done=(run.variant, run.seed) in finished) for run in runs
        ),
        values=tuple(values),
        comparisons=tuple(comparisons),
    )


def _reached(loaded: LoadedStudy, lengths: Sequence[int]) -> tuple[str, ...]:
    """Return the metrics that say something: unless the study names them, those of lists that are shorter than all items."""
    if loaded.study.metrics is not None or not lengths:
        return loaded.metrics
    published = {variant.published.metric for variant in loaded.study.variants if variant.published is not None}
    return tuple(m for m in loaded.metrics if m in published or int(m.partition("@")[2]) <= min(lengths))


def _compared(
    seeds: Sequence[int], paired: Sequence[Paired], metrics: Sequence[str], n_boot: int
) -> Iterator[tuple[str, str, list[int], Compared]]:
    """Yield task, slice, the seeds that have pairs there, and the comparison."""
    for task in TASKS:
        for name in dict.fromkeys(name for one in paired for name in one.slices_P):
            found = compare(paired, task=task, slice_name=name, metrics=metrics, n_boot=n_boot, seed=0)
            if found is not None:
                yield task, name, [seeds[place] for place in found.places], found


def _values(
    variant: str, seeds: Sequence[int], own: Sequence[Paired], metrics: Sequence[str], n_boot: int
) -> Iterator[Value]:
    for task, name, there, compared in _compared(seeds, own, metrics, n_boot):
        for column, metric in enumerate(metrics):
            yield Value(
                variant=variant,
                task=task,
                slice=name,
                metric=metric,
                figure=Figure.of(compared.found.a_M3[column], least=0, most=1),
                by_seed={
                    str(seed): float(one) for seed, one in zip(there, compared.found.a_SM[:, column], strict=True)
                },
                users=compared.users,
                pairs=compared.pairs,
            )


def _comparisons(
    variant: str, against: str, seeds: Sequence[int], paired: Sequence[Paired], metrics: Sequence[str], n_boot: int
) -> Iterator[Comparison]:
    for task, name, there, compared in _compared(seeds, paired, metrics, n_boot):
        found = compared.found
        for column, metric in enumerate(metrics):
            difference = Figure.of(found.difference_M3[column], least=-1, most=1)
            yield Comparison(
                variant=variant,
                against=against,
                task=task,
                slice=name,
                metric=metric,
                seeds=tuple(there),
                users=compared.users,
                pairs=compared.pairs,
                of_variant=Figure.of(found.b_M3[column], least=0, most=1),
                of_against=Figure.of(found.a_M3[column], least=0, most=1),
                difference=difference,
                relative=Figure.of(found.relative_M3[column], least=-1),
                verdict=verdict_of(difference),
            )


def _left_out(paired: Sequence[Paired]) -> dict[str, int]:
    """Count, by task, the pairs that only one of two runs has, over all seeds."""
    found: dict[str, int] = {}
    for one in paired:
        for only in (one.only_a, one.only_b):
            for task, count in only.items():
                found[task] = found.get(task, 0) + count
    return {task: count for task, count in found.items() if count}


def _described(
    loaded: LoadedStudy,
    variant: Variant,
    against: Variant | None,
    made: Sequence[Comparison],
    left_out: Mapping[str, int],
) -> VariantResult:
    other = loaded.base if against is None else loaded.recipes[against.name]
    before, after = (_flat(settings_to_dict(recipe)) for recipe in (other, loaded.recipes[variant.name]))
    changes = tuple(
        Change(setting=name, was=before.get(name), now=after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )
    published = variant.published
    on_all = [one for one in made if (one.task, one.slice) == ("conversion", "all")]
    same = [one for one in on_all if published is not None and one.metric == published.metric]
    return VariantResult(
        name=variant.name,
        description=variant.description,
        against=None if against is None else against.name,
        changes=changes,
        published=published,
        held=held(published, same[0]) if published is not None and same else None,
        left_out=left_out,
    )


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return settings by their full names; an array is one value."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _run_result(run: PlannedRun, failure: Failure | None, out: Path, *, done: bool) -> RunResult:
    folder = run.path.relative_to(out).as_posix()
    if not done:
        trace = None if failure is None or failure.trace is None else failure.trace.relative_to(out).as_posix()
        return RunResult(
            variant=run.variant,
            seed=run.seed,
            folder=folder,
            state="missing" if failure is None else "failed",
            error=None if failure is None else failure.error,
            trace=trace,
        )
    training = json.loads((run.path / "model" / "training.json").read_text(encoding="utf-8"))
    history = training["history"]
    found = {
        row.metric.partition("@")[0]: row.value
        for row in read_metrics(run.path / "metrics.json")
        if (row.model, row.task, row.slice) == ("lowerfunnel", "conversion", "all")
    }
    return RunResult(
        variant=run.variant,
        seed=run.seed,
        folder=folder,
        state="finished",
        trained_s=training["trained_s"],
        examples_per_s=history[-1]["examples_per_s"] if history else None,
        parameters=training["parameters"],
        peak_memory_mb=training["peak_memory_mb"],
        threads=training["threads"],
        device=training["device"],
        best_epoch=training["best_epoch"],
        coverage=found.get("coverage"),
        advertiser_coverage=found.get("advertiser_coverage"),
        within_advertiser_auc=found.get(WITHIN_ADVERTISER),
    )
