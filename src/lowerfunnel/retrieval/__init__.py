"""The conversion candidate generator: towers, objective, batches, recommending."""
