"""A/B experiments between policies in a world, on common random numbers."""

from lowerfunnel.world.experiment.play import experiment
from lowerfunnel.world.experiment.result import Experiment
from lowerfunnel.world.experiment.write import write_experiment

__all__ = ["Experiment", "experiment", "write_experiment"]
