"""Filters and thresholds."""
