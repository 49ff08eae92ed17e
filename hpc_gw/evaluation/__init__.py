"""Predictions, overlaps, statistics, figures and the report."""
