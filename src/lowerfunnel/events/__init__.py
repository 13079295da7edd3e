"""The canonical log: schema, readers, quality checks, bucketed store, timelines."""
