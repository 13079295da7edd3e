"""Metrics of rankings: pure, unreduced, arrays in and arrays out."""
