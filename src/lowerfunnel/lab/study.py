"""A study: one base recipe, variants of it, and the seeds that each is trained with."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lowerfunnel.config import load_settings, merge_settings, read_toml
from lowerfunnel.errors import ConfigError
from lowerfunnel.evaluation.measure import MICRO_RECALL
from lowerfunnel.metrics.ranking import RANK_METRICS
from lowerfunnel.pipeline.recipe import Recipe, read_recipe

_NAME = re.compile(r"[\w-]+")
_KEPT = ("name", "seed")
"""Settings of a recipe that a study gives itself."""
DEFAULT_METRICS = ("recall@100", "recall@1000", "hr@10", "ndcg@10")


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What others report of the same change, on data of their own."""

    metric: str
    """The metric of ours that comes closest to theirs, such as "recall@100"."""
    relative: float
    """Their relative change: 0.42 is 42% more. 0 says that it changed nothing."""
    source: str
    """Where it is reported."""
    note: str = ""
    """What is different there."""

    def __post_init__(self) -> None:
        require_metric(self.metric)
        if not self.source:
            raise ValueError("source must say where the figure is reported")


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way to change the base recipe."""

    name: str
    """Names the variant and its folder."""
    description: str = ""
    """What it is, for the page."""
    settings: dict[str, object] = field(default_factory=dict)
    """Changed settings: tables as in a recipe, or "a.b" = c."""
    against: str | None = None
    """The variant that it is compared with; the first one if left out."""
    published: Published | None = None
    """What others report of this change."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f'name must be letters, digits, "-" and "_", got "{self.name}"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """Everything that a study file says."""

    name: str
    """Names the study; a folder holds one."""
    description: str = ""
    """What is asked, for the page."""
    recipe: str
    """The base recipe, as a path from the folder of the study's file."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds that every variant is trained with: values of the recipe's `seed`."""
    metrics: tuple[str, ...] | None = None
    """What is compared, the main metric first; by default the recipe's headline, recall@100, recall@1000, hr@10 and
    ndcg@10 as far as the lists are long enough."""
    settings: dict[str, object] = field(default_factory=dict)
    """Changed settings of the base recipe, for all variants."""
    variants: tuple[Variant, ...]
    """The variants; the first is the base that the others are compared with."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f'name must be letters, digits, "-" and "_", got "{self.name}"')
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different whole numbers from 0, got {list(self.seeds)}")
        if self.metrics is not None:
            if not self.metrics or len(set(self.metrics)) < len(self.metrics):
                raise ValueError(f"metrics must be different names, at least one, got {list(self.metrics)}")
            for metric in self.metrics:
                require_metric(metric)
        _require_order([variant.name for variant in self.variants], [variant.against for variant in self.variants])

    def against(self, variant: Variant) -> Variant | None:
        """Return what a variant is compared with; None for the base."""
        if variant.name == self.variants[0].name:
            return None
        name = variant.against or self.variants[0].name
        return next(other for other in self.variants if other.name == name)


def require_metric(metric: str) -> None:
    """Raise a `ValueError` unless `metric` is a metric of ranks at a length, such as "recall@100"."""
    name, _, k = metric.partition("@")
    if (name not in RANK_METRICS and name != MICRO_RECALL) or not k.isdecimal() or int(k) < 1:
        known = ", ".join((*RANK_METRICS, MICRO_RECALL))
        raise ValueError(f'a metric is one of {known} at a length, like "recall@100", got "{metric}"')


def _require_order(names: Sequence[str], against: Sequence[str | None]) -> None:
    if len(names) < 1:
        raise ValueError("variants must hold at least one; the first is the base")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"variants must have different names, and there is more than one {', '.join(twice)}")
    if against[0] is not None:
        raise ValueError(
            f"the first variant is the base and is compared with none; {names[0]} has against={against[0]!r}"
        )
    other = {name: of or names[0] for name, of in zip(names[1:], against[1:], strict=True)}
    missing = sorted({of for of in other.values() if of not in names})
    if missing:
        raise ValueError(
            f"against names {', '.join(missing)}, and there is no such variant; there are {', '.join(names)}"
        )
    for name in names[1:]:
        way = [name]
        while way[-1] in other:
            way.append(other[way[-1]])
            if way[-1] in way[:-1]:
                raise ValueError(f"against goes round in a circle: {' -> '.join(way)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedStudy:
    """A study whose settings have all been found to be usable.

    Attributes:
        study: What its file says.
        base: The base recipe with the study's settings, before any variant's.
        recipes: The recipe of each variant by its name, with the seed of the base.
        metrics: What is compared, the main metric first.
    """

    study: Study
    base: Recipe
    recipes: Mapping[str, Recipe]
    metrics: tuple[str, ...]

    def recipe(self, variant: str, seed: int) -> Recipe:
        """Return the recipe of one run."""
        return replace(self.recipes[variant], seed=seed)


def load_study(path: Path, *, recipe: Path | None = None, seeds: Sequence[int] | None = None) -> LoadedStudy:
    """Read a study and try the settings of all its variants.

    Args:
        path: The study's TOML file.
        recipe: Base recipe in place of the one that the file names.
        seeds: Seeds in place of the file's.

    Raises:
        ConfigError: If a file cannot be read or a setting cannot be used; all bad settings of all variants are named.
    """
    if not path.is_file():
        raise ConfigError(f"there is no study {path}; give the path of a TOML file, such as studies/losses.toml")
    study = load_settings(Study, read_toml(path), source=path.name)
    if seeds is not None:
        try:
            study = replace(study, seeds=tuple(seeds))
        except ValueError as error:
            raise ConfigError(f"--seeds: {error}") from error
    base_path = path.parent / study.recipe if recipe is None else recipe
    if not base_path.is_file():
        raise ConfigError(
            f"there is no recipe {base_path}, which {path.name} names; mend its recipe or add --recipe PATH"
            if recipe is None
            else f"there is no recipe {base_path}; give the path of a TOML file"
        )
    settings = read_recipe(base_path)
    base = _changed(base_path.name, settings, study.settings, source=f"{path.name}, settings")
    problems: list[str] = []
    recipes = {}
    for variant in study.variants:
        try:
            merged = merge_settings(Recipe, settings, study.settings)
            recipes[variant.name] = _changed(
                base_path.name, merged, variant.settings, source=f"{path.name}, variant {variant.name}"
            )
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return LoadedStudy(study=study, base=base, recipes=recipes, metrics=_metrics(study, recipes))


def _changed(name: str, settings: dict[str, object], changes: Mapping[str, object], *, source: str) -> Recipe:
    kept = [key for key in changes if key in _KEPT]
    if kept:
        raise ConfigError(
            f"{source}: {' and '.join(kept)} cannot be changed there: all runs have the name of the recipe {name}, and "
            "seeds are the study's"
        )
    try:
        return load_settings(Recipe, merge_settings(Recipe, settings, changes), source=source if changes else name)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith((source, name)) else f"{source}: {text}") from error


def _metrics(study: Study, recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
    """Return what can be compared: lists have the length of the largest of `evaluation.ks`.

    Raises:
        ConfigError: If a metric that the study names needs longer lists.
    """
    longest = min(max(recipe.evaluation.ks) for recipe in recipes.values())
    published = [variant.published.metric for variant in study.variants if variant.published is not None]
    if study.metrics is None:
        headline = recipes[study.variants[0].name].evaluation.headline
        chosen = [m for m in (headline, *DEFAULT_METRICS) if int(m.partition("@")[2]) <= longest]
    else:
        chosen = list(study.metrics)
    metrics = tuple(dict.fromkeys([*chosen, *published]))
    too_long = [metric for metric in metrics if int(metric.partition("@")[2]) > longest]
    if too_long:
        raise ConfigError(
            f"{', '.join(too_long)} cannot be measured: the lists have {longest} places; raise evaluation.ks in the "
            "study's settings"
        )
    return metrics
