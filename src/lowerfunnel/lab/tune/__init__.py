"""The search for good settings: ranges, trials, and the recipe that did best on the validation."""
