"""Shards and loaders of latents for training from compressed data; they arrive with the walloc codecs."""
