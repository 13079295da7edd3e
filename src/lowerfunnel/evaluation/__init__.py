"""Whole-catalogue evaluation: what is held out, floors and baselines, metrics with intervals."""
