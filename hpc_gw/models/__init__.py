"""Networks: forward passes only."""
