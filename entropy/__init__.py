"""Entropy coding: integer tables, the rANS coder and its Python twin, token streams, and bottlenecks.

Nothing is imported here, so that `rarefy.entropy.coder` loads without torch.
"""
