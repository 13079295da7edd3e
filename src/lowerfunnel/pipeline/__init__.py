"""A run is a folder: its steps, fingerprints, manifest, restart."""
