"""One training loop for every model: progress, validation, early stop, checkpoints, exact resume. Knows no model."""
