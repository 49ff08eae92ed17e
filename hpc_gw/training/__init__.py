"""Losses, optimizers, schedules, checkpoints and the loop."""
