"""A/B experiments between policies in a world, on common random numbers."""

from lowerfunnel.world.experiment.play import experiment
from lowerfunnel.world.experiment.result import Experiment

__all__ = ["Experiment", "experiment"]
