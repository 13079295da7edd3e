"""Buttons above a chart that choose what it shows; the template's `controls` lays them out."""

from dataclasses import dataclass

from lowerfunnel.page.charts import Spec


@dataclass(frozen=True, slots=True)
class Choice:
    """One button."""

    value: str
    shown: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """A row of buttons that sets one parameter of a chart."""

    param: str
    label: str
    choices: tuple[Choice, ...]
    first: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its buttons."""

    spec: Spec
    controls: tuple[Control, ...] = ()
