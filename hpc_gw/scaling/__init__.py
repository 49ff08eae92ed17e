"""Scaling: sweeps that measure it, and a model that forecasts it for other machines."""
