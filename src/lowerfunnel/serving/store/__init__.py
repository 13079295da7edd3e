"""The online store: user timelines, changed items and what may be served, embedded in SQLite or in Redis."""
