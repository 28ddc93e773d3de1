"""Streams that every later version must decode to the same symbols, made with a tiny codec that never changes."""
