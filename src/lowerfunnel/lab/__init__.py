"""Experiments on models: ablation studies over variants and seeds, and the search for good settings."""
