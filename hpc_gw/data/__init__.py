"""Shards on disk, their generation, and the streams of batches."""
